"""Of what precision numbers are: a policy beside the model, which knows nothing of it.

Micikevicius et al. 2018, "Mixed precision training", https://arxiv.org/abs/1710.03740.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError, nearest

_GROWTH_STEPS = 2000  # finite steps after which the scale is doubled, as in NVIDIA's Apex and in PyTorch
_LARGEST_SCALE = 2.0**24


@dataclasses.dataclass(frozen=True)
class Precision:
    """The dtypes of a step.

    The model is given parameters and inputs cast to `computation`, and so computes in it; its outputs are cast to
    `reductions`, and with them losses, metrics and sums of gradients. Within the model the layers of `deeplab.nn` keep
    norms, softmaxes and states of recurrences in float32 whatever they are given; running statistics stay float32.

    Args:
      parameters: of the parameters that are kept, and so of the optimizer's moments.
      computation: of products and activations.
      reductions: of sums over examples.
      loss_scale: the first factor of the loss in its gradient, for the narrow range of float16; None for no factor. It
        is halved by a step whose gradient overflows, which is skipped, and doubled after 2,000 that do not.

    Example:
      >>> PRECISIONS["bf16"].computation, PRECISIONS["bf16"].parameters
      ('bfloat16', 'float32')
    """

    parameters: str = "float32"
    computation: str = "float32"
    reductions: str = "float32"
    loss_scale: float | None = None


PRECISIONS = {
    "f32": Precision(),
    "bf16": Precision(computation="bfloat16"),
    # Half the memory of parameters and moments; an update below 1/256 of a parameter is lost.
    "bf16_params": Precision(parameters="bfloat16", computation="bfloat16"),
    "f16": Precision(computation="float16", loss_scale=2.0**15),
}


def named(name: str) -> Precision:
    """A row of `PRECISIONS`.

    Raises:
      UserError: no row has this name.
    """
    if name not in PRECISIONS:
        raise UserError(f"--precision {name}: {nearest(name, PRECISIONS)}")
    return PRECISIONS[name]


def cast(tree: Any, dtype: str) -> Any:
    """The tree with its floating-point arrays in `dtype`, and all else as it is.

    Example:
      >>> {name: str(x.dtype) for name, x in cast({"a": jnp.ones(1), "b": jnp.arange(2)}, "bfloat16").items()}
      {'a': 'bfloat16', 'b': 'int32'}
    """

    def one(x: Any) -> Any:
        return x.astype(dtype) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x

    return jax.tree.map(one, tree)


class Scaled(NamedTuple):
    """An optimizer's state beside the factor of the loss: part of `State.opt_state`, so it is saved and resumed.

    Attributes:
      scale: the factor, float32; a power of two, so that it rounds nothing.
      finite_steps: since it was changed.
      inner: the optimizer's own state.
    """

    scale: jax.Array
    finite_steps: jax.Array
    inner: Any


def scaled(opt_state: Any, precision: Precision) -> Any:
    """The first state of an optimizer, with the factor of the loss where the policy has one."""
    if precision.loss_scale is None:
        return opt_state
    return Scaled(jnp.float32(precision.loss_scale), jnp.zeros((), jnp.int32), opt_state)


def rescaled(state: Scaled, finite: jax.Array) -> Scaled:
    """The factor after a step: halved where its gradient was not finite, down to 1; doubled after many that were.

    Example:
      >>> state = scaled((), PRECISIONS["f16"])
      >>> float(rescaled(state, jnp.array(False)).scale), float(rescaled(state, jnp.array(True)).scale)
      (16384.0, 32768.0)
    """
    steps = jnp.where(finite, state.finite_steps + 1, 0)
    grown = jnp.where(steps >= _GROWTH_STEPS, jnp.minimum(2 * state.scale, _LARGEST_SCALE), state.scale)
    scale = jnp.where(finite, grown, jnp.maximum(state.scale / 2, 1.0))
    return Scaled(scale, steps % _GROWTH_STEPS, state.inner)
