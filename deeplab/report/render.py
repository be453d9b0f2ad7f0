"""Blocks drawn as HTML: one function for each kind."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.errors import nearest
from deeplab.report import figures, maps, shading
from deeplab.report.document import save
from deeplab.report.text import Html, join, metric, note, table, tag


class Site(NamedTuple):
    """Where a block is drawn.

    Attributes:
      name: Prefix of the ids in its figures, unique on the page.
      level: Level of the headings.
      folder: Folder of the figures' files; None writes none.
    """

    name: str
    level: int = 2
    folder: Path | None = None

    def inner(self, number: int, deeper: int = 0) -> Site:
        """The site of a block inside this one."""
        return self._replace(name=f"{self.name}-{number}", level=min(self.level + deeper, 6))


def render(block: Mapping[str, Any], site: Site) -> Html:
    """A block as HTML.

    Raises:
      ValueError: The kind of the block is unknown.
      KeyError, TypeError: A field is missing or of another type.
    """
    kind = str(block["kind"])
    if kind not in RENDERERS:
        raise ValueError(f"a block is of the unknown kind {kind!r}; {nearest(kind, RENDERERS)}")
    return RENDERERS[kind](block, site)


def figure(name: str, caption: str, svg: str, site: Site) -> Html:
    """A captioned figure, which is also saved as a file of its own."""
    if site.folder is not None:
        file = (
            urllib.parse.quote(re.sub(r"\W+", "-", name).strip("-")) or "figure"
        )  # Not all file systems know umlauts.
        save(site.folder / f"{file}.svg", svg)
    label = f"{name}, {caption}".rstrip(", ")
    return tag("figure", tag("figcaption", tag("b", name), caption), figures.inline(svg, label, site.name))


def _section(block: Mapping[str, Any], site: Site) -> Html:
    heading = tag(f"h{site.level}", block["heading"])
    below = note(block["note"]) if block["note"] else ""
    return join(heading, below, *(render(each, site.inner(i, 1)) for i, each in enumerate(block["blocks"])))


def _columns(block: Mapping[str, Any], site: Site) -> Html:
    drawn = [tag("div", render(each, site.inner(i))) for i, each in enumerate(block["blocks"])]
    charts = any(each["kind"] == "curve" for each in block["blocks"])  # these fill the width that they are given
    return tag("div", *drawn, class_="grid" if charts else "beside")


def _cards(block: Mapping[str, Any], site: Site) -> Html:
    cards = [_card(card, site.inner(i)) for i, card in enumerate(block["cards"])]
    return tag("div", *cards, class_="cards compact" if block.get("compact") else "cards") if cards else Html("")


def _card(card: Mapping[str, Any], site: Site) -> Html:
    title = tag("b", card["title"], class_="miss-text" if card.get("wrong") else None)
    caption = tag("figcaption", title, " ", tag("span", card["caption"], class_="muted"))
    return tag("figure", caption, *(render(each, site.inner(i)) for i, each in enumerate(card["parts"])), class_="card")


def _text(block: Mapping[str, Any], site: Site) -> Html:
    style = block.get("style", "plain")
    if style == "sample":
        told = {"tabindex": 0, "role": "group", "aria_label": "sample"}  # a long one scrolls, by the keyboard too
        return tag("pre", tag("b", block["label"]), block["text"], class_="sample", **told)
    label = join(tag("span", block["label"], class_="muted"), " ") if block["label"] else ""
    return tag("p", label, block["text"], class_="muted" if style == "note" else "said")


def _rows(block: Mapping[str, Any], site: Site) -> Html:
    return table(block["head"], block["body"], class_="numbers" if block.get("numeric") else None)


def _curve(block: Mapping[str, Any], site: Site) -> Html:
    lines = []
    for i, line in enumerate(block["lines"]):
        background = bool(line.get("reference"))
        first = sum(bool(other.get("reference")) for other in block["lines"][:i])  # references use up no color
        color = figures.TRAIN if background else figures.SERIES[(i - first) % len(figures.SERIES)]
        steps, values = (np.array(line[name], np.float64) for name in ("steps", "values"))
        lines.append(figures.Line(line["label"], steps, values, color, background, bool(line.get("points"))))
    told = {
        "share": bool(block.get("percent")),
        "x_label": block["x_label"],
        "counts": not any(x.points or np.any(x.steps % 1) for x in lines),
    }
    svg = figures.curves(lines, log=False, span="all", **told)
    if block.get("title"):
        return figure(block["title"], block.get("note", ""), svg, site)
    return figures.inline(svg, ", ".join(line.label for line in lines), site.name)


def _picture(block: Mapping[str, Any], site: Site) -> Html:
    # Only an embedded PNG: a page loads no address that a file names.
    source = block["source"] if block["source"].startswith("data:image/png;base64,") else "data:,"
    alt = block["label"] or "example"
    return tag("span", tag("img", src=source, alt=alt, title=alt), class_="picture")


def _matrix(block: Mapping[str, Any], site: Site) -> Html:
    legend = "Rows are labels, columns are predictions. A cell is shaded by its share of the row."
    return join(shading.confusion(np.array(block["counts"]), block["names"]), note(legend))


def _headline(block: Mapping[str, Any], site: Site) -> Html:
    value = metric(block["label"], block["value"])
    shown = tag("div", tag("strong", value), tag("span", block["label"]), class_="headline")
    return join(shown, note(block["note"]) if block["note"] else "")


RENDERERS: Mapping[str, Callable[[Mapping[str, Any], Site], Html]] = {
    "section": _section,
    "columns": _columns,
    "cards": _cards,
    "text": _text,
    "rows": _rows,
    "curve": _curve,
    "picture": _picture,
    "matrix": _matrix,
    "headline": _headline,
    "tokens": lambda block, site: maps.tokens(block),
    "bars": lambda block, site: maps.bars(block),
    "heat": lambda block, site: maps.table(block),
    "scatter": lambda block, site: maps.scatter(block),
    "swarm": lambda block, site: maps.swarm(block),
}
