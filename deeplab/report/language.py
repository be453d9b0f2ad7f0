"""What a language model writes, and how its loss falls with the context it has read."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from deeplab.report import figures
from deeplab.report.record import Run
from deeplab.report.text import Html, join, tag


def samples(run: Run) -> Html:
    """The run's `samples.json`, prompt and continuation set apart; nothing where there is none."""
    try:
        given = json.loads(run.text("samples.json") or "[]")
    except ValueError:
        return tag("p", "samples.json is damaged and not shown.", class_="notice")
    texts = [s for s in given if isinstance(s, Mapping) and "text" in s] if isinstance(given, list) else []
    if not texts:
        return Html("")
    blocks = []
    for sample in texts:
        prompt, text = str(sample.get("prompt", "")), str(sample["text"])
        blocks.append(tag("pre", tag("b", prompt), text.removeprefix(prompt), class_="sample"))
    note = "The prompt in grey, then what the model wrote."
    return join(tag("h2", "Samples"), tag("p", note, class_="muted"), *blocks)


def loss_by_position(token_loss: np.ndarray) -> figures.Line:
    """Mean loss at each place of the window, from `token_loss` [N, T]: 0 where a token did not count.

    Tokens are left out of the count at a window's ends only (padding, and what another window has counted), so a
    zero between two losses is a loss of zero.
    """
    nonzero = token_loss != 0  # [N, T]
    begun = np.maximum.accumulate(nonzero, axis=1)
    unfinished = np.maximum.accumulate(nonzero[:, ::-1], axis=1)[:, ::-1]
    counted = begun & unfinished
    count = counted.sum(axis=0)
    mean = np.where(counted, token_loss, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    return figures.Line("", np.arange(1, token_loss.shape[1] + 1)[count > 0], mean[count > 0], figures.SERIES[0])
