"""Numbers formatted for reading, and HTML in which no given text can become markup."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any


def metric(name: str, value: float) -> str:
    """The value of a metric: shares in percent, all others with four significant digits.

    Example:
      >>> metric("accuracy", 0.99167), metric("loss", 0.031234)
      ('99.17 %', '0.03123')
    """
    if not math.isfinite(value):
        return str(value)
    return f"{100 * value:.2f} %" if is_share(name) else f"{value:#.4g}".rstrip(".")


def is_share(name: str) -> bool:
    """Whether a metric is a share of one, to be shown in percent."""
    return any(word in name for word in ("accuracy", "iou", "pixel_error"))


def duration(seconds: float) -> str:
    """Wall time; whole seconds from a minute on.

    Example:
      >>> duration(84.21), duration(5025), duration(8.4)
      ('1 min 24 s', '1 h 23 min', '8.4 s')
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Html(str):
    """A string of HTML. Any other string is escaped when it becomes part of an element."""


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """An element. Children that are not `Html` are escaped; attributes that are None are left out.

    Example:
      >>> tag("p", "1 < 2", tag("b", "!"), class_="note")
      '<p class="note">1 &lt; 2<b>!</b></p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in ("img", "br"):
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: Any) -> Html:
    """Concatenated pieces, escaped unless they are `Html`."""
    return Html("".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children))


def note(content: Any) -> Html:
    """A sentence in grey."""
    return tag("p", content, class_="muted")


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]], **attributes: Any) -> Html:
    """A table; the first cell of each row is its heading. It scrolls sideways where the page is too narrow."""
    headings = tag("tr", *(tag("th", cell, scope="col") if cell != "" else tag("td") for cell in head))
    lines = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    parts = [tag("thead", headings)] * bool(head) + [tag("tbody", *lines)]
    named = ", ".join(str(cell) for cell in head if cell != "")
    return scrolling(tag("table", *parts, **attributes), f"table of {named}" if named else "table")


def scrolling(content: Html, label: str) -> Html:
    """A box that scrolls sideways where the page is too narrow for its content, by the arrow keys too.

    Args:
      content: Content of the box.
      label: Name of the box, which a screen reader tells.
    """
    return tag("div", content, class_="scroll", tabindex=0, role="group", aria_label=label)


def folded(title: str, content: str) -> Html:
    """A text that opens below its title, and scrolls where it is long, by the arrow keys too."""
    return tag("details", tag("summary", title), tag("pre", content, tabindex=0, role="group", aria_label=title))


def shell(content: Any) -> Html:
    """A command to copy, which a click selects as a whole; a long word scrolls, by the arrow keys too."""
    told = {"title": "click selects the whole command", "tabindex": 0, "role": "group", "aria_label": "command"}
    return tag("pre", content, class_="command", **told)


def number(value: Any, otherwise: float = math.nan) -> float:
    """The value as a float, or `otherwise` where it is no number (missing, null, text)."""
    return float(value) if is_number(value) else otherwise


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
