"""Low-rank adapters of kernels, as pure functions of trees of parameters."""

from __future__ import annotations

import dataclasses
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.sharding import PartitionSpec

from deeplab.core import ranges
from deeplab.optim.paths import check_found, stacked_axes

ADAPTERS = "adapters"
"""Key of the adapters beside the parameters of the model."""


@dataclasses.dataclass(frozen=True)
@ranges.checked(rank=ranges.COUNT, alpha=ranges.POSITIVE)
class Lora:
    """Adapters of kernels W [in, out]: W + (alpha / rank) A B, where A is [in, rank] and B is [rank, out].

    B starts as 0, so that the model starts as it is. With `dora`, the columns of the sum then keep the norms of those
    of W, times a learned `scale` [out] that starts as 1; as in the paper, the gradient takes the norm of the sum for a
    constant. A kernel whose layers (or experts) are stacked, [L, in, out], has stacked adapters; one of a convolution
    is a matrix of (height, width, channels) to channels.

    Args:
      rank: Rank of the product.
      alpha: The product is multiplied by alpha / rank; may be a tracer.
      where: Regular expression of the paths of adapted kernels.
      dora: Whether magnitude and direction are apart.

    Example:
      >>> lora, params = Lora(rank=2, where="kernel"), {"dense": {"kernel": jnp.ones((3, 4))}}
      >>> adapters = lora.init(jax.random.key(0), params)
      >>> jax.tree.map(jnp.shape, adapters)
      {'dense': {'kernel': {'a': (3, 2), 'b': (2, 4)}}}
      >>> bool((lora.merged({**params, "adapters": adapters})["dense"]["kernel"] == 1).all())
      True

    Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685; DoRA: Liu et al. 2024, https://arxiv.org/abs/2402.09353.
    """

    rank: int = 8
    alpha: float | jax.Array = 16.0
    where: str = r"(query|value)/kernel$"
    dora: bool = False

    def init(self, key: jax.Array, params: Mapping[str, Any]) -> dict[str, Any]:
        """The first adapters: A is uniform in +-1 / sqrt(in), as in PEFT.

        Args:
          key: Key; an adapter's values depend on its path alone.
          params: Parameters of the model.

        Raises:
          UserError: No kernel is found.
        """
        leaves = traverse_util.flatten_dict(dict(params), sep="/")
        check_found([self.where], [path for path, leaf in leaves.items() if leaf.ndim >= 2 + stacked_axes(path)])
        found: dict[str, jax.Array] = {}
        for path, kernel in self._adapted(leaves):
            *batch, rows, columns = matrix(path, kernel).shape
            bound, own = 1 / math.sqrt(rows), jax.random.fold_in(key, zlib.crc32(path.encode()))
            a = jax.random.uniform(own, (*batch, rows, self.rank), minval=-bound, maxval=bound)
            found[f"{path}/a"] = a.astype(kernel.dtype)
            found[f"{path}/b"] = jnp.zeros((*batch, self.rank, columns), kernel.dtype)
            if self.dora:
                found[f"{path}/scale"] = jnp.ones((*batch, columns), kernel.dtype)
        return traverse_util.unflatten_dict(found, sep="/")

    def merged(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of the plain model that computes the same: kernels with their adapters, summed in float32.

        The parameters given still hold the base, so that there is nothing to undo: `base` gives it bit by bit.

        Args:
          params: Parameters of the model, and its `adapters`.
        """
        leaves = traverse_util.flatten_dict(base(params), sep="/")
        adapters = traverse_util.flatten_dict(params[ADAPTERS], sep="/")
        for path, kernel in self._adapted(leaves):
            own = {name: adapters[f"{path}/{name}"] for name in ("a", "b", *(["scale"] if self.dora else []))}
            leaves[path] = self._sum(matrix(path, kernel), **own).reshape(kernel.shape).astype(kernel.dtype)
        return traverse_util.unflatten_dict(leaves, sep="/")

    def rules(self, rules: Sequence[tuple[str, PartitionSpec]]) -> tuple[tuple[str, PartitionSpec], ...]:
        """Sharding of the adapters of kernels with these rules: A as the kernel's rows, B as its columns.

        Example:
          >>> Lora().rules([("query/kernel", PartitionSpec("fsdp", "model"))])[0]
          ('query/kernel/a$', P('fsdp', None))
        """
        made = []
        for pattern, spec in rules:
            if len(spec) >= 2:
                *batch, rows, columns = spec
                made.append((f"{pattern}/a$", PartitionSpec(*batch, rows, None)))
                made.append((f"{pattern}/b$", PartitionSpec(*batch, None, columns)))
                made.append((f"{pattern}/scale$", PartitionSpec(*batch, columns)))
        return tuple(made)

    def _adapted(self, leaves: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for path, leaf in list(leaves.items()):
            if re.search(self.where, path) and leaf.ndim >= 2 + stacked_axes(path):
                yield path, leaf

    def _sum(self, w: jax.Array, a: jax.Array, b: jax.Array, scale: jax.Array | None = None) -> jax.Array:
        w, a, b = (x.astype(jnp.float32) for x in (w, a, b))
        total = w + self.alpha / self.rank * jnp.matmul(a, b, precision="highest")
        if scale is None:
            return total
        was, now = norms(w), jax.lax.stop_gradient(norms(total))
        return total * (scale.astype(jnp.float32)[..., None, :] * was / now)


def base(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without adapters: those that the model had before."""
    return {name: tree for name, tree in params.items() if name != ADAPTERS}


def matrix(path: str, kernel: jax.Array) -> jax.Array:
    """A kernel as matrices [..., in, out], one for each of those that are stacked."""
    batch = kernel.shape[: stacked_axes(path)]
    return kernel.reshape(*batch, -1, kernel.shape[-1])


def norms(w: jax.Array) -> jax.Array:
    """Norms of the columns of matrices, [..., 1, out]."""
    return jnp.sqrt(jnp.sum(jnp.square(w), axis=-2, keepdims=True))
