"""Blocks of classifiers: confusion matrix, per-class metrics, reliability diagram, mistakes as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from deeplab.core.blocks.base import Block, card, cards, columns, curve, headline, matrix, picture, rows, section, text

MAX_CLASSES = 32
"""More classes than this make a matrix that nobody can read; tables of pairs and of classes replace it."""

NUM_PAIRS = 10

Labels = Int[np.ndarray, " N"]


def classification(
    predictions: Mapping[str, np.ndarray], class_names: Sequence[str] = (), split: str = "test"
) -> list[Block]:
    """All that predictions of a classifier show; no block where they are not one class an example.

    Args:
      predictions: `label` and `prediction`, [N], and where known `probability` (of the prediction), `loss` and `id`,
        [N], and `worst_id` [M] with `worst_image` [M, H, W, C].
      class_names: Names of the first classes; numbers stand for the others.
      split: Name of the split.

    Example:
      >>> predictions = {"label": np.array([0, 1, 1]), "prediction": np.array([0, 1, 0])}
      >>> [block.get("heading", block["kind"]) for block in classification(predictions, ("cat", "dog"))]
      ['headline', 'Mistakes: 1 of 3 test examples', 'Per-class metrics']
    """
    if any(predictions.get(name, np.empty((0, 0))).ndim != 1 for name in ("label", "prediction")):
        return []
    label, prediction = predictions["label"].astype(int), predictions["prediction"].astype(int)
    if not len(label):
        return []
    undefined = np.isnan(predictions.get("probability", np.zeros(1))).sum()
    if undefined:  # their classes mean nothing
        return [
            text(
                f"No accuracy: the model gives NaN for {undefined:,} of {len(label):,} {split} examples.", style="note"
            )
        ]
    mistakes = confusion(label, prediction, class_names, split)
    mistakes["blocks"] += highest_losses(predictions, class_names)
    blocks = [accuracy(label, prediction), mistakes, *per_class(label, prediction, class_names)]
    probability = predictions.get("probability", np.empty((0, 0)))
    return [*blocks, reliability(probability, label == prediction)] if probability.shape == label.shape else blocks


def accuracy(label: Labels, prediction: Labels) -> Block:
    """The accuracy with its 95 % interval, as a headline.

    Example:
      >>> accuracy(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]))["value"]
      0.75
    """
    right, total = int(np.sum(label == prediction)), len(label)
    low, high = (_percent(bound) for bound in wilson(right, total))
    return headline("accuracy", right / total, f"{right:,} of {total:,} correct; 95 % interval {low} to {high}.")


def confusion(label: Labels, prediction: Labels, class_names: Sequence[str] = (), split: str = "test") -> Block:
    """The confusion matrix beside the pairs of classes most often confused.

    More than `MAX_CLASSES` classes get a table of those with the lowest accuracy in place of the matrix.

    Args:
      label: True classes.
      prediction: Predicted classes.
      class_names: Names of the first classes; numbers stand for the others.
      split: Name of the split.

    Example:
      >>> confusion(np.array([0, 1, 1]), np.array([0, 1, 0]), ("cat", "dog"))["kind"]
      'section'
    """
    names = _names(class_names, label, prediction)
    few = len(names) <= MAX_CLASSES
    overview = matrix(_counts(label, prediction, len(names)), names) if few else _weakest(label, prediction, names)
    heading = f"Mistakes: {int(np.sum(label != prediction)):,} of {len(label):,} {split} examples"
    return section(heading, columns(overview, _pairs(label, prediction, names)))


def per_class(label: Labels, prediction: Labels, class_names: Sequence[str] = ()) -> list[Block]:
    """Sensitivity, specificity, positive predictive value and F1 of each class; nothing of more than `MAX_CLASSES`.

    Example:
      >>> len(per_class(np.array([0, 1, 1]), np.array([0, 1, 0]), ("cat", "dog")))
      1
    """
    names = _names(class_names, label, prediction)
    if len(names) > MAX_CLASSES:
        return []
    counts = _counts(label, prediction, len(names))
    body = []
    for k, name in enumerate(names):
        hits, actual, predicted = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
        negatives = int(counts.sum()) - actual
        rejected = negatives - (predicted - hits)
        shares = ((hits, actual), (rejected, negatives), (hits, predicted), (2 * hits, actual + predicted))
        body.append([name, f"{actual:,}", *(_percent(part / whole) if whole else "none" for part, whole in shares)])
    head = ["class", "examples", "sensitivity", "specificity", "positive predictive value", "F1"]
    return [section("Per-class metrics", rows(head, body, numeric=True))]


def reliability(probability: Float[np.ndarray, " N"], correct: Bool[np.ndarray, " N"], num_bins: int = 15) -> Block:
    """The reliability diagram: accuracy over mean probability in bins of equal width, with the calibration error.

    Args:
      probability: Probability of each prediction.
      correct: Whether it is right.
      num_bins: Number of bins.

    Example:
      >>> reliability(np.array([0.6, 0.9]), np.array([False, True]), num_bins=2)["kind"]
      'section'

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """
    position = np.clip(np.ceil(probability * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(position, minlength=num_bins)
    held = count > 0
    sums = (np.bincount(position, weights=x, minlength=num_bins)[held] for x in (probability, correct))
    confidence, right = (x / count[held] for x in sums)
    error = float(np.sum(count[held] * np.abs(right - confidence)) / len(probability))
    drawn = curve(
        {"calibrated": np.array([0.0, 1.0]), "model": right},
        "probability of the prediction, %",
        {"calibrated": np.array([0.0, 100.0]), "model": 100 * confidence},
        title="reliability",
        note="accuracy by predicted probability",
        percent=True,
        reference=["calibrated"],
    )
    body = [
        [f"{low:.3f} to {low + 1 / num_bins:.3f}", f"{n:,}", f"{c:.3f}", _percent(a)]
        for low, n, c, a in zip(np.flatnonzero(held) / num_bins, count[held], confidence, right, strict=True)
    ]
    table = rows(["probability", "examples", "mean probability", "accuracy"], body, numeric=True)
    note = f"Expected calibration error {error:.4f} over {num_bins} bins (Guo et al. 2017)."
    return section("Reliability", columns(drawn, table), note=note)


def highest_losses(predictions: Mapping[str, np.ndarray], class_names: Sequence[str] = ()) -> list[Block]:
    """The examples of the highest loss as pictures; nothing where `predictions` hold no `worst_image`.

    Args:
      predictions: As `classification` reads them.
      class_names: Names of the first classes.

    Example:
      >>> highest_losses({})
      []
    """
    if not {"worst_image", "worst_id", "id"} <= predictions.keys():
        return []
    row = {int(example): i for i, example in enumerate(predictions["id"])}
    chosen = [(image, int(example)) for image, example in zip(_bytes(predictions["worst_image"]),
              predictions["worst_id"], strict=False) if int(example) in row]  # fmt: skip
    label, prediction = predictions["label"].astype(int), predictions["prediction"].astype(int)
    names = _names(class_names, label, prediction)
    details = {"probability": "p = {:.3f}", "loss": "loss {:.3g}"}
    made = []
    for image, example in chosen:
        i = row[example]
        true, predicted = names[label[i]], names[prediction[i]]
        caption = " · ".join(
            detail.format(predictions[name][i]) for name, detail in details.items() if name in predictions
        )
        verdict = f"{true} → {'correct' if label[i] == prediction[i] else predicted}"
        alt = f"example {example}: label {true}, prediction {predicted}"
        made.append(card(verdict, picture(image, alt), caption=caption, wrong=bool(label[i] != prediction[i])))
    note = "Label → prediction, with the probability of the prediction and the loss of the example."
    return [section("Highest losses", cards(made, compact=True), note=note)] if made else []


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, `right` of `total`.

    Unlike the normal approximation it stays inside [0, 1], and has a width where all are right.

    Example:
      >>> [round(bound, 3) for bound in wilson(357, 360)]
      [0.976, 0.997]

    Source: Wilson 1927, https://doi.org/10.2307/2276774.
    """
    z2 = 1.959964**2
    center = (right + z2 / 2) / (total + z2)
    half = math.sqrt(z2 * (right * (total - right) / total + z2 / 4)) / (total + z2)
    return center - half, center + half


