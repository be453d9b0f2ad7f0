"""Decorrelation: views of one example are alike, and the dimensions of what they are projected to differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax

from deeplab.core import ranges
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch
from deeplab.tasks.unlabeled import moments
from deeplab.tasks.unlabeled.pairs import Side, TwoViews, of_batch


@dataclasses.dataclass(frozen=True)
@ranges.checked(strength=ranges.NATURAL)
class BarlowTwins(TwoViews):
    """The cross-correlation of two views becomes the identity; see `moments.barlow_twins`.

    Args:
      strength: Weight of what is off the diagonal; may be a tracer.

    Example:
      >>> import deeplab as dl
      >>> BarlowTwins(dl.data.augment.flip(), dl.models.MLP(64, features=(256,))).strength
      0.005

    Source: Zbontar et al. 2021, https://arxiv.org/abs/2103.03230.
    """

    centered: ClassVar[bool] = True

    strength: float = 5e-3

    def compare(
        self, apply: Apply, batch: Batch, key: jax.Array, views: Sequence[jax.Array], sides: Sequence[Side]
    ) -> tuple[Mean, dict[str, Any]]:
        value = moments.barlow_twins(sides[0].z, sides[1].z, batch["weight"], self.strength)
        return of_batch(value, batch["weight"]), {}


@dataclasses.dataclass(frozen=True)
@ranges.checked(invariance=ranges.NATURAL, variance=ranges.NATURAL, covariance=ranges.NATURAL)
class VICReg(TwoViews):
    """Views alike, the standard deviation of each dimension 1, and no two dimensions correlated; see `moments.vicreg`.

    Args:
      invariance: Weight of the distance of the views; may be a tracer.
      variance: Weight of what the standard deviations lack to 1; without it all embeddings become one.
      covariance: Weight of the covariances.

    Example:
      >>> import deeplab as dl
      >>> VICReg(dl.data.augment.flip(), dl.models.MLP(64)).invariance
      25.0

    Source: Bardes et al. 2021, https://arxiv.org/abs/2105.04906.
    """

    lengths: ClassVar[bool] = True
    centered: ClassVar[bool] = True

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    def compare(
        self, apply: Apply, batch: Batch, key: jax.Array, views: Sequence[jax.Array], sides: Sequence[Side]
    ) -> tuple[Mean, dict[str, Any]]:
        terms = self.invariance, self.variance, self.covariance
        value = moments.vicreg(sides[0].z, sides[1].z, batch["weight"], *terms)
        return of_batch(value, batch["weight"]), {}
