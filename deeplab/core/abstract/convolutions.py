"""Convolutions in the one layout that XLA's CPU compiler is fast with inside of loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import CALLS, CONTROL_FLOW

_MORE = ("custom", "remat", "checkpoint")  # calls that mean more than what they call
_FEW = 3  # channels that are too few for the vectors of a CPU
_WIDEST = 11  # pixels of a kernel that is brought into blocks; larger ones are of the gradients of kernels
_LEAST = 4  # outputs along an axis, so that blocks are worth their seams


def canonical(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with every convolution of arrays [N, spatial, channels] by kernels [spatial, in, out].

    XLA's CPU compiler (of JAX 0.10) brings convolutions into this layout by itself, but in the entry of a program only:
    the body of a loop keeps the layouts of gradients, which take two to ten times as long. Elsewhere f is returned as
    it is. What has a derivative of its own, not yet differentiated, stays as it is, too.

    Convolutions of one to three channels, such as the first of a network, become ones of blocks of pixels: 256 images
    of 28 x 28 by 16 kernels of 3 x 3, with pooling, take 5.0 instead of 17.1 ms of a core. Their gradients are fast
    where this is done before they are taken: `canonical(jax.grad(canonical(f)))`.

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
    params = {**eqn.params, "dimension_numbers": layout}
    out = (
        _by_blocks(eqn, params, x, kernel) if _is_narrow(params, x, kernel) else eqn.primitive.bind(x, kernel, **params)
    )
    order = (of_out[0], *of_out[2:], of_out[1])
    return lax.transpose(out, [order.index(axis) for axis in range(count + 2)])


def _is_narrow(params: dict[str, Any], x: jax.Array, kernel: jax.Array) -> bool:
    """Whether blocks of pixels are faster: few channels, each output a sum over several pixels next to each other."""
    sizes, (count, *space, channels) = kernel.shape[:-2], x.shape
    if params["feature_group_count"] != 1 or params["batch_group_count"] != 1 or not 1 <= channels <= _FEW or not count:
        return False
    if {*params["lhs_dilation"], *params["rhs_dilation"]} != {1} or min(map(min, params["padding"])) < 0:
        return False
    strides = params["window_strides"]
    if any(size < stride for size, stride in zip(sizes, strides, strict=True)):
        return False
    outs = _outputs(space, sizes, strides, params["padding"])
    return 1 < max(sizes) <= _WIDEST and min(outs) >= _LEAST


def _outputs(space: Sequence[int], sizes: Sequence[int], strides: Sequence[int], padding: Any) -> list[int]:
    each = zip(space, sizes, strides, padding, strict=True)
    return [(size + sum(pad) - kernel) // stride + 1 for size, kernel, stride, pad in each]


def _by_blocks(eqn: core.JaxprEqn, params: dict[str, Any], x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of blocks of pixels, whose channels are the pixels of a block and their channels.

    An axis of stride s > 1 has blocks of s pixels and one output each; one of stride 1 has blocks of two pixels, and
    both outputs of a block are channels, too. Kernels are filled up with zeros to whole blocks.
    """
    strides, padding, (N, *space, _), count = params["window_strides"], params["padding"], x.shape, x.ndim - 2
    sizes, K = kernel.shape[:-2], kernel.shape[-1]
    outs = _outputs(space, sizes, strides, padding)
    many = [1 if stride > 1 else 2 for stride in strides]  # outputs of a block
    block = [stride * q for stride, q in zip(strides, many, strict=True)]
    wide = [-(-(k + b - s) // b) for k, b, s in zip(sizes, block, strides, strict=True)]  # of a kernel, in blocks
    blocks = [-(-out // q) for out, q in zip(outs, many, strict=True)]
    zero, whole = jnp.zeros((), x.dtype), [(n + w - 1) * b for n, w, b in zip(blocks, wide, block, strict=True)]
    after = [to - size - pad[0] for to, size, pad in zip(whole, space, padding, strict=True)]
    x = lax.pad(x, zero, [(0, 0, 0), *((pad[0], end, 0) for pad, end in zip(padding, after, strict=True)), (0, 0, 0)])
    shifted = [[(i * s, w * b - k - i * s, 0) for i, s, w, b, k in zip(at, strides, wide, block, sizes, strict=True)]
               for at in np.ndindex(*many)]  # fmt: skip
    kernels = [lax.pad(kernel, zero.astype(kernel.dtype), [*ends, (0, 0, 0), (0, 0, 0)]) for ends in shifted]
    kernel = _folded(jnp.stack(kernels, -2)[None], block)[0]  # [..., pixels, channels, outputs of a block, K]
    kernel = kernel.reshape(*kernel.shape[:count], -1, len(kernels) * K)
    x = _folded(x, block)
    valid = {**params, "window_strides": (1,) * count, "padding": ((0, 0),) * count}
    out = eqn.primitive.bind(x.reshape(N, *x.shape[1 : count + 1], -1), kernel, **valid)
    out = out.reshape(N, *blocks, *many, K)
    out = out.transpose(0, *(axis for i in range(count) for axis in (1 + i, 1 + count + i)), 2 * count + 1)
    out = out.reshape(N, *(n * q for n, q in zip(blocks, many, strict=True)), K)
    return lax.slice(out, (0,) * out.ndim, (N, *outs, K))


def _folded(x: jax.Array, block: Sequence[int]) -> jax.Array:
    """[N, blocks x pixels of each axis, ...] to [N, blocks, pixels of all axes, ...]."""
    count = len(block)
    parts = [part for size, b in zip(x.shape[1:], block, strict=False) for part in (size // b, b)]
    x = x.reshape(len(x), *parts, *x.shape[count + 1 :])
    blocks, pixels = range(1, 2 * count, 2), range(2, 2 * count + 1, 2)
    x = x.transpose(0, *blocks, *pixels, *range(2 * count + 1, x.ndim))
    return x.reshape(*x.shape[: count + 1], math.prod(block), *x.shape[2 * count + 1 :])


_LAYOUTS = Interpretation(_rule)
