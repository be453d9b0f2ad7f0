"""What a classifier gets wrong: the confusion matrix, its heaviest cells, and the worst mistakes as pictures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np

from deeplab.report.text import Html, join, metric, table, tag

MAX_CLASSES = 32
"""More classes than this make no matrix that can be read: the confused pairs and the weakest classes stand for it."""

NUM_PAIRS = 10
PICTURE = 144  # px: small images are enlarged to about this, larger ones reduced to twice this


def sections(predictions: Mapping[str, np.ndarray], class_names: Sequence[str] | None, split: str) -> Html:
    """What is shown of predictions with `label` and `prediction`, [N] int each; nothing of any others."""
    if not right(predictions)[1]:
        return Html("")
    label, prediction = predictions["label"].astype(int), predictions["prediction"].astype(int)
    num_classes = max(len(class_names or ()), label.max(initial=0) + 1, prediction.max(initial=0) + 1)
    names = [str(name) for name in class_names or ()] + [str(k) for k in range(len(class_names or ()), num_classes)]
    wrong = len(label) - right(predictions)[0]
    heading = tag("h2", f"Mistakes: {wrong:,} of {len(label):,} {split} examples")
    pairs = _pairs(label, prediction, names)
    if num_classes <= MAX_CLASSES:
        note = "Rows are labels, columns predictions, cells counts; the shade is the share of the row."
        overview = join(_matrix(label, prediction, names), tag("p", note, class_="muted"))
    else:
        overview = _weakest(label, prediction, names)
    beside = tag("div", tag("div", overview), tag("div", pairs), class_="beside")
    return join(heading, beside, _pictures(predictions, names))


def right(predictions: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """How many predictions are right, and of how many; (0, 0) where they are not one class an example."""
    if any(predictions.get(name, np.empty((0, 0))).ndim != 1 for name in ("label", "prediction")):
        return 0, 0
    return int(np.sum(predictions["label"] == predictions["prediction"])), len(predictions["label"])


def _matrix(label: np.ndarray, prediction: np.ndarray, names: Sequence[str]) -> Html:
    K = len(names)
    counts = np.bincount(label * K + prediction, minlength=K * K).reshape(K, K)
    tall = "tall" if max(map(len, names)) > 3 else None
    head = tag("tr", tag("th"), *(tag("th", name, scope="col", class_=tall) for name in names), tag("th", "right"))
    rows = []
    for k, (name, row) in enumerate(zip(names, counts, strict=True)):
        total = int(row.sum())
        cells = [_cell(int(n), total, k == j, f"{name}, taken for {names[j]}") for j, n in enumerate(row)]
        share = metric("accuracy", row[k] / total) if total else "none"
        rows.append(tag("tr", tag("th", name, scope="row"), *cells, tag("td", share, class_="end")))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows), class_="confusion"), class_="scroll")


def _cell(count: int, total: int, hit: bool, title: str) -> Html:
    if not count:
        return tag("td")
    share = count / total
    # Mistakes are rare and must be seen: their shade goes with the root of the share, 1 % giving 10 % of the colour.
    shade = 100 * (share if hit else math.sqrt(share))
    kind = ("hit" if hit else "miss") + (" full" if shade > 60 else "")
    title = f"{title}: {count} of {total} ({metric('accuracy', share)})"
    return tag("td", count, class_=kind, style=f"--share: {shade:.0f}%", title=title)


def _pairs(label: np.ndarray, prediction: np.ndarray, names: Sequence[str]) -> Html:
    """The pairs most often confused; counted sparsely, as a thousand classes have a million pairs."""
    wrong = label != prediction
    pairs, counts = np.unique(np.stack([label[wrong], prediction[wrong]]), axis=1, return_counts=True)
    totals = np.bincount(label, minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:NUM_PAIRS]
    if not len(order):
        return tag("p", "No example is classified wrongly.")
    rows = [
        [names[a], names[b], f"{n:,}", metric("accuracy", float(n / totals[a]))]
        for a, b, n in ((*pairs[:, i], counts[i]) for i in order)
    ]
    return join(tag("h3", "Most confused"), table(["label", "taken for", "examples", "of the label"], rows))


def _weakest(label: np.ndarray, prediction: np.ndarray, names: Sequence[str]) -> Html:
    totals = np.bincount(label, minlength=len(names))
    hits = np.bincount(label[label == prediction], minlength=len(names))
    accuracy = np.where(totals > 0, hits / np.maximum(totals, 1), np.inf)  # an absent class is not a weak one
    order = [k for k in np.argsort(accuracy, kind="stable")[:NUM_PAIRS] if totals[k]]
    rows = [[names[k], metric("accuracy", float(accuracy[k])), f"{hits[k]:,} of {totals[k]:,}"] for k in order]
    return join(tag("h3", f"Weakest of {len(names):,} classes"), table(["class", "accuracy", "right"], rows))


def _pictures(predictions: Mapping[str, np.ndarray], names: Sequence[str]) -> Html:
    """The examples of the highest loss: `worst_image` [N, H, W, C] uint8, found again by `worst_id` [N]."""
    if not {"worst_image", "worst_id", "id"} <= predictions.keys():
        return Html("")
    place = {int(example): i for i, example in enumerate(predictions["id"])}
    cards = []
    for image, example in zip(_bytes(predictions["worst_image"]), predictions["worst_id"].tolist(), strict=False):
        if example not in place:
            continue
        i = place[example]
        label, prediction = names[int(predictions["label"][i])], names[int(predictions["prediction"][i])]
        verdict = "right" if label == prediction else tag("span", prediction, class_="miss-text")
        details = [f"p = {predictions['probability'][i]:.3f}"] if "probability" in predictions else []
        details += [f"loss {predictions['loss'][i]:.3g}"] if "loss" in predictions else []
        alt = f"example {example}: {label}, taken for {prediction}"
        cards.append(
            tag(
                "li",
                tag("img", src=data_url(image), alt=alt, title=alt),
                tag("div", label, " → ", verdict, tag("br"), tag("span", " · ".join(details), class_="muted")),
            )
        )
    if not cards:
        return Html("")
    legend = "Label → prediction, with its probability and the example's loss."
    return join(tag("h3", "Highest losses"), tag("p", legend, class_="muted"), tag("ul", *cards, class_="mistakes"))


def _bytes(images: np.ndarray) -> np.ndarray:
    """Images as uint8; stretched to the full range, all alike, where they are floats or use a fraction of it."""
    highest = float(images.max(initial=0))
    if images.dtype == np.uint8 and highest >= 64:
        return images
    return np.clip(images * (255 / (highest or 1)), 0, 255).astype(np.uint8)


def data_url(image: np.ndarray) -> str:
    """An image [H, W, C] or [H, W], uint8, as a PNG inside an address; small ones enlarged without smoothing."""
    from PIL import Image

    if image.ndim == 3 and image.shape[-1] not in (3, 4):
        image = image[..., 0]  # grey, or the first of several channels
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.uint8))
    factor = max(1, PICTURE // max(picture.size))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((2 * PICTURE, 2 * PICTURE))
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
