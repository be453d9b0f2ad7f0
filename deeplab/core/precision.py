"""Mixed-precision policy: parameter, compute and output dtypes.

Micikevicius et al. 2018, "Mixed precision training", https://arxiv.org/abs/1710.03740.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError, nearest

P = ParamSpec("P")
R = TypeVar("R")

_GROWTH_STEPS = 2000  # finite steps until the scale is doubled, as in NVIDIA's Apex and PyTorch
_LARGEST_SCALE = 2.0**24


@dataclasses.dataclass(frozen=True)
class Precision:
    """Dtypes of a step.

    Parameters and inputs of the model are cast to `computation`, so the model computes in it. Outputs of the model are
    cast to `reductions`, and so are losses, metrics and sums of gradients. The layers of `deeplab.nn` compute norms,
    softmaxes and recurrent states in float32 in any case; running statistics are float32.

    Args:
      parameters: Dtype of the stored parameters and of the optimizer state.
      computation: Dtype of products and activations.
      reductions: Dtype of sums over examples.
      loss_scale: Initial loss scale, for the narrow range of float16; None for no scaling. A step whose gradient
        overflows is skipped and halves the scale. After 2,000 finite steps the scale is doubled.

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
    # Halves the memory of parameters and optimizer state. Updates below 1/256 of a parameter are lost.
    "bf16_params": Precision(parameters="bfloat16", computation="bfloat16"),
    "f16": Precision(computation="float16", loss_scale=2.0**15),
}
"""Precisions by the names that `--precision` takes."""


def named(name: str) -> Precision:
    """Looks up a precision by its name in `PRECISIONS`.

    Raises:
      UserError: There is no precision of this name.
    """
    if name not in PRECISIONS:
        raise UserError(f"--precision {name}: {nearest(name, PRECISIONS)}")
    return PRECISIONS[name]


def cast(tree: Any, dtype: str) -> Any:
    """Casts the floating-point arrays of a tree to `dtype`.

    Example:
      >>> {name: str(x.dtype) for name, x in cast({"a": jnp.ones(1), "b": jnp.arange(2)}, "bfloat16").items()}
      {'a': 'bfloat16', 'b': 'int32'}
    """

    def one(x: Any) -> Any:
        return x.astype(dtype) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x

    return jax.tree.map(one, tree)


def widened(x: jax.Array) -> jax.Array:
    """An array in float32 if its own precision is lower, for what 16 bits are too few for; in its own otherwise.

    Example:
      >>> widened(jax.numpy.ones(2, "bfloat16")).dtype
      dtype('float32')
    """
    return x.astype(jax.numpy.promote_types(x.dtype, "float32"))


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a function whose products and convolutions of float32 are of float32, on every device.

    By default XLA rounds their inputs to TF32 on NVIDIA's GPUs, to 5e-4 of each number, and to bfloat16 on TPUs, to
    4e-3. What is proved, solved or adds up needs more. It costs time there, and changes nothing on a CPU.

    The precision is recorded where a program is traced: below `jax.jit` this decorator is within the trace; a function
    that is jitted already, and called within, is traced anew. A product that names its own precision keeps it, and one
    of 16 bits remains one.

    Args:
      function: Function that traces the products, or computes them at once.

    Example:
      >>> product = exact(lambda a, b: a @ b)
      >>> program = jax.make_jaxpr(product)(jnp.ones((1, 2)), jnp.ones((2, 1)))
      >>> program.eqns[0].params["precision"] == (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
      True
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return call


class Scaled(NamedTuple):
    """Optimizer state with a loss scale. It is `State.opt_state`, so it is saved and resumed.

    Attributes:
      scale: Loss scale, float32. It is a power of two, so that scaling is exact.
      finite_steps: Number of finite steps since the scale changed.
      inner: State of the optimizer.
    """

    scale: jax.Array
    finite_steps: jax.Array
    inner: Any


def scaled(opt_state: Any, precision: Precision) -> Any:
    """Adds the initial loss scale to an optimizer's state, if the policy has one."""
    if precision.loss_scale is None:
        return opt_state
    return Scaled(jnp.float32(precision.loss_scale), jnp.zeros((), jnp.int32), opt_state)


def rescaled(state: Scaled, finite: jax.Array) -> Scaled:
    """Loss scale after a step: halved (down to 1) if the gradient was not finite, doubled after 2,000 finite steps.

    Example:
      >>> state = scaled((), PRECISIONS["f16"])
      >>> float(rescaled(state, jnp.array(False)).scale), float(rescaled(state, jnp.array(True)).scale)
      (16384.0, 32768.0)
    """
    steps = jnp.where(finite, state.finite_steps + 1, 0)
    grown = jnp.where(steps >= _GROWTH_STEPS, jnp.minimum(2 * state.scale, _LARGEST_SCALE), state.scale)
    scale = jnp.where(finite, grown, jnp.maximum(state.scale / 2, 1.0))
    return Scaled(scale, steps % _GROWTH_STEPS, state.inner)
