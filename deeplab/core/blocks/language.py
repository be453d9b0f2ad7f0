"""Blocks of language models: generated text, and loss by context length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from deeplab.core.blocks.base import Block, columns, curve, section, text


def samples(prompts: Sequence[str], texts: Sequence[str], heading: str = "Samples") -> Block:
    """Generated texts, the prompt of each set apart.

    Args:
      prompts: Beginnings that the model was given.
      texts: What it wrote after each; may begin with the prompt.
      heading: Title of the section.

    Example:
      >>> samples(["To be"], ["To be, or not"])["blocks"][0]["text"]
      ', or not'
    """
    blocks = [
        text(written.removeprefix(prompt), prompt, style="sample")
        for prompt, written in zip(prompts, texts, strict=True)
    ]
    return section(heading, *blocks, note="The prompt in grey, followed by the model's continuation.")


def mean_by_position(
    token_loss: Float[np.ndarray, "N T"],
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Number of tokens read, and mean loss there, at each position of the window that counts.

    Masked tokens have a loss of 0 and stand at a window's ends only (padding, and what another window has counted), so
    a zero between two losses is a loss of zero.

    Example:
      >>> [x.tolist() for x in mean_by_position(np.array([[3.0, 0.0, 1.0, 0.0], [1.0, 2.0, 0.0, 0.0]]))]
      [[1, 2, 3], [2.0, 1.0, 1.0]]
    """
    nonzero = token_loss != 0  # [N, T]
    begun = np.maximum.accumulate(nonzero, axis=1)
    unfinished = np.maximum.accumulate(nonzero[:, ::-1], axis=1)[:, ::-1]
    counted = begun & unfinished
    count = counted.sum(axis=0)
    mean = np.where(counted, token_loss, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    return np.arange(1, token_loss.shape[1] + 1)[count > 0], mean[count > 0]


def loss_by_position(token_loss: Float[np.ndarray, "N T"], split: str = "test") -> list[Block]:
    """Mean loss over the number of tokens read; no block where no token counts.

    Args:
      token_loss: Loss of each token, 0 where masked.
      split: Name of the split.

    Example:
      >>> len(loss_by_position(np.array([[3.0, 2.0], [2.0, 1.0]])))
      1
    """
    if token_loss.ndim != 2 or not np.any(token_loss):
        return []
    read, mean = mean_by_position(token_loss)
    note = f"mean over {len(token_loss):,} windows of the {split} split"
    drawn = curve({"": mean}, "tokens read", {"": read}, title="loss by position", note=note)
    return [section("Loss by position in the window", columns(drawn))]
