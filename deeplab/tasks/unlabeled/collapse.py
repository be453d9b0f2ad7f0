"""Collapse: embeddings that are the same for all examples, or that lie on a line. Metrics that see it, and a warning.

All but the alignment are of a whole split, not of its batches: moments are summed over the batches and finalized once,
and pairs are those of a sample that does not depend on the batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.task import Batch
from deeplab.tasks.unlabeled.objectives import unit
from deeplab.tasks.unlabeled.uniformity import Uniformity

LEAST_STD, LEAST_RANK = 0.15, 1.5
"""Below one of these an evaluation tells of a collapse. On digits, networks at the start and healthy runs had a std of
0.41 or more, and collapsed ones of 0.09 or less (with batch norms in the heads; without, of 0.03)."""

LEAST_STD_BESIDE_AN_OFFSET = 0.005
"""The same where the loss leaves an offset free, of which the deviation is a share: sigmoids near 1 are healthy."""

_SEEN = 512  # dimensions: more would make an evaluation expensive, and tell no more of a collapse


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EffectiveRank:
    """exp of the entropy of the singular values of the embeddings [N, D], as shares of their sum: 1 to D.

    Attributes:
      count: Sum of the weights.
      mean: Mean of z that the moments are about, [D], or 0.
      moments: Sum over the examples of (z - mean) (z - mean)^T, [D, D].

    Source: Roy and Vetterli 2007; Garrido et al. 2023, https://arxiv.org/abs/2210.02885, equation 1.

    Example:
      >>> one = jnp.array([[1.0, 0.0, 0.0]])
      >>> round((EffectiveRank.of(one, jnp.ones(1)) + EffectiveRank.of(one[:, ::-1], jnp.ones(1))).compute(), 4)
      2.0
    """

    count: Any
    mean: Any
    moments: Any

    @classmethod
    def of(cls, z: Float[Array, "B D"], weight: Float[Array, " B"], centered: bool = False) -> EffectiveRank:
        """Of the embeddings of a batch, or of their deviations from the mean; examples of weight 0 are ignored."""
        count, mean, apart = _apart(z, weight, centered)
        return cls(count, mean, jnp.matmul((apart * weight[:, None]).T, apart, precision="highest"))

    def __add__(self, other: EffectiveRank) -> EffectiveRank:
        count, mean, delta, share = _merged(self, other)
        between = (share * delta)[..., None] * delta[..., None, :]
        return type(self)(count, mean, self.moments + other.moments + between)

    def compute(self) -> float:
        """The rank; NaN where there is no example, or all embeddings are 0."""
        if not np.isfinite(self.moments).all():
            return float("nan")
        squares = np.linalg.eigvalsh(np.asarray(self.moments, np.float64))
        # Hundreds of eigenvalues of 0 that float32 has rounded would together pass for another dimension.
        rounding = len(squares) * np.finfo(np.float32).eps * squares.max()
        values = np.sqrt(squares[squares > rounding])
        share = values / values.sum()
        return float(np.exp(-np.sum(share * np.log(share)))) if len(share) else float("nan")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spread:
    """Standard deviation of each dimension over the examples, of which it gives the mean, or the least.

    Attributes:
      count: Sum of the weights.
      mean: Mean of z, [D].
      squares: Sum of (z - mean)^2, [D]: of z^2 alone, a mean of 300 would leave float32 no digits.
      least: Whether the least is given.

    Example:
      >>> z = jnp.array([[0.0, 5.0], [2.0, 5.0]])  # standard deviations of 1 and 0
      >>> Spread.of(z, jnp.ones(2)).compute(), Spread.of(z, jnp.ones(2), least=True).compute()
      (0.5, 0.0)
    """

    count: Any
    mean: Any
    squares: Any
    least: bool = dataclasses.field(default=False, metadata={"static": True})

    @classmethod
    def of(cls, z: Float[Array, "B D"], weight: Float[Array, " B"], least: bool = False) -> Spread:
        """Of the embeddings of a batch; examples of weight 0 are ignored."""
        count, mean, apart = _apart(z, weight, True)
        return cls(count, mean, jnp.sum(weight[:, None] * jnp.square(apart), axis=0), least)

    def __add__(self, other: Spread) -> Spread:
        count, mean, delta, share = _merged(self, other)
        return Spread(count, mean, self.squares + other.squares + share * delta**2, self.least)

    def compute(self) -> float:
        """The mean or the least standard deviation; NaN without an example."""
        if float(self.count) == 0:
            return float("nan")
        by_dimension = np.sqrt(np.asarray(self.squares, np.float64) / self.count)
        return float(np.min(by_dimension) if self.least else np.mean(by_dimension))


def _apart(z: jax.Array, weight: jax.Array, centered: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The sum of the weights, the mean of a batch, or 0, and the distances from it, 0 where the weight is."""
    there, count = weight[:, None] != 0, jnp.sum(weight)
    kept = jnp.where(there, z, 0)
    mean = jnp.sum(weight[:, None] * kept, axis=0) / jnp.maximum(count, 1e-6) * centered
    return count, mean, jnp.where(there, kept - mean[None], 0)