def _names(class_names: Sequence[str], label: Labels, prediction: Labels) -> list[str]:
    """K names: those given, then numbers."""
    K = max(len(class_names), int(label.max(initial=0)) + 1, int(prediction.max(initial=0)) + 1)
    return [*(str(name) for name in class_names), *(str(k) for k in range(len(class_names), K))]


def _counts(label: Labels, prediction: Labels, K: int) -> Int[np.ndarray, "K K"]:
    return np.bincount(label * K + prediction, minlength=K * K).reshape(K, K)


def _pairs(label: Labels, prediction: Labels, names: Sequence[str]) -> Block:
    """The pairs most often confused, counted sparsely: a thousand classes have a million pairs."""
    wrong = label != prediction
    pairs, counts = np.unique(np.stack([label[wrong], prediction[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:NUM_PAIRS]
    if not len(order):
        return text("Every example is classified correctly.")
    totals = np.bincount(label, minlength=len(names))
    found: Any = ((*pairs[:, i], counts[i]) for i in order)
    body = [[names[a], names[b], f"{n:,}", _percent(n / totals[a])] for a, b, n in found]
    return section("Most confused", rows(["label", "prediction", "examples", "share of the label"], body))


def _weakest(label: Labels, prediction: Labels, names: Sequence[str]) -> Block:
    totals = np.bincount(label, minlength=len(names))
    hits = np.bincount(label[label == prediction], minlength=len(names))
    shares = np.where(totals > 0, hits / np.maximum(totals, 1), np.inf)  # an absent class is not a weak one
    order = [k for k in np.argsort(shares, kind="stable")[:NUM_PAIRS] if totals[k]]
    body = [[names[k], _percent(float(shares[k])), f"{hits[k]:,} of {totals[k]:,}"] for k in order]
    return section(f"Lowest accuracy of {len(names):,} classes", rows(["class", "accuracy", "correct"], body))


def _bytes(images: Shaped[np.ndarray, "N ..."]) -> np.ndarray:
    """Images as uint8; all stretched by one factor to the full range where they are floats or use a fraction of it."""
    highest = float(images.max(initial=0))
    if images.dtype == np.uint8 and highest >= 64:
        return images
    return np.clip(images * (255 / (highest or 1)), 0, 255).astype(np.uint8)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
