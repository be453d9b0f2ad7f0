"""What a row of the tables says, and inputs that more than one field has."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Member(NamedTuple):
    """A model small enough to train; the laws hold for each."""

    make: Callable[[], nn.Module]
    inputs: Callable[[int], jax.Array]  # of a batch size
    output: tuple[int, ...]  # shape of one example's logits
    rules: Any


class Family(NamedTuple):
    """A model in all the sizes of its file, none of which is computed: only its shapes are."""

    make: Callable[..., nn.Module]
    variants: dict[str, dict[str, Any]]
    inputs: Callable[[int], jax.Array]
    output: tuple[int, ...]


def member(
    module: ModuleType,
    make: Callable[..., nn.Module],
    inputs: Callable[[int], jax.Array],
    output: tuple[int, ...],
    **arguments: Any,
) -> Member:
    """A member of the module's size "test" and rules; its arguments may change the size."""
    return Member(functools.partial(make, **module.VARIANTS["test"], **arguments), inputs, output, module.RULES)


def normal(*shape: int) -> Callable[[int], jax.Array]:
    """NumPy draws them: JAX would compile a program for each size of a batch."""
    return lambda batch: jnp.asarray(np.random.default_rng(1).normal(size=(batch, *shape)), jnp.float32)


def tokens(batch: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).integers(0, 7, (batch, 12)), jnp.int32)
