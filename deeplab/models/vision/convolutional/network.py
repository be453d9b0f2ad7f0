"""One convolutional network, of which the families are tables: stages of blocks, and a head."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.nn.pooling import global_mean

RULES = (
    (r"conv/kernel", P(None, None, None, "model")),  # [h, w, in, out]
    (r"classes/kernel", P("model", None)),
)

Stages = tuple[tuple[nn.Module, ...], ...]
"""Blocks `(x, train) -> x`, those of a stage together."""


class Trunk(nn.Module):
    """Stages, one after another, and the features of some of them.

    Args:
      stages: Blocks; the stem is the first stage.
      taps: Numbers of the stages whose results are given: the last one before each stride.
    """

    stages: Stages
    taps: tuple[int, ...]

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> tuple[Float[Array, "B H2 W2 D"], ...]:
        found = []
        for number, stage in enumerate(self.stages):
            for block in stage:
                x = block(x, train)
            if number in self.taps:
                found.append(x)
        return tuple(found)


class Frozen(nn.Module):
    """A trunk as it is: no gradient reaches it, and it keeps its statistics. Its parameters keep their paths.

    Args:
      trunk: Module `(x, train)` to features.
    """

    trunk: nn.Module

    def setup(self) -> None:
        nn.share_scope(self, self.trunk)

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> tuple[Float[Array, "B H2 W2 D"], ...]:
        del train
        return jax.lax.stop_gradient(self.trunk(x, False))


@ranges.checked(num_classes=ranges.COUNT, dropout=ranges.RATE)
class MapHead(nn.Module):
    """Logits of classes, or one vector for each image, from the last features: before, mean over space, after.

    Args:
      num_classes: K; the vector is given when None.
      before: Block applied to the features, if any.
      after: Module applied to their mean, if any.
      dropout: Probability of dropping a component of the vector in training; may be a tracer.
    """

    num_classes: int | None
    before: nn.Module | None = None
    after: nn.Module | None = None
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Float[Array, "B K"]:
        x = global_mean(x if self.before is None else self.before(x, train))
        x = x if self.after is None else self.after(x)
        if self.num_classes is None:
            return x
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.num_classes, name="classes")(x)


class Normed(nn.Module):
    """A norm as a block: `(x, train) -> norm(x)`."""

    norm: nn.Module

    def __call__(self, x: Float[Array, "*B C"], train: bool = False) -> Float[Array, "*B C"]:
        del train
        return self.norm(x)


class ConvNet(nn.Module):
    """Images [B, H, W, C] to what a head makes of the trunk's last features.

    Its `features` are for detection and segmentation: `model.apply(variables, images, method="features")` gives a tuple
    of maps, of strides 4, 8, 16 and 32 in networks for ImageNet.

    Args:
      trunk: Module from images to a tuple of features.
      head: Module from the last features to the outputs, such as `MapHead`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from deeplab.models.vision.convolutional import efficientnet
      >>> model = efficientnet.EfficientNet(num_classes=10, **efficientnet.VARIANTS["test"])
      >>> variables = model.init(jax.random.key(0), jnp.zeros((2, 32, 32, 3)))
      >>> [x.shape[1] for x in model.apply(variables, jnp.zeros((2, 32, 32, 3)), method="features")]
      [8, 4, 2, 1]
    """

    rules = RULES

    trunk: nn.Module
    head: nn.Module

    def __call__(self, x: Float[Array, "B H W C"], train: bool = False) -> Any:
        return self.head(self.trunk(x, train)[-1], train)

    def features(self, x: Float[Array, "B H W C"], train: bool = False) -> tuple[Float[Array, "B H2 W2 D"], ...]:
        """The features of the trunk, the finest first."""
        return self.trunk(x, train)
