"""Detection: boxes of objects and their classes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.decode import boxes as geometry
from deeplab.decode.boxes import Detections
from deeplab.metrics.base import Mean, Metrics
from deeplab.metrics.detection import AveragePrecision
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import named_outputs, one_array
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task

_COLUMNS = 8  # of the outputs, before the logits of the classes


class Places(NamedTuple):
    """Outputs of a detector at L places, in their parts.

    Attributes:
      centers: x and y of each place, [..., L, 2] pixels.
      stride: Distance between the places of its level, [..., L] pixels.
      boxes: Box of each place, [..., L, 4].
      quality: Logit of the box's IoU, [..., L].
      logits: Logits of the classes, [..., L, K].
    """

    centers: jax.Array
    stride: jax.Array
    boxes: jax.Array
    quality: jax.Array
    logits: jax.Array


@dataclasses.dataclass(frozen=True)
@ranges.checked(
    radius=ranges.POSITIVE,
    focus=ranges.NATURAL,
    balance=ranges.FRACTION,
    overlap=ranges.FRACTION,
    least=ranges.FRACTION,
    candidates=ranges.COUNT,
    limit=ranges.COUNT,
)
class Detection(Task):
    """Boxes of objects and their classes, from a detector without anchors such as `FCOS`.

    `batch["boxes"]` is [B, M, 4], (x_min, y_min, x_max, y_max) in pixels of the image that the model reads, and
    `batch["classes"]` [B, M] integers, -1 where there is no object. An object neither teaches nor counts where
    `batch["ignored"]` [B, M] is given and true; nor do the places in its box that have no other object, for it is no
    background. The model gives [B, L, 8 + K], see `FCOS`. With the places P that have an object, and of one the logits
    z, the box b, the logit q, the object's box g and the place's centerness c, an example's loss is

        sum_l focal(z_l) / |P| + sum_P c (1 - giou(b, g)) / sum_P c + mean_P bce(q, iou(b, g)).

    A place has an object if it lies in the box and within `radius` strides of its center along each axis, and if the
    box's farthest side is 4 to 8 strides away; nearer ones are the finest level's, farther ones the coarsest's. Of
    several objects it has the smallest. A detection's score is the root of the product of the probability of its class
    and of its quality; the surest of overlapping boxes of a class are kept.

    Args:
      class_names: Names of the K classes.
      radius: Largest distance of a place from the center of its object, in strides.
      focus: Exponent gamma of the focal loss (Lin et al. 2017, https://arxiv.org/abs/1708.02002); may be a tracer.
      balance: Weight alpha of the focal loss of what is there, and 1 - alpha of what is not; may be a tracer.
      overlap: IoU above which the less sure of two boxes of a class is dropped; may be a tracer.
      least: Least score of a detection; may be a tracer.
      candidates: Number of boxes of an image that are compared with each other.
      limit: Largest number D of detections of an image.

    Example:
      >>> Detection(class_names=("cat", "dog"), limit=20).headline
      ('ap50', 'ap')

    Source: Tian et al. 2019, https://arxiv.org/abs/1904.01355; the quality is the IoU in place of the centerness as in
      Wu et al. 2019, https://arxiv.org/abs/1912.05992.
    """

    headline: ClassVar[tuple[str, ...]] = ("ap50", "ap")
    class_names: Sequence[str]
    radius: float = 1.5
    focus: float | jax.Array = 2.0
    balance: float | jax.Array = 0.25
    overlap: float | jax.Array = 0.6
    least: float | jax.Array = 0.02
    candidates: int = 300
    limit: int = 100

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        outputs, variables = apply(*self.inputs(batch), train=True, key=key)
        parts = self._losses(outputs, batch)
        metrics = {name: Mean.of(each, batch["weight"]) for name, each in parts.items()}
        return Loss(Mean.of(functools.reduce(jnp.add, parts.values()), batch["weight"]), metrics, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        """`loss`, and the average precisions `ap50` and `ap75` (IoU of 0.5 and 0.75) and `ap` (0.5 to 0.95)."""
        outputs, _ = apply(*self.inputs(batch))
        found, K, weight = self.detections(outputs), len(self.class_names), batch["weight"]
        ignored = jnp.broadcast_to(batch.get("ignored", False), batch["classes"].shape)
        there = AveragePrecision.of(*found, batch["boxes"], batch["classes"], ignored, weight, K)
        return {
            "loss": Mean.of(self._loss(outputs, batch), weight),
            "ap50": dataclasses.replace(there, thresholds=(0.5,)),
            "ap75": dataclasses.replace(there, thresholds=(0.75,)),
            "ap": there,
        }

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`boxes` [B, D, 4], `scores` [B, D] and `classes` [B, D], -1 where there is none; and `loss` [B]."""
        outputs, _ = apply(*self.inputs(batch))
        return {**self.detections(outputs)._asdict(), "loss": self._loss(outputs, batch)}

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        outputs = apply(*self.inputs(batch))[0].shape[-1] - _COLUMNS
        return {"classes": Labels(named_outputs(self.class_names, outputs), ignored=-1)}

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """The logits of the classes at the places of each example's objects, summed; or of the class `target`."""
        places = self._parts(outputs)
        if target is not None:
            return jnp.sum(places.logits[..., target], axis=-1)
        owner = self._owners(places, batch)
        classes = jnp.take_along_axis(batch["classes"], jnp.maximum(owner, 0), axis=1)
        chosen = jnp.take_along_axis(places.logits, jnp.maximum(classes, 0)[..., None], axis=-1)[..., 0]
        return jnp.sum(jnp.where(owner >= 0, chosen, 0.0), axis=-1)

    def detections(self, outputs: Float[Array, "B L 8+K"]) -> Detections:
        """The objects of each image that the outputs of the model tell, [B, D, ...]."""
        places = self._parts(outputs)
        sure = jnp.sqrt(jax.nn.sigmoid(places.logits) * jax.nn.sigmoid(places.quality)[..., None])
        scores = jnp.where(sure < self.least, 0.0, sure)
        one = functools.partial(geometry.detect, overlap=self.overlap, candidates=self.candidates, limit=self.limit)
        return jax.vmap(one)(places.boxes, scores)

    def _parts(self, outputs: jax.Array) -> Places:
        outputs = one_array(outputs, "B", "L", _COLUMNS + len(self.class_names)).astype(jnp.float32)
        centers, distances = outputs[..., :2], outputs[..., 3:7]
        boxes = jnp.concatenate([centers - distances[..., :2], centers + distances[..., 2:]], axis=-1)
        return Places(centers, outputs[..., 2], boxes, outputs[..., 7], outputs[..., 8:])

    def _owners(self, places: Places, batch: Batch) -> Int[Array, "B L"]:
        one = functools.partial(assign, radius=self.radius)
        classes = jnp.where(batch["ignored"], -1, batch["classes"]) if "ignored" in batch else batch["classes"]
        return jax.vmap(one)(places.centers, places.stride, batch["boxes"], classes)

    def _loss(self, outputs: jax.Array, batch: Batch) -> Float[Array, " B"]:
        return functools.reduce(jnp.add, self._losses(outputs, batch).values())

    def _losses(self, outputs: jax.Array, batch: Batch) -> dict[str, Float[Array, " B"]]:
        places = self._parts(outputs)
        owner = jax.lax.stop_gradient(self._owners(places, batch))
        has, index = owner >= 0, jnp.maximum(owner, 0)
        box = jnp.take_along_axis(batch["boxes"], index[..., None], axis=1)
        classes = jnp.where(has, jnp.take_along_axis(batch["classes"], index, axis=1), -1)
        count = jnp.maximum(jnp.sum(has, axis=1), 1)
        focal = _focal(places.logits, jax.nn.one_hot(classes, places.logits.shape[-1]), self.focus, self.balance)
        if "ignored" in batch:
            focal = jnp.where((_within_ignored(places.centers, batch) & ~has)[..., None], 0.0, focal)
        # Places without an object get a box that has a derivative, which the weight 0 then removes.
        box = jnp.where(has[..., None], box, jax.lax.stop_gradient(places.boxes))
        central = jnp.where(has, centerness(places.centers, box), 0.0)
        target = jax.lax.stop_gradient(geometry.iou(places.boxes, box))
        quality = optax.sigmoid_binary_cross_entropy(places.quality, target)
        far = central * (1 - geometry.giou(places.boxes, box))
        return {
            "class_loss": jnp.sum(focal, axis=(1, 2)) / count,
            "box_loss": jnp.sum(far, axis=1) / jnp.maximum(jnp.sum(central, axis=1), 1e-6),
            "quality_loss": jnp.sum(jnp.where(has, quality, 0.0), axis=1) / count,
        }


def assign(
    centers: Float[Array, "L 2"],
    stride: Float[Array, " L"],
    boxes: Float[Array, "M 4"],
    classes: Int[Array, " M"],
    radius: float,
) -> Int[Array, " L"]:
    """Which object each place has, -1 if none; see `Detection`.

    Args:
      centers: x and y of the places.
      stride: Stride of each place.
      boxes: Boxes of the objects.
      classes: Class of each object, -1 where there is none.
      radius: Largest distance of a place from the center of its object, in strides.

    Example:
      >>> centers, stride = jnp.array([[4.0, 4.0], [12.0, 4.0], [8.0, 8.0]]), jnp.array([8.0, 8.0, 16.0])
      >>> assign(centers, stride, jnp.array([[6.0, 0.0, 18.0, 8.0]]), jnp.array([2]), 1.5).tolist()
      [-1, 0, -1]
    """
    sides = _sides(centers[:, None], boxes[None])  # [L, M, 4]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = jnp.max(jnp.abs(centers[:, None] - middle[None]), axis=-1) <= radius * stride[:, None]
    low = jnp.where(stride == jnp.min(stride), 0.0, 4 * stride)[:, None]
    high = jnp.where(stride == jnp.max(stride), jnp.inf, 8 * stride)[:, None]
    far = jnp.max(sides, axis=-1)
    has = (jnp.min(sides, axis=-1) > 0) & near & (far > low) & (far <= high) & (classes >= 0)[None]
    sizes = jnp.where(has, geometry.area(boxes)[None], jnp.inf)
    return jnp.where(has.any(axis=1), jnp.argmin(sizes, axis=1), -1)


def centerness(centers: Float[Array, "*L 2"], boxes: Float[Array, "*L 4"]) -> Float[Array, "*L"]:
    """sqrt(min(l, r) / max(l, r) min(t, b) / max(t, b)) of the distances to a box's sides; 0 outside of it.

    Example:
      >>> float(centerness(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0, 5.0, 4.0])))
      0.5
    """
    sides = jnp.maximum(_sides(centers, boxes), 0)
    low, high = jnp.minimum(sides[..., :2], sides[..., 2:]), jnp.maximum(sides[..., :2], sides[..., 2:])
    return jnp.sqrt(jnp.prod(low / jnp.maximum(high, 1e-6), axis=-1))


def _sides(centers: jax.Array, boxes: jax.Array) -> jax.Array:
    """Distances to the left, top, right and bottom side."""
    return jnp.concatenate([centers - boxes[..., :2], boxes[..., 2:] - centers], axis=-1)


def _within_ignored(centers: Float[Array, "B L 2"], batch: Batch) -> Bool[Array, "B L"]:
    """Whether a place lies in the box of an object that is ignored."""
    inside = jnp.min(_sides(centers[:, :, None], batch["boxes"][:, None]), axis=-1) > 0  # [B, L, M]
    return jnp.any(inside & (batch["ignored"] != 0)[:, None], axis=-1)


def _focal(logits: jax.Array, target: jax.Array, focus: float | jax.Array, balance: float | jax.Array) -> jax.Array:
    """-a (1 - p)^gamma log p, with the probability p of what is the case."""
    log_p = jax.nn.log_sigmoid(jnp.where(target > 0, logits, -logits))
    weight = jnp.where(target > 0, balance, 1 - balance)
    # (1 - p)^gamma by its logarithm, which has a derivative where 1 - p is 0.
    rest = jax.nn.log_sigmoid(jnp.where(target > 0, -logits, logits))
    return -weight * jnp.exp(focus * rest) * log_p
