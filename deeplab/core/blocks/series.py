"""Cards of forecasts, for an experiment's `show`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core.blocks.base import Card, card, curve

_CHANNELS = 4  # charts on a card


def forecasts(
    columns: Sequence[str],
    unscaled: Callable[[np.ndarray], np.ndarray],
    batch: Mapping[str, Any],
    predictions: Mapping[str, Any],
    shown: Sequence[str] = (),
    past: int | None = None,
) -> list[Card]:
    """A card for each window: past, truth and forecast of some channels, each in its own unit.

    With the first two bound (`functools.partial(forecasts, data.builder.columns, data.builder.unscaled)`), it is a
    `show`. A set of windows has it as its own, for experiments that give none.

    Args:
      columns: Names of the C channels.
      unscaled: Function from scaled values [..., C] to values in the units of the columns.
      batch: `history` [N, L, C] and `target` [N, H, C], and optionally `mask` [N, H, C], 0 where a target is missing.
      predictions: `forecast` [N, H, C], and optionally `quantiles` [N, H, C, Q], of which the lowest and the highest
        are drawn; `id` and `loss`, [N] each. No card is made without `forecast`.
      shown: Names of the channels to draw; the first four when empty.
      past: Number of steps of the past to draw; twice the horizon when None.

    Example:
      >>> batch = {"history": np.zeros((1, 4, 1)), "target": np.ones((1, 2, 1))}
      >>> made = forecasts(("load",), lambda x: 10 * x, batch, {"forecast": np.ones((1, 2, 1)), "id": [7]})
      >>> made[0]["title"], [(line["label"], line["values"]) for line in made[0]["parts"][0]["lines"]]
      ('window 7', [('past', [0.0, 0.0, 0.0, 0.0]), ('truth', [10.0, 10.0]), ('forecast', [10.0, 10.0])])
    """
    if "forecast" not in predictions:
        return []
    lines = {"past": batch["history"], "truth": batch["target"], "forecast": predictions["forecast"]}
    if "quantiles" in predictions:
        quantiles = np.asarray(predictions["quantiles"])
        lines |= {"low": quantiles[..., 0], "high": quantiles[..., -1]}
    lines["past"] = lines["past"][:, -(past or 2 * np.shape(batch["target"])[1]) :]
    steps = {name: np.arange(x.shape[1]) - x.shape[1] * (name == "past") for name, x in lines.items()}
    chosen = [columns.index(name) for name in shown] or range(len(columns))[:_CHANNELS]
    made = []
    for i, number in enumerate(predictions["id"]):
        drawn = {name: unscaled(np.asarray(values[i])) for name, values in lines.items()}
        if "mask" in batch:
            drawn["truth"] = np.where(batch["mask"][i] != 0, drawn["truth"], np.nan)
        charts = [
            curve({name: x[:, c] for name, x in drawn.items()}, f"steps ahead: {columns[c]}", steps) for c in chosen
        ]
        loss = f"loss {predictions['loss'][i]:.3g}" if "loss" in predictions else ""
        made.append(card(f"window {number}", *charts, caption=loss))
    return made
