"""Loss as a function of the number of examples: summary and page of the runs of `experiments.study_data_scaling`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.report import figures
from deeplab.report.shading import heat
from deeplab.report.sweeps import power_law
from deeplab.report.text import Html, join, table, tag

Curve = dict[str, Any]


def summarize(rows: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """A curve for each width; for each size, the runs at the learning rate of the smallest best validation loss.

    For N sizes and S seeds: `sizes` [N], `learning_rates` [N], `losses` and `errors` on the test set at the best
    validation [S, N], the `steps` up to it [S, N], and `late`, the share of runs whose best evaluation is their last.
    With enough sizes also `law`, fitted to all sizes but the largest; at the largest one `predicted`, its 95 % band
    `low` and `high`, and `measured`; and `law_of_all`, fitted to all sizes.
    """
    widths = sorted({row["arguments"]["width"] for row in rows})
    return [_curve(width, [row for row in rows if row["arguments"]["width"] == width]) for width in widths]


def _curve(width: int, rows: Sequence[Mapping[str, Any]]) -> Curve:
    by_size: dict[int, dict[float, list[Any]]] = {}
    for row in rows:
        by_size.setdefault(row["num_train"], {}).setdefault(row["arguments"]["learning_rate"], []).append(row)
    sizes, chosen = sorted(by_size), []
    for size in sizes:
        rates = by_size[size]
        chosen.append(min(rates.values(), key=lambda same: np.mean([_best(row)[1] for row in same])))
    losses = np.array([[row["best"]["loss"] for row in same] for same in chosen], np.float64).T  # [N, S] -> [S, N]
    steps = np.array([[_best(row)[0] for row in same] for same in chosen]).T
    ends = np.array([[row["curve"][-1]["step"] for row in same] for same in chosen]).T
    return {
        "width": width,
        "num_params": rows[0]["num_params"],
        "sizes": sizes,
        "learning_rates": [same[0]["arguments"]["learning_rate"] for same in chosen],
        "losses": losses.tolist(),
        "errors": [[1 - same[s]["best"]["accuracy"] for same in chosen] for s in range(len(losses))],
        "steps": steps.tolist(),
        "late": float(np.mean(steps == ends)),
        **_law(np.array(sizes, np.float64), losses),
    }


def _best(row: Mapping[str, Any]) -> tuple[int, float]:
    """Step and loss of the best evaluation on the validation split."""
    seen = [(point["step"], point["evaluation"]["loss"]) for point in row["curve"]]
    return min(((step, np.inf if loss is None else loss) for step, loss in seen), key=lambda at: at[1])


def _law(sizes: np.ndarray, losses: np.ndarray) -> dict[str, Any]:
    if len(sizes) <= power_law.MIN_SIZES or not np.all(np.isfinite(losses)):
        return {}
    known, mean = sizes[:-1], losses.mean(axis=0)
    law, law_of_all = power_law.fit(known, mean[:-1]), power_law.fit(sizes, mean)
    at = np.geomspace(sizes[0], sizes[-1], 40)
    low, high = power_law.band(known, losses[:, :-1], at)
    return {
        "law": law._asdict(),
        "law_of_all": law_of_all._asdict(),
        "predicted": float(law(sizes[-1])),
        "low": float(low[-1]),
        "high": float(high[-1]),
        "measured": float(mean[-1]),
        "band": {"at": at.tolist(), "low": low.tolist(), "high": high.tolist()},
    }


def sections(curves: Sequence[Curve]) -> list[Html]:
    """The sections of the page."""
    lines = []
    for curve, color in zip(curves, figures.SERIES, strict=False):
        sizes, losses = np.array(curve["sizes"], float), np.array(curve["losses"])
        lines += [figures.Line("", sizes, seed, color, points=True) for seed in losses]
        if "law" in curve:
            at, low, high = (np.array(curve["band"][name]) for name in ("at", "low", "high"))
            law = power_law.PowerLaw(**curve["law"])
            lines.append(figures.Line(f"width {curve['width']}", at, law(at), color, band=(low, high)))
    svg = figures.curves(lines, log=True, log_x=True, span="all", x_label="training examples")
    caption = tag(
        "figcaption", tag("b", "test loss"), "a point is a run; the law is fitted to all sizes but the largest"
    )
    return [
        tag("h2", "Loss by number of examples"),
        tag("figure", caption, figures.inline(svg, "test loss by training examples, for each width", "scaling")),
        *_fits(curves),
        tag("h2", "Test loss"),
        _table(curves, "losses", lambda values: f"{values.mean():.4f} ± {_deviation(values):.4f}"),
        tag("h2", "Test error"),
        _table(curves, "errors", lambda values: f"{100 * values.mean():.2f} ± {100 * _deviation(values):.2f} %"),
        tag("p", "Mean ± sample standard deviation over seeds. Each seed draws its own examples.", class_="muted"),
        tag("h2", "Steps and learning rates"),
        _table(curves, "steps", lambda values: f"{values.mean():,.0f}"),
        tag("p", "Steps to the best validation, a mean over seeds, at the learning rate "
            "of the best validation loss: " + "; ".join(
                f"width {c['width']}: " + ", ".join(f"{rate:g}" for rate in c["learning_rates"]) for c in curves)
            + ". Best at the last evaluation: " + ", ".join(f"{100 * c['late']:.0f} %" for c in curves)
            + " of the runs.", class_="muted"),
    ]  # fmt: skip


def _fits(curves: Sequence[Curve]) -> list[Html]:
    fitted = [curve for curve in curves if "law" in curve]
    if not fitted:
        return [tag("p", "Too few sizes for a power law.", class_="muted")]
    rows = [
        [
            f"{c['width']} ({c['num_params']:,} parameters)",
            *(f"{c['law'][name]:.3g}" for name in ("floor", "scale", "exponent")),
            f"{c['predicted']:.4f} ({c['low']:.4f} to {c['high']:.4f})",
            f"{c['measured']:.4f}",
            f"{100 * (c['predicted'] / c['measured'] - 1):+.1f} %",
            f"{c['law_of_all']['exponent']:.3g}",
        ]
        for c in fitted
    ]
    head = ["width", "L_inf", "a", "b", "predicted at the largest (95 % band)", "measured", "error", "b of all sizes"]
    note = "L(n) = L_inf + a n^-b, least squares of log L. The band is a bootstrap over the seeds of each size."
    return [tag("h2", "Power law"), table(head, rows, class_="numbers"), tag("p", note, class_="muted")]


def _table(curves: Sequence[Curve], field: str, text: Any) -> Html:
    sizes = curves[0]["sizes"]
    values = [[np.array(curve[field])[:, n] for n in range(len(sizes))] for curve in curves]
    means = np.array([[cell.mean() for cell in row] for row in values])
    names, columns = [f"width {curve['width']}" for curve in curves], [f"{size:,}" for size in sizes]
    high = float(means.max())
    return join(heat(names, columns, means, lambda i, j: text(values[i][j]), low=0.0, high=1.5 * high))


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
