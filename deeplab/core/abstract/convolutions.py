"""Convolutions in the one layout that XLA's CPU compiler is fast with inside of loops."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
from jax import lax
from jax.extend import core

from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import CALLS, CONTROL_FLOW

_MORE = ("custom", "remat", "checkpoint")  # calls that mean more than what they call


def canonical(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with every convolution of arrays [N, spatial, channels] by kernels [spatial, in, out].

    XLA's CPU compiler (of JAX 0.10) brings convolutions into this layout by itself, but in the entry of a program only:
    the body of a loop keeps the layouts of gradients, which take two to ten times as long. Elsewhere f is returned as
    it is. What has a derivative of its own, not yet differentiated, stays as it is, too.

    Args:
      f: Function of pytrees of arrays, such as a gradient.

    Example:
      >>> kernel = jax.numpy.ones((3, 1, 1))
      >>> conv = lambda x: lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
      >>> back = canonical(jax.grad(lambda x: conv(x).sum()))
      >>> back(jax.numpy.zeros((1, 4, 1)))[0, :, 0].tolist()
      [2.0, 3.0, 3.0, 2.0]
    """
    if jax.default_backend() != "cpu":
        return f

    def run(*args: Any) -> Any:
        program, shapes = jax.make_jaxpr(f, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shapes), interpret(program, jax.tree.leaves(args), _LAYOUTS))

    return run


def _rule(eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> Any:
    name = eqn.primitive.name
    if name in CALLS and not name.startswith(_MORE):
        return NotImplemented
    with jax.named_scope(scope) if scope else nullcontext():  # profiles and plans tell layers by it
        if name == "conv_general_dilated":
            return [_convolution(eqn, *inputs)]
        if name in CONTROL_FLOW or name.startswith(("remat", "checkpoint")):
            eqn = eqn.replace(params={key: _inside(value) for key, value in eqn.params.items()})
        return bind(eqn, inputs)


def _inside(value: Any) -> Any:
    """A parameter of an equation, with the jaxprs in it rewritten."""
    if isinstance(value, core.ClosedJaxpr):
        return jax.make_jaxpr(lambda *args: interpret(value, args, _LAYOUTS))(*value.in_avals)
    if isinstance(value, core.Jaxpr):
        return _inside(core.ClosedJaxpr(value, ())).jaxpr
    return tuple(map(_inside, value)) if type(value) is tuple else value


def _convolution(eqn: core.JaxprEqn, x: jax.Array, kernel: jax.Array) -> jax.Array:
    of_x, of_kernel, of_out = eqn.params["dimension_numbers"]  # axes of the batch (or outputs), the channels, and space
    count = x.ndim - 2
    last, space = count + 1, range(1, count + 1)
    layout = lax.ConvDimensionNumbers((0, last, *space), (last, count, *range(count)), (0, last, *space))
    x = lax.transpose(x, (of_x[0], *of_x[2:], of_x[1]))
    kernel = lax.transpose(kernel, (*of_kernel[2:], of_kernel[1], of_kernel[0]))
    out = eqn.primitive.bind(x, kernel, **{**eqn.params, "dimension_numbers": layout})
    order = (of_out[0], *of_out[2:], of_out[1])
    return lax.transpose(out, [order.index(axis) for axis in range(count + 2)])


_LAYOUTS = Interpretation(_rule)
