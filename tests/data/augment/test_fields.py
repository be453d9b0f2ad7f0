"""Fields: an image and its mask move alike; SciPy reads the same pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from deeplab.data import augment

KEYS = jax.random.split(jax.random.key(0), 48)
MASK = jnp.asarray(np.random.default_rng(0).integers(0, 7, (16, 16)), jnp.uint8)
EXAMPLE = {"image": MASK[..., None].astype(jnp.float32), "mask": MASK, "id": jnp.int32(3)}
FIELDS = {
    "elastic": augment.elastic(2.0, 3.0),
    "quarter_turns": augment.quarter_turns(),
    "pose": augment.pose(20.0, 0.2, 0.5),
    "anywhere": augment.anywhere(6, 4),
}
UNMOVED = {
    "elastic": augment.elastic(0.0, 3.0),
    "pose": augment.pose(0.0, 0.0, 0.0),
    "anywhere": augment.anywhere(0, 0),
}


def many(field, **arguments):
    return jax.jit(jax.vmap(augment.together(field, 16, 16, **arguments), (0, None)))(KEYS, EXAMPLE)


@pytest.mark.parametrize(("nearest", "order"), [(True, 0), (False, 1)])
@pytest.mark.parametrize(("outside", "mode"), [("fill", "grid-constant"), ("mirror", "mirror")])
def test_resample_is_scipys(nearest, order, outside, mode):
    image = jnp.asarray(np.random.default_rng(1).random((9, 12, 2)), jnp.float32)
    places = augment.grid(5, 7) * 3.3 + 0.21
    ours = augment.resample(image, places, nearest=nearest, outside=outside, fill=2)
    where = np.asarray(places) + np.array([4.0, 5.5])[:, None, None]
    for c in range(2):
        theirs = ndimage.map_coordinates(np.asarray(image[..., c]), where, order=order, mode=mode, cval=2.0)
        np.testing.assert_allclose(ours[..., c], theirs, atol=1e-5)


@pytest.mark.parametrize("name", UNMOVED)
def test_strength_zero_changes_nothing(name):
    out = many(UNMOVED[name])
    np.testing.assert_array_equal(out["mask"], np.broadcast_to(MASK, (48, 16, 16)))
    np.testing.assert_allclose(out["image"], np.broadcast_to(EXAMPLE["image"], (48, 16, 16, 1)), atol=1e-5)


@pytest.mark.parametrize("name", FIELDS)
def test_an_image_and_its_mask_move_alike(name):
    """The image is the mask, and stays it where nothing is interpolated."""
    out = many(FIELDS[name], outside="mirror")
    image, mask = np.asarray(out["image"][..., 0]), np.asarray(out["mask"])
    assert mask.dtype == np.uint8
    assert len({m.tobytes() for m in mask}) >= 6
    if name in ("quarter_turns", "anywhere"):
        np.testing.assert_allclose(image, mask, atol=1e-4)
    else:  # the nearest pixel is the weightiest of four
        assert np.corrcoef(image.ravel(), mask.ravel())[0, 1] > 0.6


def test_quarter_turns_are_the_eight_of_a_square():
    expected = {np.rot90(m, k).tobytes() for m in (np.asarray(MASK), np.asarray(MASK.T)) for k in range(4)}
    assert {m.tobytes() for m in np.asarray(many(augment.quarter_turns())["mask"])} == expected


def test_anywhere_reaches_every_window_of_whole_pixels():
    move = jax.jit(jax.vmap(augment.together(augment.anywhere(1, 2), 15, 14), (0, None)))
    expected = {np.asarray(MASK[y : y + 15, x : x + 14]).tobytes() for y in range(2) for x in range(3)}
    assert {m.tobytes() for m in np.asarray(move(KEYS, EXAMPLE)["mask"])} == expected


def test_a_mask_of_twice_the_size_is_read_at_the_same_places():
    double = EXAMPLE | {"mask": jnp.repeat(jnp.repeat(MASK, 2, 0), 2, 1)}
    move = augment.together(augment.anywhere(4, 4), 12, 12)
    for key in KEYS[:4]:
        np.testing.assert_array_equal(move(key, double)["mask"], move(key, EXAMPLE)["mask"])


def test_outside_is_void():
    far = augment.together(lambda key, places: places + 100.0, 4, 4, void=5)(KEYS[0], EXAMPLE)
    assert np.all(far["mask"] == 5)
    assert not far["image"].any()


def test_elastic_displacements_have_their_size_and_are_smooth():
    field = (
        jax.jit(jax.vmap(augment.elastic(3.0, 6.0), (0, None)))(KEYS, augment.grid(32, 32)) - augment.grid(32, 32)[None]
    )
    assert abs(np.std(field) - 3) < 0.5
    assert np.abs(np.diff(field, axis=2)).std() < 3 / 6 * 1.2
