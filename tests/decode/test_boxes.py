"""Boxes against counted pixels and the plain loops of a greedy suppression."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.decode import boxes as geometry


def random_boxes(rng, *shape, whole=False):
    low = rng.uniform(0, 12, (*shape, 2))
    made = np.concatenate([low, low + rng.uniform(1, 8, (*shape, 2))], axis=-1).astype(np.float32)
    return np.round(made) if whole else made


def painted(box):
    mask = np.zeros((24, 24), bool)
    x0, y0, x1, y1 = box.astype(int)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_are_those_of_pixels(seed):
    a, b = random_boxes(np.random.default_rng(seed), 2, 40, whole=True)
    shared = np.array([(painted(x) & painted(y)).sum() for x, y in zip(a, b, strict=True)])
    union = np.array([(painted(x) | painted(y)).sum() for x, y in zip(a, b, strict=True)])
    around = np.prod(np.maximum(a, b)[:, 2:] - np.minimum(a, b)[:, :2], axis=-1)
    np.testing.assert_allclose(geometry.iou(a, b), shared / union, rtol=1e-6)
    np.testing.assert_allclose(geometry.giou(a, b), shared / union - (around - union) / around, rtol=1e-5, atol=1e-6)


def test_boxes_without_area_overlap_nothing_and_have_a_derivative():
    dot = jnp.array([3.0, 3.0, 3.0, 3.0])
    assert float(geometry.iou(dot, dot)) == float(geometry.giou(dot, dot)) == 0
    assert np.isfinite(jax.grad(lambda b: geometry.giou(b, dot))(dot)).all()
    assert float(geometry.area(jnp.array([4.0, 4.0, 2.0, 2.0]))) == 0  # swapped corners: not 4


def plain(boxes, scores, overlap, limit):
    """Greedy suppression, class by class, in loops."""
    order = sorted(((s, -i, k) for (i, k), s in np.ndenumerate(scores) if s > 0), reverse=True)
    kept = []
    for score, i, k in order:
        if all(k != c or geometry_iou(boxes[-i], boxes[-j]) <= overlap for _, j, c in kept):
            kept.append((score, i, k))
    return [(k, -i) for _, i, k in kept][:limit]


def geometry_iou(a, b):
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


@functools.partial(jax.jit, static_argnames=("candidates", "limit"))
def detect(boxes, scores, overlap, candidates, limit):
    one = functools.partial(geometry.detect, overlap=overlap, candidates=candidates, limit=limit)
    return jax.vmap(one)(boxes, scores)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_detections_are_those_of_plain_loops(seed, overlap):
    """Of several images at once, each by itself."""
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 2, 15)
    scores = np.where(rng.random((2, 15, 2)) < 0.2, 0, rng.random((2, 15, 2))).astype(np.float32)
    found = jax.device_get(detect(boxes, scores, overlap, 30, 6))
    for i in range(2):
        expected = plain(boxes[i], scores[i], overlap, 6)
        count = len(expected)
        assert found.classes[i].tolist() == [k for k, _ in expected] + [-1] * (6 - count)
        np.testing.assert_array_equal(found.boxes[i, :count], [boxes[i, j] for _, j in expected])
        np.testing.assert_array_equal(found.scores[i, :count], [scores[i, j, k] for k, j in expected])
        assert not found.scores[i, count:].any()


def test_the_size_of_the_result_is_fixed():
    """Of fewer places than detections, too; only the surest candidates are compared."""
    boxes = random_boxes(np.random.default_rng(0), 1, 3)
    found = detect(boxes, jnp.ones((1, 3, 1)), 1.0, 100, 5)
    assert found.boxes.shape == (1, 5, 4)
    assert found.classes[0].tolist() == [0, 0, 0, -1, -1]
    assert detect(boxes, jnp.array([[[0.1], [0.3], [0.2]]]), 1.0, 2, 5).scores[0].round(1).tolist() == pytest.approx(
        [0.3, 0.2, 0, 0, 0]
    )


def test_an_undefined_score_shows():
    found = detect(jnp.zeros((1, 2, 4)), jnp.array([[[0.5], [jnp.nan]]]), 0.5, 2, 2)
    assert np.isnan(found.scores).all()
