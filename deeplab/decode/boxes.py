"""Boxes: how much they overlap, and which of several on one object is kept. Pure functions of arrays of fixed size.

A box is (x_min, y_min, x_max, y_max), in pixels; x goes right and y down.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Detections(NamedTuple):
    """Detected objects, the surest first, and rows of zeros of class -1 after the last one.

    Attributes:
      boxes: Boxes, [..., D, 4].
      scores: How sure each is, [..., D].
      classes: Class of each, [..., D] int32.

    Example:
      >>> boxes, scores = jnp.array([[1.0, 1.0, 3.0, 5.0]]), jnp.array([[0.25, 0.75]])
      >>> found = detect(boxes, scores, overlap=0.5, candidates=2, limit=3)
      >>> found.classes.tolist(), found.scores.tolist()  # one place may be of two classes
      ([1, 0, -1], [0.75, 0.25, 0.0])
    """

    boxes: jax.Array
    scores: jax.Array
    classes: jax.Array


def area(boxes: Float[Array, "*N 4"]) -> Float[Array, "*N"]:
    """Areas of boxes; 0 for one whose corners are swapped.

    Example:
      >>> area(jnp.array([[0.0, 0.0, 2.0, 3.0], [2.0, 0.0, 0.0, 3.0]])).tolist()
      [6.0, 0.0]
    """
    return jnp.prod(jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def iou(a: Float[Array, "*#N 4"], b: Float[Array, "*#N 4"]) -> Float[Array, "*N"]:
    """Intersection over union of pairs of boxes; their axes broadcast, so `a[:, None]` and `b[None]` give a matrix.

    Two boxes without area have 0.

    Example:
      >>> iou(jnp.array([0.0, 0.0, 4.0, 2.0]), jnp.array([2.0, 0.0, 4.0, 4.0])).tolist()  # 4 of 12
      0.3333333432674408
    """
    shared, union = _shared(a, b)
    return _ratio(shared, union)


def giou(a: Float[Array, "*#N 4"], b: Float[Array, "*#N 4"]) -> Float[Array, "*N"]:
    """IoU - (C - U) / C with the union's area U and that of the smallest box around both, C: in (-1, 1].

    Unlike the IoU it says how far apart two boxes are that do not overlap.

    Example:
      >>> giou(jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([3.0, 0.0, 4.0, 1.0])).tolist()
      -0.5

    Source: Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630.
    """
    shared, union = _shared(a, b)
    around = area(jnp.concatenate([jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])], axis=-1))
    return _ratio(shared, union) - _ratio(around - union, around)


def _shared(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Areas of the intersections and of the unions."""
    corners = jnp.concatenate([jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])], axis=-1)
    shared = area(corners)
    return shared, area(a) + area(b) - shared


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    return jnp.where(whole == 0, 0.0, part / jnp.where(whole == 0, 1.0, whole))  # NaN stays


def detect(
    boxes: Float[Array, "L 4"], scores: Float[Array, "L K"], *, overlap: float | jax.Array, candidates: int, limit: int
) -> Detections:
    """The objects of one image: of the surest boxes of each class those that overlap no surer one of the same class.

    Args:
      boxes: Box of each place.
      scores: Score of each class at each place; one of 0 or less is no candidate.
      overlap: IoU above which the less sure of two boxes of a class is dropped; may be a tracer.
      candidates: Number of the surest boxes of all classes that are compared with each other.
      limit: Number D of objects.

    Returns:
      The D surest objects. All are undefined, NaN, if a score is.

    Example:
      >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 5.0], [6.0, 6.0, 9.0, 9.0]])
      >>> found = detect(boxes, jnp.array([[0.5], [0.75], [0.25]]), overlap=0.5, candidates=3, limit=2)
      >>> found.scores.tolist(), found.boxes[1].tolist(), found.classes.tolist()
      ([0.75, 0.25], [6.0, 6.0, 9.0, 9.0], [0, 0])
    """
    K = scores.shape[1]
    best, index = jax.lax.top_k(scores.reshape(-1), min(candidates, scores.size))
    chosen, classes = boxes[index // K], index % K
    kept = unsuppressed(chosen, classes, best > 0, overlap)
    limit, given = min(limit, len(best)), limit
    order = jnp.argsort(~kept, stable=True)[:limit]  # they are sorted already
    there = kept[order]
    undefined = jnp.isnan(scores).any()
    found = Detections(
        jnp.where(there[:, None], chosen[order], 0.0),
        jnp.where(undefined, jnp.nan, jnp.where(there, best[order], 0.0)),
        jnp.where(there, classes[order], -1).astype(jnp.int32),
    )
    pad = given - limit
    return Detections(
        jnp.pad(found.boxes, ((0, pad), (0, 0))),
        jnp.pad(found.scores, (0, pad)),
        jnp.pad(found.classes, (0, pad), constant_values=-1),
    )


def unsuppressed(
    boxes: Float[Array, "N 4"], classes: Int[Array, " N"], counted: Bool[Array, " N"], overlap: float | jax.Array
) -> Bool[Array, " N"]:
    """Whether no surer box of the same class that is kept itself overlaps each box: greedy non-maximum suppression.

    Args:
      boxes: Boxes, the surest first.
      classes: Class of each box.
      counted: Whether each is a box at all.
      overlap: IoU above which two boxes are of one object.

    Example:
      >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [1.0, 0.0, 5.0, 4.0], [2.0, 0.0, 6.0, 4.0]])
      >>> unsuppressed(boxes, jnp.zeros(3, int), jnp.ones(3, bool), 0.5).tolist()  # 1 overlaps 0; 2 overlaps only 1
      [True, False, True]
    """
    same = (classes[:, None] == classes[None]) & (iou(boxes[:, None], boxes[None]) > overlap)
    later = jnp.arange(len(boxes))

    def step(i: jax.Array, kept: jax.Array) -> jax.Array:
        return kept & ~(kept[i] & same[i] & (later > i))

    return jax.lax.fori_loop(0, len(boxes), step, counted)
