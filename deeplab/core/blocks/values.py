"""Blocks of predicted numbers: predictions against targets, and residuals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from deeplab.core.blocks.base import Block, columns, curve, rows, section

MAX_POINTS = 300
"""More examples than this are thinned evenly, in the order of their targets: a chart shows no more."""

NUM_WORST = 10


def regression(predictions: Mapping[str, np.ndarray], split: str = "test") -> list[Block]:
    """Scatter of predictions over targets, residuals over predictions, and the examples of the largest errors.

    Args:
      predictions: `target` and `prediction`, [N, ...] both, and where known `id` [N].
      split: Name of the split.

    Example:
      >>> made = regression({"target": np.array([1.0, 2.0]), "prediction": np.array([1.5, 2.0])})
      >>> made[0]["heading"], [block["kind"] for block in made[0]["blocks"]]
      ('Predictions of 2 test examples', ['columns', 'section'])
    """
    target, prediction = (np.asarray(predictions[name], np.float64) for name in ("target", "prediction"))
    if not target.size or target.shape != prediction.shape:
        return []
    heading = f"Predictions of {len(target):,} {split} examples"
    note = (
        "Target minus prediction is the residual. Points near the diagonal, and residuals without a trend, are right."
    )
    finite = np.isfinite(target) & np.isfinite(prediction)
    charts = [_charts(target[finite], prediction[finite])] if finite.any() else []
    if not finite.all():
        note += f" {finite.size - finite.sum():,} of {finite.size:,} are not finite, and not drawn."
    return [section(heading, *charts, _worst(target, prediction, predictions.get("id")), note=note)]


def _charts(target: Float[np.ndarray, " M"], prediction: Float[np.ndarray, " M"]) -> Block:
    order = np.argsort(target, kind="stable")
    order = order[np.unique(np.linspace(0, len(order) - 1, MAX_POINTS).astype(int))]
    target, prediction = target[order], prediction[order]
    ends = np.array([min(target.min(), prediction.min()), max(target.max(), prediction.max())])
    scatter = curve(
        {"equal": ends, "model": prediction},
        "target",
        {"equal": ends, "model": target},
        title="predictions",
        note="prediction over target",
        reference=["equal"],
        points=["model"],
    )
    by_prediction = np.argsort(prediction, kind="stable")
    told = prediction[by_prediction]
    residuals = curve(
        {"0": np.zeros(2), "residual": (target - prediction)[by_prediction]},
        "prediction",
        {"0": told[[0, -1]], "residual": told},
        title="residuals",
        note="target minus prediction, over prediction",
        reference=["0"],
        points=["residual"],
    )
    return columns(scatter, residuals)


def _worst(target: np.ndarray, prediction: np.ndarray, ids: np.ndarray | None) -> Block:
    """The examples of the largest absolute residuals; of several targets, by the largest of an example.

    What is not finite is larger than all else.
    """
    with np.errstate(invalid="ignore"):
        size = np.nan_to_num(np.abs(target - prediction), nan=np.inf).reshape(len(target), -1)
    body = []
    for i in np.argsort(-size.max(axis=1), kind="stable")[:NUM_WORST]:
        y, f = (values[i].reshape(-1)[size[i].argmax()] for values in (target, prediction))
        body.append([str(i if ids is None else int(ids[i])), f"{y:.5g}", f"{f:.5g}", f"{y - f:+.5g}"])
    return section("Largest residuals", rows(["example", "target", "prediction", "residual"], body, numeric=True))
