"""Activations that are computed again in the backward pass, instead of being kept for it.

Chen, Xu, Zhang and Guestrin 2016, "Training deep nets with sublinear memory cost", https://arxiv.org/abs/1604.06174.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import flax.linen as nn
import jax

_saved = jax.checkpoint_policies
POLICIES: Mapping[str, Callable[..., Any] | None] = {
    "none": None,  # everything is kept
    "full": _saved.nothing_saveable,  # a block's inputs alone
    "dots": _saved.dots_saveable,  # also what matrix products give
    "dots_no_batch": _saved.dots_with_no_batch_dims_saveable,  # not those of attention, which grow with T^2
    "offload": _saved.offload_dot_with_no_batch_dims("device", "pinned_host"),  # these, kept in the host's memory
}

Block = TypeVar("Block", bound=type[nn.Module])


def remat(block: Block, policy: str) -> Block:
    """A kind of block with the same parameters and values, which keeps less for its gradient.

    Args:
      block: a kind of module; its parameter `train` is Python's, and is given by position.
      policy: a row of `POLICIES`.

    Raises:
      ValueError: no such policy.

    Example:
      >>> from deeplab.models.vision.convolutional.resnet import BasicBlock, ResNet
      >>> model = ResNet(num_classes=10, stage_sizes=(1, 1), width=8, block=remat(BasicBlock, "full"))
    """
    if policy not in POLICIES:
        raise ValueError(f"no remat policy is called {policy!r}; known are {', '.join(POLICIES)}")
    if policy == "none":
        return block
    names = list(inspect.signature(block.__call__).parameters)
    # Python's own `train` decides what is traced; Linen counts it with `self` as 0.
    return nn.remat(block, policy=POLICIES[policy], static_argnums=(names.index("train"),))
