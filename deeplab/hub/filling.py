"""The tensors of a folder, one at a time, into the arrays of a model where they belong."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.hub.files import read_tensor
from deeplab.hub.mapping import leaves
from deeplab.hub.plan import Step


def filled(shapes: Any, steps: Sequence[Step], others: Mapping[str, Any]) -> Any:
    """The variables: arrays that are made on their devices, into which each tensor is put, and the others.

    Arrays of the host's own device are filled as NumPy's, which JAX takes over as they are: to compile a program for
    each shape and to call it for each tensor takes longer than to read them.

    Args:
      shapes: Tree of shapes and dtypes, and of shardings where they are not the default device's.
      steps: Tensors, and the places in the tree that each is for.
      others: Values by path of the places that no tensor is for.

    Returns:
      The tree.
    """
    wanted = leaves(shapes)
    arrays: dict[str, Any] = {}
    on_host = jax.default_backend() == "cpu"
    for tensor, header in steps:
        theirs = read_tensor(header)
        for number, (path, index) in enumerate(tensor.parts):
            leaf, ours = wanted[path], tensor.axes.ours(theirs, number)
            if on_host and leaf.sharding is None:
                if path not in arrays:
                    arrays[path] = _memory(leaf.shape, np.dtype(leaf.dtype))
                arrays[path][index] = ours
            elif index:
                array = arrays[path] if path in arrays else _zeros(leaf.shape, leaf.dtype, leaf.sharding)
                arrays[path] = _put(array, ours.astype(leaf.dtype), index)
            else:
                arrays[path] = jax.device_put(ours.astype(leaf.dtype), leaf.sharding)
    arrays = {path: jax.device_put(x) if isinstance(x, np.ndarray) else x for path, x in arrays.items()}
    return jax.tree.unflatten(jax.tree.structure(shapes), [arrays[p] if p in arrays else others[p] for p in wanted])


def _memory(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to fill, which begins at a multiple of 64 bytes: others are copied when JAX takes them over."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def _zeros(shape: tuple[int, ...], dtype: Any, home: Any) -> jax.Array:
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=home)()


def _put(array: jax.Array, part: np.ndarray, index: tuple[int, ...]) -> jax.Array:
    """`array[index] = part`, in its own memory."""
    return _writer(array.sharding, part.ndim)(array, part, tuple(np.int32(i) for i in index))


@functools.cache
def _writer(home: Any, rank: int) -> Any:
    def write(array: jax.Array, part: jax.Array, index: tuple[jax.Array, ...]) -> jax.Array:
        start = (*index, *[jnp.int32(0)] * rank)
        return jax.lax.dynamic_update_slice(array, part.reshape(*[1] * len(index), *part.shape), start)

    return jax.jit(write, donate_argnums=0, out_shardings=home)
