"""Rematerialization: activations are recomputed in the backward pass instead of being stored.

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
    "none": None,  # stores all activations
    "full": _saved.nothing_saveable,  # stores the inputs of a block only
    "dots": _saved.dots_saveable,  # also stores the results of matrix products
    "dots_no_batch": _saved.dots_with_no_batch_dims_saveable,  # but not those of attention, which grow with T^2
    "offload": _saved.offload_dot_with_no_batch_dims("device", "pinned_host"),  # as before, in the host's memory
}

Block = TypeVar("Block", bound=type[nn.Module])


def remat(block: Block, policy: str) -> Block:
    """A block with the same parameters and values that stores fewer activations for its gradient.

    Args:
      block: Class of a module. Its argument `train` is a Python bool, passed by position.
      policy: Name of a row of `POLICIES`.

    Raises:
      ValueError: There is no such policy.

    Example:
      >>> from deeplab.models.vision.convolutional.resnet import BasicBlock, ResNet
      >>> model = ResNet(num_classes=10, stage_sizes=(1, 1), width=8, block=remat(BasicBlock, "full"))
    """
    if policy not in POLICIES:
        raise ValueError(f"no remat policy is called {policy!r}; known are {', '.join(POLICIES)}")
    if policy == "none":
        return block
    names = list(inspect.signature(block.__call__).parameters)
    # `train` is static; Linen counts `self` as argument 0.
    return nn.remat(block, policy=POLICIES[policy], static_argnums=(names.index("train"),))
