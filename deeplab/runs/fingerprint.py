"""Fingerprints of arrays: numbers that depend on every bit of an array, but not on its sharding.

They detect a flipped byte in a checkpoint (Orbax loads one without an error) and replicas that differ, and compare
runs. A fingerprint is an error-detecting code, not a signature: it does not resist an adversary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.scale import to_device_memory

_GOLDEN = 2654435761  # 2**32 / golden ratio: spreads positions (Knuth 1998, The Art of Computer Programming 3, 6.4)
_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}  # 8 bytes become two words


@jax.jit  # for leaves of the same shape, traced and lowered once
def fingerprint(x: jax.Array) -> jax.Array:
    """Fingerprint of the bits of `x` and their positions, uint32; traceable.

      sum_i mix(bits_i ^ golden i)  mod 2^32

    A sum of integers is exact in any order, so every sharding gives the same number. `mix` is a bijection: a change
    inside one word (of 32 bits) is always found, any other is missed with a probability of 2^-32.

    Args:
      x: Array of any shape and dtype, or typed keys.

    Example:
      >>> a, b = jnp.array([1.0, 2.0]), jnp.array([2.0, 1.0])
      >>> bool(fingerprint(a) == fingerprint(b))
      False

    Source: the finalizer of xxHash32, Collet 2012, https://github.com/Cyan4973/xxHash
    """
    words = _words(x)
    index, stride = jnp.zeros(words.shape, jnp.uint32), 1
    for axis in reversed(range(words.ndim)):
        index += jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride % 2**32)
        stride *= words.shape[axis]
    mixed = (words ^ (index * jnp.uint32(_GOLDEN))) * jnp.uint32(2246822519)
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(3266489917)
    mixed ^= mixed >> 13
    return jnp.sum(mixed, dtype=jnp.uint32)


def fingerprint_leaves(tree: Any) -> jax.Array:
    """Fingerprints of the leaves of a tree, in order: uint32 [leaves]; traceable."""
    leaves = jax.tree.leaves(to_device_memory(tree))
    return jnp.stack([fingerprint(x) for x in leaves]) if leaves else jnp.zeros(0, jnp.uint32)


def fingerprints(tree: Any) -> dict[str, int]:
    """Fingerprints of the leaves of a tree by path, in one compiled program.

    Example:
      >>> fingerprints({"w": jnp.zeros(2), "b": {"c": jnp.int32(0)}})
      {'b/c': 0, 'w': 2883079599}
    """
    with jax.transfer_guard("allow"):
        numbers = jax.device_get(_fingerprint_leaves(tree))
    return dict(zip(leaves_by_path(tree), numbers.tolist(), strict=True))


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Leaves by names such as `params/dense_0/kernel`.

    Example:
      >>> leaves_by_path({"a": [1, 2]})
      {'a/0': 1, 'a/1': 2}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    if len(named) != len(leaves):
        raise ValueError(
            "two leaves have one path: a key of the tree holds a '/', or is there as a number and as a string"
        )
    return named


_fingerprint_leaves = jax.jit(fingerprint_leaves)


def leaf_differences(wanted: Mapping[str, Any], stored: Mapping[str, Any], cast: bool) -> list[str]:
    """One line for each leaf that differs, such as `w: checkpoint (2) float32, model (3) float32`.

    Args:
      wanted: Arrays or abstract arrays by path.
      stored: "shape" and "dtype" by path.
      cast: Whether floating-point leaves may be stored in another precision.
    """
    lines = []
    for name in sorted(wanted.keys() | stored.keys()):
        here = (tuple(wanted[name].shape), str(wanted[name].dtype)) if name in wanted else None
        there = (tuple(stored[name]["shape"]), stored[name]["dtype"]) if name in stored else None
        if here == there or (cast and here and there and here[0] == there[0] and _floating(here[1], there[1])):
            continue
        show = [f"({', '.join(map(str, x[0]))}) {x[1]}" if x else "no such leaf" for x in (there, here)]
        lines.append(f"{name}: checkpoint {show[0]}, model {show[1]}")
    return lines


def _floating(*dtypes: str) -> bool:
    return all(not dtype.startswith("key<") and jnp.issubdtype(jnp.dtype(dtype), jnp.floating) for dtype in dtypes)


def _words(x: jax.Array) -> jax.Array:
    """Bits of `x` as uint32; a 64-bit element gives two."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        x = jnp.stack([jnp.real(x), jnp.imag(x)])
    info = jnp.iinfo if jnp.issubdtype(x.dtype, jnp.integer) else jnp.finfo
    if x.dtype == jnp.bool_ or info(x.dtype).bits < 8:
        x = x.astype(jnp.float32)  # exact for all of them: int4, float4_e2m1fn, ...
    return jax.lax.bitcast_convert_type(x, _UNSIGNED[x.dtype.itemsize]).astype(jnp.uint32)
