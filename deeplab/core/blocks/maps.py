"""Blocks of explanations: words in signed colors, bars from a baseline to a score, swarms, heat maps and planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from deeplab.core.blocks.base import Block, _rounded, picture


def tokens(words: Sequence[str], values: Any, label: str = "") -> Block:
    """Words on a color by the sign and the size of a value each, symmetric around 0.

    Args:
      words: The words, [T].
      values: Value of each, [T].
      label: Words before them, in grey.

    Example:
      >>> tokens(("not", "good"), np.array([-2.0, 1.0]))["shares"]
      [-1.0, 0.5]
    """
    values = np.asarray(values, np.float64).reshape(-1)
    largest = np.abs(values).max(initial=0) or 1.0
    told = {"words": [str(word) for word in words], "values": _rounded(values), "shares": _rounded(values / largest)}
    return {"kind": "tokens", "label": label, **told}


def bars(names: Sequence[str], values: Any, *, title: str = "", most: int = 12, start: float | None = None) -> Block:
    """Signed bars, the largest first; a waterfall from a baseline's score to that of the example, where it is given.

    Args:
      names: Names of the features, [F].
      values: Value of each, [F].
      title: Sentence above them.
      most: Number of bars, the last of which is the sum of all others.
      start: Score at the baseline.

    Example:
      >>> bars(("age", "sex", "bmi"), np.array([0.1, -3.0, 0.2]), most=2)["names"]
      ['sex', '2 others']
    """
    values = np.asarray(values, np.float64).reshape(-1)
    order = np.argsort(-np.abs(values), kind="stable")
    kept = order if len(order) <= most else order[: most - 1]
    others = order[len(kept) :]
    labels = [str(names[i]) for i in kept] + ([f"{len(others)} others"] if len(others) else [])
    shown = [*values[kept], *([values[others].sum()] if len(others) else [])]
    return {"kind": "bars", "names": labels, "values": _rounded(np.array(shown)), "title": title, "start": start}


def swarm(names: Sequence[str], values: Any, shades: Any, *, title: str = "", most: int = 12) -> Block:
    """A row of points for each feature, one for each example, at its value and shaded by how large the feature is.

    Args:
      names: Names of the features, [F].
      values: Values, [N, F].
      shades: Features, [N, F]; shaded by their rank among the examples, equal ones by the mean of theirs.
      title: Sentence above it.
      most: Number of rows, those of the largest mean size.

    Example:
      >>> swarm(("age", "height"), np.eye(2), np.eye(2))["kind"]
      'swarm'
    """
    values, shades = np.asarray(values, np.float64), np.asarray(shades, np.float64)
    order = np.argsort(-np.abs(values).mean(axis=0), kind="stable")[:most]
    rows = [
        {"name": str(names[i]), "values": _rounded(values[:, i]), "shades": _rounded(_ranks(shades[:, i]))}
        for i in order
    ]  # fmt: skip
    return {"kind": "swarm", "rows": rows, "title": title}


def _ranks(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Mean ranks, from 0 to 1."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[which.reshape(-1)] / max(len(values) - 1, 1)


def heat(rows: Sequence[str], columns: Sequence[str], values: Any) -> Block:
    """A table of numbers, shaded from 0 to 1.

    Args:
      rows: Names of the rows.
      columns: Names of the columns.
      values: Numbers, [R, C].

    Example:
      >>> heat(("a", "b"), ("x", "y"), [[0.0, 1.0], [0.5, 0.5]])["kind"]
      'heat'
    """
    table = [[float(f"{value:.3g}") for value in row] for row in np.asarray(values, np.float64)]
    return {"kind": "heat", "rows": [*map(str, rows)], "columns": [*map(str, columns)], "values": table}


def scatter(places: Any, groups: Any, images: Any = ()) -> Block:
    """Points on a plane, colored by group; the first are images, on the color of their group.

    Args:
      places: Places, [N, 2].
      groups: Group of each, [N], of any type.
      images: Images of the first points, [M, H, W] or [M, H, W, C]: uint8, or floats in [0, 1].

    Example:
      >>> scatter(np.eye(2), ("cat", "dog"))["kind"]
      'scatter'
    """
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    return {
        "kind": "scatter",
        "places": [[float(f"{x:.4g}") for x in place] for place in np.asarray(places, np.float64)],
        "groups": [int(number) for number in numbers],
        "names": [str(name) for name in names],
        "images": [picture(image)["source"] for image in images],
    }
