"""Examples as they are shown in a report: a title, a caption, and between them pictures, curves, text and tables.

An experiment's `show` makes cards of a few examples and their predictions; they are kept as `cards.json` in the run
directory, so that the page can be written anew without the data. A card is plain JSON, made by the functions here.

Example:
  >>> import numpy as np
  >>> made = card("beat 7", curve({"lead II": np.zeros(3)}, "samples"), caption="normal, taken for ventricular")
  >>> sorted(made)
  ['caption', 'parts', 'title']
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.report import figures
from deeplab.report.record import Run
from deeplab.report.text import Html, join, table, tag

Card = dict[str, Any]
"""JSON: title, caption, parts."""


def card(title: str, *parts: Mapping[str, Any], caption: str = "") -> Card:
    """One example."""
    return {"title": title, "caption": caption, "parts": [dict(part) for part in parts]}


def picture(image: np.ndarray, label: str = "") -> dict[str, Any]:
    """An image, [H, W], [H, W, 1] or [H, W, 3], uint8 or floats in [0, 1]."""
    from deeplab.report.classification import data_url

    pixels = image if image.dtype == np.uint8 else np.clip(np.asarray(image) * 255, 0, 255).astype(np.uint8)
    return {"kind": "picture", "source": data_url(pixels), "label": label}


def curve(lines: Mapping[str, np.ndarray], x_label: str = "step", x: Mapping[str, np.ndarray] | None = None) -> dict:
    """Curves over one axis, [N] each, by label; `x` gives the places of those that do not begin at 0."""
    places = x or {}
    drawn = [
        {
            "label": name,
            "steps": np.asarray(places.get(name, np.arange(len(values))), np.float64).round(6).tolist(),
            "values": np.asarray(values, np.float64).round(6).tolist(),
        }
        for name, values in lines.items()
    ]
    return {"kind": "curve", "lines": drawn, "x_label": x_label}


def text(content: str, label: str = "") -> dict[str, Any]:
    """A text, such as a sentence or a transcript."""
    return {"kind": "text", "text": content, "label": label}


def rows(head: Sequence[Any], body: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """A table; numbers and texts."""
    return {"kind": "rows", "head": [str(x) for x in head], "body": [[str(x) for x in row] for row in body]}


def sentences(class_names: Sequence[str], batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
    """A card for each labelled sentence: its class, its text, what it was taken for. Given names, it is a `show`.

    Args:
      class_names: of the labels.
      batch: `text`, [N, L] uint8, Latin-1 padded by blanks, and `label`, [N].
      predictions: `prediction` and its `probability`, [N].

    Example:
      >>> batch = {"text": np.frombuffer(b"good  ", np.uint8)[None], "label": [1]}
      >>> made = sentences(("bad", "fine"), batch, {"prediction": [0], "probability": [0.6]})
      >>> made[0]["title"], made[0]["parts"][0]["text"], made[0]["caption"]
      ('fine', 'good', 'taken for bad, probability 0.60')
    """
    columns = (batch["text"], batch["label"], predictions["prediction"], predictions["probability"])
    return [
        card(
            str(class_names[label]),
            text(bytes(raw).decode("latin-1").strip()),
            caption=f"taken for {class_names[taken]}, probability {probability:.2f}",
        )
        for raw, label, taken, probability in zip(*columns, strict=True)
    ]


def translations(decode: Callable[[Any], str], batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
    """A card for each translation: beside its reference, with where its tokens look. Given `decode`, it is a `show`.

    Args:
      decode: tokens as text.
      batch: `source_text` and `target_text`, [N, L] UTF-8 padded by zeros, and `source_length`, [N].
      predictions: tokens `prediction`, [N, T] padded by zeros, and their `attention`, [N, T, S].

    Example:
      >>> batch = {name: np.frombuffer(b"a", np.uint8)[None] for name in ("source_text", "target_text")}
      >>> predictions = {"prediction": np.array([[5, 2, 0]]), "attention": np.ones((1, 3, 4))}
      >>> made = translations(str, batch | {"source_length": [2]}, predictions)
      >>> made[0]["title"], [part["kind"] for part in made[0]["parts"]]
      ('a', ['text', 'text', 'picture'])
    """

    def said(row: np.ndarray) -> str:
        return bytes(row).rstrip(b"\0").decode(errors="replace")

    made = []
    for i, tokens in enumerate(predictions["prediction"]):
        seen = np.asarray(predictions["attention"][i], np.float32)[: (tokens > 0).sum(), : batch["source_length"][i]]
        shades = np.kron(1 - seen, np.ones((8, 8)))  # dark where it looks
        parts = (
            text(decode(tokens), "translation:"),
            text(said(batch["target_text"][i]), "reference:"),
            picture(shades, "a row for each token of the translation, a column for each of the source"),
        )
        made.append(card(said(batch["source_text"][i]), *parts))
    return made


def sections(run: Run) -> Html:
    """The run's `cards.json`: [{"heading", "cards"}, ...]; nothing where there is none."""
    try:
        groups = json.loads(run.text("cards.json") or "[]")
        return join(*(_group(g, group) for g, group in enumerate(groups)))
    except (ValueError, KeyError, TypeError):
        return tag("p", "cards.json is damaged and not shown.", class_="notice")


def _group(number: int, group: Mapping[str, Any]) -> Html:
    made = [_card(f"card-{number}-{i}", each) for i, each in enumerate(group["cards"])]
    return join(tag("h2", group["heading"]), tag("div", *made, class_="cards")) if made else Html("")


def _card(name: str, given: Mapping[str, Any]) -> Html:
    parts = [_part(f"{name}-{i}", part) for i, part in enumerate(given["parts"])]
    caption = tag("figcaption", tag("b", given["title"]), " ", tag("span", given["caption"], class_="muted"))
    return tag("figure", caption, *parts, class_="card")


def _part(name: str, part: Mapping[str, Any]) -> Html:
    if part["kind"] == "picture":
        alt = part["label"] or "example"
        return tag("span", tag("img", src=_image_only(part["source"]), alt=alt, title=alt), class_="picture")
    if part["kind"] == "curve":
        lines = [
            figures.Line(line["label"], np.array(line["steps"]), np.array(line["values"]), figures.SERIES[i % 8])
            for i, line in enumerate(part["lines"])
        ]
        svg = figures.curves(lines, log=False, span="all", x_label=part["x_label"])
        return figures.inline(svg, ", ".join(line.label for line in lines), name)
    if part["kind"] == "rows":
        return table(part["head"], part["body"])
    label = tag("span", part["label"], class_="muted") if part["label"] else ""
    return tag("p", label, " ", part["text"], class_="said")


def _image_only(source: str) -> str:
    """An embedded PNG, or nothing: a page loads no address that a file names."""
    return source if source.startswith("data:image/png;base64,") else "data:,"
