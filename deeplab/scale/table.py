"""The sharding of each parameter on a mesh, as a table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import NamedSharding
from rich.table import Table

_BAR = 8  # Characters.


def sharding_table(state: Any, shardings: Any) -> tuple[Table, dict[str, int]]:
    """A table of the sharding of parameters, and the bytes on one device.

    Parameters whose paths differ in numbers only, such as those of equal blocks, share a row.

    Args:
      state: State of a run, of arrays or `jax.ShapeDtypeStruct`s.
      shardings: Shardings of the state, from `state_shardings`.

    Returns:
      The table, and the bytes on one device of `params`, `opt_state` and `variables`.
    """
    table = Table(title="sharding", title_justify="left", box=None, pad_edge=False)
    for name in ("parameter", "shape", "split over", "share of a device"):
        table.add_column(name)
    table.add_column("bytes per device", justify="right")
    rows: dict[tuple[Any, ...], list[int]] = {}
    for (path, leaf), where in zip(
        jax.tree_util.tree_leaves_with_path(state.params), jax.tree.leaves(shardings.params), strict=True
    ):
        name = re.sub(r"\d+", "#", jax.tree_util.keystr(path, simple=True, separator="/"))
        share = leaf.size // max(1, math.prod(where.shard_shape(leaf.shape)))
        rows.setdefault((name, leaf.shape, _split(where), share), []).append(_bytes(leaf, where))
    for (name, shape, split, share), held in rows.items():
        count = f"  ({len(held)} of them)" if len(held) > 1 else ""
        size = " x ".join(map(str, shape)) or "scalar"
        table.add_row(name + count, size, split, _bar(share), f"{sum(held):,}")
    parts = ("params", "opt_state", "variables")
    return table, {part: _total(getattr(state, part), getattr(shardings, part)) for part in parts}


def sentence(mesh: Any, held: Mapping[str, int], state: Any) -> str:
    """A sentence that compares the bytes on one device of a mesh with those on a single device.

    Args:
      mesh: Mesh.
      held: Bytes on one device, from `sharding_table`.
      state: State of a run.
    """
    alone = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((state.params, state.opt_state)))
    axes = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items() if size > 1) or "one device"
    parts = ", ".join(f"{name} {size:,}" for name, size in held.items())
    total = sum(held.values())
    return f"{axes}: each of {mesh.size} devices holds {total:,} bytes ({parts}); a single device, {alone:,}"


def _split(sharding: NamedSharding) -> str:
    """The axes of each dimension: "-" for one that is not split, "fsdp 8" for one in eight parts."""
    sizes = sharding.mesh.shape

    def text(part: Any) -> str:
        axes = () if part is None else (part,) if isinstance(part, str) else part
        return " ".join(f"{axis} {sizes[axis]}" for axis in axes if sizes[axis] > 1) or "-"

    return " x ".join(map(text, sharding.spec))


def _bar(share: int) -> str:
    filled = max(1, round(_BAR / share))
    return "\u2588" * filled + "\u2591" * (_BAR - filled) + (f" 1/{share}" if share > 1 else " all")


def _bytes(leaf: Any, sharding: NamedSharding) -> int:
    return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _total(tree: Any, shardings: Any) -> int:
    return sum(map(_bytes, jax.tree.leaves(tree), jax.tree.leaves(shardings)))
