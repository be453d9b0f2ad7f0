"""Tokens on the colors of their values, as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab.core.errors import UserError


class TokenHtml(str):
    """A string of HTML that a notebook shows as it is meant."""

    def _repr_html_(self) -> str:
        return str(self)


def token_html(tokens: Sequence[str], values: Any, targets: Sequence[str] | None = None) -> TokenHtml:
    """Tokens on colors: red where a value is positive, blue where it is negative, as strong as it is large.

    Args:
      tokens: Words or their pieces, as they are read.
      values: Value of each token, [T]; for each generated token a row of them, [G, T].
      targets: The generated tokens, as the headings of the rows.

    Raises:
      UserError: the values are not as many as the tokens, or not finite.

    Example:
      >>> print(token_html(["a<"], [1.0]))
      <p class="tokens"><span style="background:rgba(178,24,43,0.80)" title="+1">a&lt;</span></p>
    """
    grid = np.atleast_2d(np.asarray(values, np.float64))
    if grid.shape[1:] != (len(tokens),) or (targets is not None and len(targets) != len(grid)):
        heads = "" if targets is None else f" and {len(targets)} targets"
        raise UserError(f"the values have the shape {np.shape(values)}, there are {len(tokens)} tokens{heads}")
    if not np.isfinite(grid).all():
        raise UserError("a value is not finite, and has no color")
    largest = np.abs(grid).max(initial=0) or 1.0
    lines = [" ".join(_span(t, v, largest) for t, v in zip(tokens, row, strict=True)) for row in grid]
    if targets is None and len(lines) == 1:
        return TokenHtml(f'<p class="tokens">{lines[0]}</p>')
    heads = targets if targets is not None else [""] * len(lines)
    rows = (
        f'<tr><th scope="row">{html.escape(h)}</th><td>{line}</td></tr>' for h, line in zip(heads, lines, strict=True)
    )
    return TokenHtml(f'<table class="tokens">{"".join(rows)}</table>')


def _span(token: str, value: float, largest: float) -> str:
    color = "178,24,43" if value >= 0 else "33,102,172"
    style = f"background:rgba({color},{0.8 * abs(value) / largest:.2f})"
    return f'<span style="{style}" title="{value:+.3g}">{html.escape(token)}</span>'
