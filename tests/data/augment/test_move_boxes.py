"""Boxes move as their pixels do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.data.augment import move_boxes

H, W = 40, 60


def painted(*boxes):
    """An image that is 1 in the boxes, and the boxes as an example."""
    image = np.zeros((H, W, 1), np.float32)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = 1
    return {"image": jnp.asarray(image), "boxes": jnp.array(boxes, jnp.float32), "classes": jnp.arange(len(boxes))}


def around(image):
    """The box of the bright pixels."""
    y, x = np.nonzero(np.asarray(image)[..., 0] > 0.5)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize(
    "options", [{"mirror": 1.0}, {"mirror": 0.0, "turn": 1.0}, {"mirror": 0.5, "turn": 0.5, "zoom": 0.3, "shift": 0.15}]
)
def test_a_box_is_around_the_pixels_that_it_was_around(options):
    move = jax.jit(move_boxes(**options))
    example = painted((12, 8, 30, 20))
    for seed in range(8):
        moved = move(jax.random.key(seed), example)
        # An edge between two pixels is seen half a pixel away, at most one after scaling.
        np.testing.assert_allclose(moved["boxes"][0], around(moved["image"]), atol=0.01 if len(options) < 3 else 1.0)
        assert moved["classes"].tolist() == [0]


def test_flips_are_exact():
    moved = jax.jit(move_boxes(mirror=1.0, turn=1.0))(jax.random.key(0), painted((0, 1, 10, 5)))
    assert moved["boxes"].tolist() == [[50, 35, 60, 39]]
    np.testing.assert_array_equal(moved["image"], painted((50, 35, 60, 39))["image"])
    still = jax.jit(move_boxes(mirror=0.0))(jax.random.key(0), painted((0, 1, 10, 5)))
    np.testing.assert_array_equal(still["image"], painted((0, 1, 10, 5))["image"])


def test_boxes_are_cut_at_the_border_and_dropped_where_little_is_left():
    """Of a shift by half of the width, to either side, one of two boxes at the sides goes."""
    move = jax.jit(move_boxes(mirror=0.0, shift=0.5, visible=0.5))
    example = painted((0, 10, 12, 30), (48, 10, 60, 30))
    seen = set()
    for seed in range(20):
        moved = move(jax.random.key(seed), example)
        boxes, classes = np.asarray(moved["boxes"]), np.asarray(moved["classes"])
        assert (boxes >= 0).all()
        assert (boxes <= [W, H, W, H]).all()
        assert not boxes[classes < 0].any()
        assert (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[classes >= 0] >= 120 - 1e-3).all()
        seen.add(tuple(classes.tolist()))
    assert {(0, -1), (-1, 1)} <= seen


def test_no_object_stays_none():
    example = painted((5, 5, 9, 9)) | {"boxes": jnp.zeros((1, 4)), "classes": jnp.array([-1])}
    moved = jax.jit(move_boxes(zoom=0.2, shift=0.2))(jax.random.key(1), example)
    assert (moved["classes"].tolist(), moved["boxes"].tolist()) == ([-1], [[0, 0, 0, 0]])


def test_strengths_may_be_tracers():
    example = painted((5, 5, 9, 9))
    traced = jax.jit(lambda zoom: move_boxes(zoom=zoom, mirror=0.0)(jax.random.key(1), example)["boxes"])
    plain = jax.jit(move_boxes(zoom=0.25, mirror=0.0))(jax.random.key(1), example)["boxes"]
    np.testing.assert_allclose(traced(0.25), plain, rtol=1e-5)
