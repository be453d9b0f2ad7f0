"""Low-rank adapters of kernels, as pure functions of trees of parameters."""

from __future__ import annotations

import dataclasses
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.sharding import PartitionSpec

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.optim.paths import check_found, stacked_axes

ADAPTERS = "adapters"
"""Key of the adapters beside the parameters of the model."""

LOW_RANK = ("lora_a", "lora_b", "lora_factor")
"""Names of A (times alpha / rank), B and DoRA's factor of the columns, beside a kernel that is not summed with them."""


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
        leaves: dict[str, Any] = traverse_util.flatten_dict(dict(params), sep="/")
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

        Raises:
          UserError: The adapters are none, or those of another `Lora`.
        """
        return self.placed(params, frozenset())

    def placed(self, params: Mapping[str, Any], apart: Set[str]) -> dict[str, Any]:
        """The parameters with adapters merged into their kernels, or, as `LOW_RANK`, beside them.

        Args:
          params: Parameters of the model, and its `adapters`.
          apart: Paths of kernels that stay as they are, for `Adapted`.
        """
        leaves: dict[str, Any] = traverse_util.flatten_dict(base(params), sep="/")
        adapters: dict[str, Any] = traverse_util.flatten_dict(dict(params.get(ADAPTERS, {})), sep="/")
        self._check(leaves, adapters)
        for path, kernel in self._adapted(leaves):
            a, b = adapters[f"{path}/a"], adapters[f"{path}/b"]
            a, w = (self.alpha / self.rank * a.astype(jnp.float32)).astype(a.dtype), matrix(path, kernel)
            factor = self._factor(w, a, b, adapters[f"{path}/scale"]) if self.dora else None
            if path in apart:
                beside = zip(LOW_RANK, (a, b, factor), strict=True)
                leaves |= {path.removesuffix("kernel") + name: x for name, x in beside if x is not None}
                continue
            total = _sum(w, a, b) if factor is None else _sum(w, a, b) * factor[..., None, :]
            leaves[path] = total.reshape(kernel.shape).astype(kernel.dtype)
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

    def _check(self, leaves: Mapping[str, Any], adapters: Mapping[str, Any]) -> None:
        """Raises UserError unless the adapters are those that `init` makes."""
        names = ("a", "b", "scale") if self.dora else ("a", "b")
        expected = {f"{path}/{name}" for path, _ in self._adapted(leaves) for name in names}
        ranks = {leaf.shape[-1] for path, leaf in adapters.items() if path.endswith("/a")}
        if (wrong := sorted(expected ^ set(adapters))) or ranks != {self.rank}:
            found = f"ranks {sorted(ranks)}" if not wrong else ", ".join(f"{ADAPTERS}/{path}" for path in wrong[:4])
            how = "on one side alone" if wrong else "found"
            raise UserError(f"the adapters are not those of {self}: {found} {how}; give the one they were made with")

    def _adapted(self, leaves: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for path, leaf in list(leaves.items()):
            if re.search(self.where, path) and leaf.ndim >= 2 + stacked_axes(path):
                yield path, leaf

    def _factor(self, w: jax.Array, a: jax.Array, b: jax.Array, scale: jax.Array) -> jax.Array:
        """What DoRA multiplies the columns of the sum by, [..., out]."""
        now = jax.lax.stop_gradient(norms(_sum(w, a, b)))
        now = jnp.where(now > 0, now, 1.0)  # a column of zeros stays one
        return scale.astype(jnp.float32) * norms(w.astype(jnp.float32)) / now


def _sum(w: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    w, a, b = (x.astype(jnp.float32) for x in (w, a, b))
    return w + jnp.matmul(a, b, precision="highest")


def base(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without adapters: those that the model had before."""
    return {name: tree for name, tree in params.items() if name != ADAPTERS}


def matrix(path: str, kernel: jax.Array) -> jax.Array:
    """A kernel as matrices [..., in, out], one for each of those that are stacked."""
    batch = kernel.shape[: stacked_axes(path)]
    return kernel.reshape(*batch, -1, kernel.shape[-1])


def norms(w: jax.Array) -> jax.Array:
    """Norms of the columns of matrices, [..., out]."""
    return jnp.sqrt(jnp.sum(jnp.square(w), axis=-2))
