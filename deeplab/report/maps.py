"""Explanations drawn as HTML and SVG: words in signed colors, waterfalls and swarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deeplab.report.figures import SERIES
from deeplab.report.shading import heat
from deeplab.report.text import Html, join, note, number, tag

_ROW, _LEFT, _RIGHT, _WIDTH = 20, 150, 50, 420  # units of an SVG: height of a row, space for names and numbers
UP, DOWN = "var(--miss)", "var(--hit)"
"""Colors of what raises a score and of what lowers it: told apart by all readers, and in the dark."""


def tokens(block: Mapping[str, Any]) -> Html:
    """Words, each on the color of its value; the value is told when the pointer rests on it."""
    words = zip(block["words"], block["values"], block["shares"], strict=True)
    drawn = [
        tag(
            "span",
            word,
            class_="miss" if value > 0 else "hit",
            title=f"{value:+.3g}",
            style=f"--share: {abs(share):.0%}",
        )
        for word, value, share in words
    ]
    label = join(tag("span", block["label"], class_="muted"), " ") if block["label"] else ""
    return tag("p", label, *(join(word, " ") for word in drawn), class_="said words")


def bars(block: Mapping[str, Any]) -> Html:
    """A bar for each feature, each beginning where the one before it ends if the baseline's score is known."""
    values = np.array([number(value, 0.0) for value in block["values"]])
    start = block.get("start")
    ends = np.cumsum(values) if start is not None else values
    begins = ends - values
    low, high = (
        min(0.0, begins.min(initial=0), ends.min(initial=0)),
        max(0.0, begins.max(initial=0), ends.max(initial=0)),
    )
    unit = (_WIDTH - _LEFT - _RIGHT) / ((high - low) or 1.0)
    parts = []
    for i, (name, value) in enumerate(zip(block["names"], values, strict=True)):
        x = _LEFT + (min(begins[i], ends[i]) - low) * unit
        size = {"x": f"{x:.1f}", "y": i * _ROW + 3, "width": f"{max(abs(value) * unit, 0.5):.1f}", "height": _ROW - 6}
        parts.append(_text(name, _LEFT - 8, i, "end"))
        parts.append(tag("rect", fill=UP if value > 0 else DOWN, **size))
        parts.append(_text(f"{value:+.3g}", _WIDTH - _RIGHT + 8, i, "start"))
    told = block["title"]
    if start is not None:
        told += f": from {start:.3g} at the baseline to {start + values.sum():.3g}"
    return join(note(told) if told else "", _svg(parts, len(values), told or "bars"))


def swarm(block: Mapping[str, Any]) -> Html:
    """Points at their values, apart where they are many, from blue for a small feature to orange for a large one."""
    largest = max((abs(value) for row in block["rows"] for value in row["values"]), default=0) or 1.0
    middle, half = _LEFT + (_WIDTH - _LEFT) / 2, (_WIDTH - _LEFT) / 2 - 6
    parts = [tag("line", x1=middle, x2=middle, y1=0, y2=len(block["rows"]) * _ROW, stroke="var(--rule)")]
    for i, row in enumerate(block["rows"]):
        parts.append(_text(row["name"], _LEFT - 8, i, "end"))
        for k, (value, shade) in enumerate(zip(row["values"], row["shades"], strict=True)):
            y = i * _ROW + _ROW / 2 + (k * 0.618 % 1 - 0.5) * (_ROW - 8)  # even over the row, whatever the order
            fill = f"color-mix(in srgb, {UP} {shade:.0%}, {DOWN})"
            parts.append(tag("circle", cx=f"{middle + half * value / largest:.1f}", cy=f"{y:.1f}", r=2.2, fill=fill))
    told = "Points are examples: blue where a feature is small, orange where it is large. The right raises the score."
    title = f"{block['title']}. " if block["title"] else ""
    return join(note(title + told), _svg(parts, len(block["rows"]), block["title"] or "swarm"))


def table(block: Mapping[str, Any]) -> Html:
    """A table of numbers, shaded from 0 to 1."""
    values = np.array(block["values"], np.float64).reshape(len(block["rows"]), len(block["columns"]))
    return heat(block["rows"], block["columns"], values, lambda i, j: f"{values[i, j]:.2f}", low=0.0, high=1.0)


def scatter(block: Mapping[str, Any]) -> Html:
    """Points on a plane; images have a frame of the color of their group."""
    places = np.array(block["places"], np.float64).reshape(-1, 2)
    low, size = places.min(axis=0, initial=0), float(np.ptp(places, axis=0).max(initial=1e-9))
    parts, side = [], 14
    for i, (x, y) in enumerate(8 + (places - low) / size * (_WIDTH - 24)):
        group = block["groups"][i]
        color, told = f"var(--series-{group % len(SERIES)})", tag("title", block["names"][group])
        source = block["images"][i] if i < len(block["images"]) else ""
        if source.startswith("data:image/png;base64,"):  # a page loads no address that a file names
            at = {"x": f"{x - side / 2:.1f}", "y": f"{y - side / 2:.1f}", "width": side, "height": side}
            parts.append(tag("image", told, href=source, **at))
            parts.append(tag("rect", fill="none", stroke=color, **at))
        else:
            parts.append(tag("circle", told, cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.5, fill=color))
    legend = [
        tag("span", name, " ", style=f"color: var(--series-{i % len(SERIES)})") for i, name in enumerate(block["names"])
    ]
    height = -(-(_WIDTH - 8) // _ROW)
    return join(
        tag("p", *legend, class_="said"),
        _svg(parts, height, f"{len(places)} points by group: {', '.join(block['names'])}"),
    )


def _text(content: str, x: float, row: int, anchor: str) -> Html:
    short = content if len(content) <= 24 else content[:23] + "…"
    return tag("text", short, x=x, y=row * _ROW + 14, text_anchor=anchor, font_size=11, fill="var(--ink)")


def _svg(parts: list[Html], rows: int, label: str) -> Html:
    return Html(
        f'<svg class="map" viewBox="0 0 {_WIDTH} {max(rows, 1) * _ROW}" role="img" {_label(label)}>{join(*parts)}</svg>'
    )


def _label(text: str) -> str:
    return str(tag("i", aria_label=text)).removeprefix("<i ").removesuffix("></i>")
