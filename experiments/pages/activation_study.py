"""Depth and activation: summary and page of the runs of `experiments.study_activations`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.report import figures
from deeplab.report.shading import heat
from deeplab.report.text import Html, join, table, tag

TRAINS = 0.5
"""A run trains if it classifies this share of its training examples correctly since the evaluation before."""

DASH = "\N{EN DASH}"

Cell = dict[str, Any]


def summarize(rows: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """A cell for each activation and depth, at the learning rate of the highest training accuracy.

    Over its seeds: `accuracy` and `deviation` on the test set after training, `trained` (share of the seeds), the share
    of constant units (`constant`, and `constant_first` before training), the norm of the gradient in each layer
    (`gradient`, and `gradient_first` before training; geometric means), and `chi`, the factor of the squared gradient
    from a layer to the one before, at initialization. `highest` is the largest learning rate of the grid at which all
    seeds train, or None.
    """
    cells = dict.fromkeys((row["arguments"]["activation"], row["arguments"]["depth"]) for row in rows)
    return [_cell(name, depth, [r for r in rows if _of(r) == (name, depth)]) for name, depth in cells]


def _of(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["arguments"]["activation"], row["arguments"]["depth"]


def _cell(name: str, depth: int, rows: Sequence[Mapping[str, Any]]) -> Cell:
    rates: dict[float, list[Any]] = {}
    for row in rows:
        rates.setdefault(row["arguments"]["learning_rate"], []).append(row)
    # By accuracy, not by loss: a network that has collapsed to chance has a smaller loss than one that learns with
    # logits of thousands.
    best = max(rates, key=lambda rate: np.mean([_final(row) for row in rates[rate]]))
    trained = {rate: float(np.mean([_final(row) >= TRAINS for row in rates[rate]])) for rate in rates}
    chosen = rates[best]
    accuracy = [row["last"]["accuracy"] for row in chosen]
    gradient_first = _by_layer(chosen, "first", "gradient_norm/hidden")
    return {
        "activation": name,
        "depth": depth,
        "learning_rate": best,
        "accuracy": float(np.mean(accuracy)),
        "deviation": float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else None,
        "trained": trained[best],
        "highest": max((rate for rate, share in trained.items() if share == 1), default=None),
        "constant": _mean(chosen, "last", "constant_units/"),
        "constant_first": _mean(chosen, "first", "constant_units/"),
        "gradient_first": gradient_first,
        "gradient": _by_layer(chosen, "last", "gradient_norm/hidden"),
        "chi": _factor(gradient_first),
    }


def _final(row: Mapping[str, Any]) -> float:
    """The training accuracy at the end; 0 if the run diverged."""
    end = row["curve"][-1]
    value = end["train"]["accuracy"]
    return value if value is not None and row["steps"] == end["step"] else 0.0


def _mean(rows: Sequence[Mapping[str, Any]], when: str, prefix: str) -> float | None:
    """Mean over units and runs; None where a run has values that are not finite, which leave its units undefined."""
    if any(value is None for row in rows for value in row[when].values()):
        return None
    return float(np.mean([value for row in rows for name, value in row[when].items() if name.startswith(prefix)]))


def _by_layer(rows: Sequence[Mapping[str, Any]], when: str, prefix: str) -> list[float | None]:
    """Geometric means over runs, first layer first; 0 where a norm vanishes, None where it overflows."""
    names = sorted((n for n in rows[0][when] if n.startswith(prefix)), key=lambda n: int(n.removeprefix(prefix)))
    norms = np.array([[row[when][name] for name in names] for row in rows], np.float64)  # None becomes NaN
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.exp(np.log(norms).mean(axis=0))
    return [float(mean) if np.isfinite(mean) else None for mean in means]


def _factor(norms: Sequence[float | None]) -> float | None:
    """chi between the second layer and the last (the first reads the image); None unless both norms are above 0."""
    first, last = (norms[1], norms[-1]) if len(norms) > 2 else (None, None)
    return float((first / last) ** (2 / (len(norms) - 2))) if first and last else None


def sections(cells: Sequence[Cell], functions: Mapping[Any, Any], predicted: Mapping[Any, float]) -> list[Html]:
    """The sections of the page.

    Args:
      cells: Cells from `summarize`.
      functions: Activations by name, each with `formula`, `low`, `high`, `monotone`, `gain` and `source`.
      predicted: chi at the matching initialization, by activation.
    """
    names = list(dict.fromkeys(cell["activation"] for cell in cells))
    depths = sorted({cell["depth"] for cell in cells})
    by_cell = {(cell["activation"], cell["depth"]): cell for cell in cells}
    grid = [[by_cell[name, depth] for depth in depths] for name in names]

    def shaded(field: str, low: float, high: float, text: Any, bad: bool = False) -> Html:
        values = np.array([[np.nan if c[field] is None else float(c[field]) for c in row] for row in grid])
        shade = np.log10(values) if field == "highest" else values
        return heat(names, depths, shade, lambda i, j: text(grid[i][j]), low=low, high=high, bad=bad)

    rates = sorted({cell["highest"] for cell in cells} - {None}) or [1.0]
    return [
        *_functions(functions, predicted),
        tag("h2", "Test accuracy, by depth"),
        shaded("accuracy", 0.1, 1.0, _accuracy),
        tag("p", "Mean ± sample standard deviation over seeds, in percent, after the last step, at the learning rate "
            "of the highest training accuracy. An asterisk marks cells whose seeds did not all reach "
            f"{100 * TRAINS:.0f} % on the training examples.", class_="muted"),
        tag("h2", "Highest learning rate that trains"),
        shaded("highest", math.log10(rates[0]) - 0.5, math.log10(rates[-1]), lambda c: _short(c["highest"])),
        tag("p", "The largest one of the grid at which every seed trains; a dash where there is none.", class_="muted"),
        tag("h2", "Constant units after training"),
        shaded("constant", 0.0, 1.0, _constant, bad=True),
        tag("p", "Percent of all hidden units whose output is the same for every test example: dead units, saturated "
            "units, and those fed by them. A dash where values overflow.", class_="muted"),
        *_gradients(names, depths, by_cell, predicted),
    ]  # fmt: skip


def _functions(functions: Mapping[Any, Any], predicted: Mapping[Any, float]) -> list[Html]:
    rows = [
        [
            name,
            f.formula,
            f"{f.low:g} to {f.high:g}",
            "yes" if f.monotone else "no",
            f"{f.gain:.4f}",
            f"{predicted[name]:.3f}",
            f.source,
        ]
        for name, f in functions.items()
    ]
    head = ["activation", "formula", "range", "monotone", "gain", "chi", "source"]
    note = (
        "The matching initialization is a truncated normal distribution of variance gain^2 / fan_in; chi is the "
        "factor by which a layer multiplies the squared gradient."
    )
    return [tag("h2", "The functions"), table(head, rows), tag("p", note, class_="muted")]


def _accuracy(cell: Cell) -> str:
    spread = f" ± {100 * cell['deviation']:.1f}" if cell["deviation"] is not None else ""
    return f"{100 * cell['accuracy']:.1f}{spread}{'' if cell['trained'] == 1 else ' *'}"


def _constant(cell: Cell) -> str:
    return DASH if cell["constant"] is None else f"{100 * cell['constant']:.1f}"


def _short(rate: float | None) -> str:
    return DASH if rate is None else f"{rate:g}"


def _gradients(
    names: Sequence[str],
    depths: Sequence[int],
    by_cell: Mapping[tuple[str, int], Cell],
    predicted: Mapping[str, float],
) -> list[Html]:
    """Predicted and measured chi, and the norms in each layer of the deepest networks."""
    deep = [depth for depth in depths if depth > 2]
    values = np.array([[predicted[n], *(by_cell[n, d]["chi"] or np.nan for d in deep)] for n in names])

    def text(i: int, j: int) -> str:
        return DASH if np.isnan(values[i, j]) else f"{values[i, j]:.3g}"

    factors = heat(names, ["predicted", *deep], np.abs(np.log(values)), text, low=0, high=math.log(4), bad=True)
    drawn = []
    for start in range(0, len(names), len(figures.SERIES)):
        part = names[start : start + len(figures.SERIES)]
        for field, title in (("gradient_first", "before training"), ("gradient", "after training")):
            lines = [
                figures.Line(name, np.arange(1, depths[-1] + 1), _positive(by_cell[name, depths[-1]][field]), color)
                for name, color in zip(part, figures.SERIES, strict=False)
            ]
            shown = any(np.isfinite(line.values).any() for line in lines)
            svg = figures.curves(lines, log=shown, span="all", x_label="layer")
            label = f"gradient norm, {title}, depth {depths[-1]}"
            picture = figures.inline(svg, label, f"{field}-{start}")
            drawn.append(tag("figure", tag("figcaption", tag("b", label), ", ".join(part)), picture))
    return [
        tag("h2", "Gradients"),
        factors,
        tag("p", "chi is the factor by which a layer multiplies the squared gradient in the backward pass, at "
            "initialization: predicted by mean-field theory, and measured from the last layer to the second, by "
            "depth. A cross in a figure marks a gradient that vanished or overflowed.", class_="muted"),
        join(tag("div", *drawn, class_="grid")),
    ]  # fmt: skip


def _positive(norms: Sequence[float | None]) -> np.ndarray:
    """Norms for a logarithmic axis: NaN, drawn as a cross, where one vanished or overflowed."""
    return np.array([norm or np.nan for norm in norms], np.float64)
