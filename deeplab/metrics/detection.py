"""Average precision of detected objects, as COCO's evaluation defines it, on the host in double precision."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

COCO = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
"""The thresholds of IoU over which the average precision of COCO is a mean."""

_RECALLS = np.linspace(0, 1, 101)
_MOST = 100  # detections of a class in an image that count, the surest ones


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AveragePrecision:
    """Mean over classes and thresholds of the average precision, which needs all detections of a split at once.

    It merges by joining its images, so it is exact over batches and hosts. A detection is right if its IoU with an
    object of its class, which no surer one has taken, is at least the threshold; the average precision is the mean over
    101 recalls of the best precision at that recall or a higher one. Of each class in an image 100 detections count.
    What is an `ignored` object's is neither right nor wrong; whether it is, the part of the detection inside the object
    decides, as of COCO's crowds, also for what VOC calls difficult, where VOC's own evaluation asks for the IoU. A
    class without objects is left out.

    Attributes:
      detections: x_min, y_min, x_max, y_max, score and class, [N, D, 6]; class -1 where there is none.
      objects: x_min, y_min, x_max, y_max, class and whether it is ignored, [N, M, 6]; class -1 where there is none.
      num_classes: Number of classes.
      thresholds: Thresholds of the IoU.

    Example:
      >>> found = np.array([[[0, 0, 4, 4, 0.9, 0], [6, 6, 8, 8, 0.8, 0]]], np.float32)
      >>> there = np.array([[[0, 0, 4, 4, 0, 0], [2, 2, 5, 5, 0, 0]]], np.float32)
      >>> round(AveragePrecision(found, there, num_classes=1, thresholds=(0.5,)).compute(), 3)  # 51 of 101 recalls
      0.505

    Source: Lin et al. 2014, https://arxiv.org/abs/1405.0312, and its evaluation, https://cocodataset.org/#detection-eval.
    """

    detections: Any
    objects: Any
    num_classes: int = dataclasses.field(metadata={"static": True})
    thresholds: tuple[float, ...] = dataclasses.field(default=COCO, metadata={"static": True})

    @classmethod
    def of(
        cls, boxes: Any, scores: Any, classes: Any, object_boxes: Any, object_classes: Any, ignored: Any, weight: Any,
        num_classes: int,
    ) -> AveragePrecision:  # fmt: skip
        """The metric of a batch; examples of weight 0 have no part in it.

        Args:
          boxes: Boxes of the detections, [B, D, 4].
          scores: Scores of the detections, [B, D].
          classes: Classes of the detections, [B, D], -1 where there is none.
          object_boxes: Boxes of the objects, [B, M, 4].
          object_classes: Classes of the objects, [B, M], -1 where there is none.
          ignored: Whether each object is ignored, [B, M].
          weight: Weight of each example, [B], 0 or another number.
          num_classes: Number of classes.
        """
        counted = (weight != 0)[:, None, None]

        def rows(nothing: tuple[int, int], boxes: Any, *columns: Any) -> jax.Array:
            made = jnp.concatenate([boxes, *(x[..., None].astype(jnp.float32) for x in columns)], axis=-1)
            return jnp.where(counted, made, jnp.array([0, 0, 0, 0, *nothing], jnp.float32)[None, None])

        objects = rows((-1, 0), object_boxes, object_classes, ignored)
        return cls(rows((0, -1), boxes, scores, classes), objects, num_classes)

    def __add__(self, other: AveragePrecision) -> AveragePrecision:
        detections = _joined(self.detections, other.detections)
        return dataclasses.replace(self, detections=detections, objects=_joined(self.objects, other.objects))

    def compute(self) -> float:
        """The value; NaN without objects, or where a detection is NaN."""
        each = self.per_class()
        defined = np.isfinite(each)
        undefined = np.isnan(np.asarray(self.detections)).any()
        return float(each[defined].mean()) if defined.any() and not undefined else float("nan")

    def per_class(self) -> Float[ndarray, " K"]:
        """Average precision of each class, the mean over the thresholds; NaN for a class without objects."""
        detections, objects = (np.asarray(x, np.float64) for x in (self.detections, self.objects))
        chosen = [(detections[..., 5] == k, objects[..., 4] == k) for k in range(self.num_classes)]
        thresholds = np.asarray(self.thresholds)
        return np.array([_of_class(detections, objects, *each, thresholds) for each in chosen])


def _joined(a: Any, b: Any) -> Any:
    """Images one after another; members of a population have a leading axis."""
    join = jnp.concatenate if isinstance(a, jax.Array) or isinstance(b, jax.Array) else np.concatenate
    return join([a, b], axis=-3)


def _of_class(
    detections: Float[ndarray, "N D 6"],
    objects: Float[ndarray, "N M 6"],
    found: Bool[ndarray, "N D"],
    there: Bool[ndarray, "N M"],
    thresholds: Float[ndarray, " T"],
) -> float:
    """Average precision of one class, given which of the detections and objects are of it."""
    count = int((there & (objects[..., 5] == 0)).sum())
    if not count:
        return float("nan")
    scores, right, counted = [np.zeros(0)], [np.zeros((len(thresholds), 0), bool)], []
    counted.append(right[0])
    for image in np.flatnonzero(found.any(axis=1)):
        rows = detections[image, found[image]]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")[:_MOST]]
        owner, ignored = matched(rows[:, :4], *_split(objects[image, there[image]]), thresholds)
        scores.append(rows[:, 4])
        right.append((owner >= 0) & ~ignored)
        counted.append(~ignored)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    right, counted = (np.concatenate(x, axis=1)[:, order] for x in (right, counted))
    true, all_counted = np.cumsum(right, axis=1), np.cumsum(counted, axis=1)
    return float(np.mean([_area(t / count, t / np.maximum(c, 1)) for t, c in zip(true, all_counted, strict=True)]))


def _split(objects: Float[ndarray, "M 6"]) -> tuple[Float[ndarray, "M 4"], Bool[ndarray, " M"]]:
    return objects[:, :4], objects[:, 5] != 0


def _area(recall: Float[ndarray, " P"], precision: Float[ndarray, " P"]) -> float:
    """Mean over 101 recalls of the highest precision there or later."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, _RECALLS, side="left")].mean())