def _merged(a: Any, b: Any) -> tuple[Any, Any, Any, Any]:
    """Count and mean of two parts, the distance of their means, and the weight of its square in sums about the mean.

    Source: Chan et al. 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """
    count = a.count + b.count
    share, delta = (b.count / (count + (count == 0)))[..., None], b.mean - a.mean  # of each member of a sweep
    return count, a.mean + share * delta, delta, a.count[..., None] * share


def measures(
    a: Float[Array, "B D"],
    b: Float[Array, "B D"] | None,
    batch: Batch,
    lengths: bool = False,
    centered: bool = False,
) -> Metrics:
    """Metrics of the embeddings of two views: of a split, `effective_rank`, `std`, `std_least` and `uniformity`.

    `alignment` is the mean of |a - b|^2, both of length 1. The others are of the first view. Standard deviations and
    rank are of embeddings of length sqrt(D), so that a `std` of 1 is the largest, and of the first 512 dimensions.
    Where the loss leaves an offset of all embeddings free, the rank is that of their distances from the mean.

    Args:
      a: Embeddings of the first view.
      b: Embeddings of the second view; there is no alignment when None.
      batch: Batch with `id` and `weight`.
      lengths: Whether the loss depends on the embeddings' lengths, which are then measured as they are.
      centered: Whether the loss leaves a common offset of the embeddings free.

    Example:
      >>> batch = {"id": jnp.arange(3), "weight": jnp.ones(3)}
      >>> sorted(jax.eval_shape(lambda z: measures(z, z, batch), jnp.ones((3, 2))))
      ['alignment', 'effective_rank', 'std', 'std_least', 'uniformity']
    """
    weight = batch["weight"]
    z = (a if lengths else unit(a) * np.sqrt(a.shape[-1]))[:, :_SEEN]
    found = {
        "effective_rank": EffectiveRank.of(a[:, :_SEEN] if centered else z, weight, centered),
        "std": Spread.of(z, weight),
        "std_least": Spread.of(z, weight, least=True),
        "uniformity": Uniformity.of(a[:, :_SEEN], batch),
    }
    if b is None:
        return found
    return found | {"alignment": Mean.of(jnp.sum(jnp.square(unit(a) - unit(b)), axis=-1), weight)}


def warnings(metrics: Mapping[str, float], least_std: float = LEAST_STD) -> tuple[str, ...]:
    """What the metrics of an evaluation tell of a collapse: one sentence, or none.

    Args:
      metrics: Metrics of an evaluation.
      least_std: Standard deviation below which it is one; `LEAST_STD_BESIDE_AN_OFFSET` where an offset is free.

    Example:
      >>> warnings({"std": 0.9, "effective_rank": 12.0})
      ()
      >>> warnings({"std": 0.01, "effective_rank": 1.04})[0].partition(":")[0]
      'the embeddings have collapsed'
    """
    std, rank = metrics["std"], metrics["effective_rank"]
    if std >= least_std and rank >= LEAST_RANK:
        return ()
    return (
        f"the embeddings have collapsed: their standard deviation is {std:.3g} (expected {least_std} or more) and "
        f"their effective rank {rank:.3g} (expected {LEAST_RANK} or more); all examples look alike to this network. "
        "Lower the learning rate, or strengthen what keeps examples apart: negatives, a teacher, a variance term",
    )
