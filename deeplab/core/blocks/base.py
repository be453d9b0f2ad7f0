"""Blocks: the closed vocabulary of a report, as plain JSON.

A run describes its results in `artifacts/NAME.json`, each a block or a list of blocks. A report draws every kind of
block and knows nothing else about the run's task.

| kind       | content                                              | built by   |
|------------|------------------------------------------------------|------------|
| `section`  | a heading, a note and the blocks below them          | `section`  |
| `columns`  | blocks side by side                                  | `columns`  |
| `cards`    | a grid of examples: title, caption, blocks of each   | `cards`    |
| `text`     | a sentence, a note or a generated sample             | `text`     |
| `rows`     | a table                                              | `rows`     |
| `curve`    | a line chart                                         | `curve`    |
| `picture`  | an image, embedded as PNG                            | `picture`  |
| `matrix`   | a confusion matrix                                   | `matrix`   |
| `headline` | a number for the top of the page                     | `headline` |
| `tokens`   | words in signed colors                               | `tokens`   |
| `bars`     | signed bars, or a waterfall                          | `bars`     |
| `swarm`    | a point for each feature of each example             | `swarm`    |
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

Block = dict[str, Any]
"""JSON: `kind`, and the fields of that kind."""

Card = dict[str, Any]
"""JSON: `title`, `caption`, `parts` (blocks) and `wrong`."""

PICTURE_SIZE = 144
"""Pixels: smaller images are enlarged by a whole factor to at most this, larger ones are reduced to twice this."""


def section(heading: str, *blocks: Block, note: str = "") -> Block:
    """Blocks below a heading. A section inside another one gets a smaller heading.

    Args:
      heading: Title of the section.
      *blocks: Content, from top to bottom.
      note: Sentence below the heading.

    Example:
      >>> section("Samples", text("To be"))["blocks"]
      [{'kind': 'text', 'text': 'To be', 'label': '', 'style': 'plain'}]
    """
    return {"kind": "section", "heading": heading, "note": note, "blocks": list(blocks)}


def columns(*blocks: Block) -> Block:
    """Blocks side by side, or below one another where the page is narrow.

    Example:
      >>> from deeplab.core.blocks import text
      >>> len(columns(text("left"), text("right"))["blocks"])
      2
    """
    return {"kind": "columns", "blocks": list(blocks)}


def card(title: str, *parts: Block, caption: str = "", wrong: bool = False) -> Card:
    """One example, for `cards`.

    Args:
      title: Name of the example, such as its label.
      *parts: Blocks that show it.
      caption: Sentence beside the title.
      wrong: Whether the title is set in the color of mistakes.

    Example:
      >>> made = card("beat 7", curve({"lead II": np.zeros(3)}, "samples"), caption="normal")
      >>> made["title"], made["parts"][0]["kind"]
      ('beat 7', 'curve')
    """
    return {"title": title, "caption": caption, "parts": [dict(part) for part in parts], "wrong": wrong}


def cards(examples: Iterable[Card], compact: bool = False) -> Block:
    """A grid of examples.

    Args:
      examples: Cards from `card`.
      compact: Whether the grid is of thumbnails, the title below the picture.

    Example:
      >>> cards([])["kind"]
      'cards'
    """
    return {"kind": "cards", "cards": list(examples), "compact": compact}


def text(content: str, label: str = "", style: Literal["plain", "note", "sample"] = "plain") -> Block:
    """A text, such as a sentence or a transcript.

    Args:
      content: The text.
      label: Words before it, in grey.
      style: "plain"; "note", in grey; or "sample", with line breaks kept, where the label is the prompt.

    Example:
      >>> text("hello", "said: ")["kind"]
      'text'
    """
    return {"kind": "text", "text": content, "label": label, "style": style}


def rows(head: Sequence[Any], body: Sequence[Sequence[Any]], numeric: bool = False) -> Block:
    """A table.

    Args:
      head: Names of the columns.
      body: Cells, row by row.
      numeric: Whether all columns but the first are aligned to the right.

    Example:
      >>> rows(("class", "F1"), [["cat", 0.9], ["dog", 0.8]], numeric=True)["head"]
      ['class', 'F1']
    """
    cells = [[str(cell) for cell in row] for row in body]
    return {"kind": "rows", "head": [str(cell) for cell in head], "body": cells, "numeric": numeric}


def curve(
    lines: Mapping[str, np.ndarray],
    x_label: str = "step",
    x: Mapping[str, np.ndarray] | None = None,
    *,
    title: str = "",
    note: str = "",
    percent: bool = False,
    reference: Sequence[str] = (),
    points: Sequence[str] = (),
) -> Block:
    """A line chart.

    Args:
      lines: Values of each line by its label, [N].
      x_label: Label of the horizontal axis.
      x: Horizontal positions by label, [N]; 0, 1, ... for lines without.
      title: Caption of the chart, and name of its file under `figures/`; no file where it is empty.
      note: Sentence beside the title.
      percent: Whether values are shares, shown in percent.
      reference: Labels of lines that stay in the background, such as a diagonal.
      points: Labels of lines whose points are marked and not joined, in the order of their positions.

    Example:
      >>> curve({"loss": np.array([2.0, 1.0])})["lines"]
      [{'label': 'loss', 'steps': [0.0, 1.0], 'values': [2.0, 1.0], 'reference': False}]
    """
    positions = x or {}
    drawn = [
        {
            "label": label,
            "steps": _rounded(positions.get(label, np.arange(len(values)))),
            "values": _rounded(values),
            "reference": label in reference,
            **({"points": True} if label in points else {}),
        }
        for label, values in lines.items()
    ]
    return {"kind": "curve", "lines": drawn, "x_label": x_label, "title": title, "note": note, "percent": percent}


def picture(image: np.ndarray, label: str = "") -> Block:
    """An image, embedded as PNG.

    Args:
      image: Pixels, [H, W], [H, W, 1] or [H, W, 3]: uint8, or floats in [0, 1].
      label: Description of the image.

    Example:
      >>> picture(np.zeros((2, 2), np.uint8), "nothing")["kind"]
      'picture'
    """
    pixels = image if image.dtype == np.uint8 else np.clip(np.asarray(image) * 255, 0, 255).astype(np.uint8)
    return {"kind": "picture", "source": data_url(pixels), "label": label}


def matrix(counts: np.ndarray, names: Sequence[str]) -> Block:
    """A confusion matrix.

    Args:
      counts: Number of examples by label (rows) and prediction (columns), [K, K].
      names: Names of the K classes.

    Example:
      >>> matrix(np.array([[3, 1], [0, 2]]), ("cat", "dog"))["counts"]
      [[3, 1], [0, 2]]
    """
    return {"kind": "matrix", "names": [str(name) for name in names], "counts": np.asarray(counts).tolist()}


def headline(label: str, value: float, note: str = "") -> Block:
    """A number for the top of the page.

    A headline named as the run's own first metric adds only its note there, and only if the values agree: it may have
    been computed at another step.

    Args:
      label: Name of the number.
      value: The number.
      note: Sentence below it.

    Example:
      >>> headline("accuracy", 0.975, "of the best checkpoint")["value"]
      0.975
    """
    return {"kind": "headline", "label": label, "value": float(value), "note": note}


def data_url(image: np.ndarray) -> str:
    """An image as a PNG inside an address.

    Args:
      image: Pixels, [H, W] or [H, W, C], uint8. Of two channels, or more than four, the first is shown.

    Example:
      >>> data_url(np.zeros((2, 2), np.uint8))[:22]
      'data:image/png;base64,'
    """
    from PIL import Image

    if image.ndim == 3 and image.shape[-1] not in (3, 4):
        image = image[..., 0]
    drawn = Image.fromarray(np.ascontiguousarray(image, dtype=np.uint8))
    factor = max(1, PICTURE_SIZE // max(drawn.size))
    if factor > 1:
        drawn = drawn.resize((drawn.width * factor, drawn.height * factor), Image.Resampling.NEAREST)
    drawn.thumbnail((2 * PICTURE_SIZE, 2 * PICTURE_SIZE))
    out = io.BytesIO()
    drawn.save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _rounded(values: np.ndarray) -> list[float]:
    """Nine significant digits: what float32 holds, and half the size of a float64 in JSON."""
    return [float(f"{value:.9g}") for value in np.asarray(values, np.float64)]