def matched(
    detections: Float[ndarray, "D 4"],
    objects: Float[ndarray, "M 4"],
    ignored: Bool[ndarray, " M"],
    thresholds: Float[ndarray, " T"],
) -> tuple[Int[ndarray, "T D"], Bool[ndarray, "T D"]]:
    """The object that each detection has at each threshold, -1 if none, and whether it is an ignored one.

    The surest detection chooses first: the object of the highest IoU that is free. Only where none is near enough it
    takes an ignored object, such as a crowd; those stay free, and their IoU is the part of the detection inside them.

    Args:
      detections: Boxes of one class in one image, the surest first.
      objects: Objects of the class in the image.
      ignored: Whether each object is ignored.
      thresholds: Thresholds of the IoU.

    Example:
      >>> boxes = np.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0]])
      >>> matched(boxes, boxes[:1], np.zeros(1, bool), np.array([0.5, 0.9]))[0].tolist()
      [[0, -1], [0, -1]]
    """
    T, D, M = len(thresholds), len(detections), len(objects)
    owner, of_ignored = np.full((T, D), -1), np.zeros((T, D), bool)
    if not M:
        return owner, of_ignored
    overlaps, least = _ious(detections, objects, ignored), np.minimum(thresholds, 1 - 1e-10)
    free, each = np.ones((T, M), bool), np.arange(T)
    for d, row in enumerate(overlaps):
        near = (row >= least[:, None]) & free  # [T, M]
        real, crowd = near & ~ignored, near & ignored
        near = np.where(real.any(axis=1, keepdims=True), real, crowd)
        # Of equal overlaps the last one, as in COCO's code.
        best = M - 1 - np.argmax(np.where(near, row, -1.0)[:, ::-1], axis=1)
        hit = near.any(axis=1)
        owner[hit, d], of_ignored[hit, d] = best[hit], ignored[best[hit]]
        free[each[hit], best[hit]] = ignored[best[hit]]
    return owner, of_ignored


def _ious(
    detections: Float[ndarray, "D 4"], objects: Float[ndarray, "M 4"], ignored: Bool[ndarray, " M"]
) -> Float[ndarray, "D M"]:
    corners = np.minimum(detections[:, None, 2:], objects[:, 2:]) - np.maximum(detections[:, None, :2], objects[:, :2])
    shared = np.prod(np.maximum(corners, 0), axis=-1)
    a, b = (np.prod(np.maximum(x[:, 2:] - x[:, :2], 0), axis=-1) for x in (detections, objects))
    whole = np.where(ignored, a[:, None], a[:, None] + b - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
