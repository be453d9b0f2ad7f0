"""Augmentations: shapes, ranges, neutral strengths, traced strengths, and what each should do to a picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from deeplab.core.errors import UserError
from deeplab.data import augment

WITH_STRENGTH = {
    "flip": augment.flip,
    "rotate": augment.rotate,
    "zoom": augment.zoom,
    "erase": augment.erase,
    "brightness": augment.brightness,
    "contrast": augment.contrast,
    "gamma": augment.gamma,
    "saturation": augment.saturation,
    "grayscale": augment.grayscale,
}
KEYS = jax.random.split(jax.random.key(0), 32)
IMAGE = jnp.asarray(np.random.default_rng(0).random((9, 12, 3)), jnp.float32)


def many(function, image=IMAGE):
    return jax.jit(jax.vmap(function, in_axes=(0, None)))(KEYS, image)


@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_strength_zero_changes_nothing(name):
    np.testing.assert_allclose(many(WITH_STRENGTH[name](0.0)), np.broadcast_to(IMAGE, (32, *IMAGE.shape)), atol=1e-5)


def test_a_probability_may_be_an_integer():
    """`jax.random.bernoulli` takes none."""
    np.testing.assert_array_equal(many(augment.flip(1)), many(augment.flip(1.0)))
    np.testing.assert_array_equal(many(augment.erase(0.2, 1)), many(augment.erase(0.2, 1.0)))
    np.testing.assert_array_equal(many(augment.grayscale(1)), many(augment.grayscale(1.0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augment.contrast(float("nan")), "strength is nan, expected 0 or more"),
        (lambda: augment.rand_augment(2, 30.0), "magnitude is 30.0, expected 0 or more and up to 10"),
        (lambda: augment.rand_augment(-1), "num_operations is -1, expected 0 or more"),
        (lambda: augment.erase(2.0), "area is 2.0, expected 0 or more and up to 1"),
        (lambda: augment.erase(0.2, -1.0), "probability is -1.0, expected"),
        (lambda: augment.elastic(float("nan"), 1.0), "pixels is nan, expected"),
        (lambda: augment.pose(mirror=2.0), "mirror is 2.0, expected"),
        (lambda: augment.anywhere(-1, 0), "rows is -1, expected"),
    ],
)
def test_strengths_out_of_their_range_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_a_traced_strength_is_the_number(name):
    strengths = jnp.array([0.1, 0.4])
    traced = jax.jit(jax.vmap(lambda s: many(WITH_STRENGTH[name](s))))(strengths)
    for number, got in zip([0.1, 0.4], traced, strict=True):
        np.testing.assert_allclose(got, many(WITH_STRENGTH[name](number)), atol=1e-5)


@pytest.mark.parametrize(
    "function", [augment.shift(2), augment.crop(1, "reflect"), *(f(0.3) for f in WITH_STRENGTH.values())]
)
def test_the_image_stays_an_image_and_keys_matter(function):
    out = many(function)
    assert out.shape == (32, *IMAGE.shape)
    assert out.dtype == jnp.float32
    assert 0 <= out.min() <= out.max() <= 1
    assert len({o.tobytes() for o in np.asarray(out)}) > 1


@pytest.mark.parametrize(("pad", "mode"), [("zero", "constant"), ("edge", "edge"), ("reflect", "reflect")])
def test_shift_moves_by_every_offset(pad, mode):
    padded = np.pad(IMAGE, ((1, 1), (1, 1), (0, 0)), mode=mode)
    expected = {padded[y : y + 9, x : x + 12].tobytes() for y in range(3) for x in range(3)}
    assert {out.tobytes() for out in np.asarray(many(augment.shift(1, pad)))} == expected


def test_a_crop_of_the_whole_image_is_pillows_resized_one():
    whole = augment.resized_crop(5, 7, area=(1.0, 1.0), ratio=(12 / 9, 12 / 9))
    resized = [Image.fromarray(np.asarray(IMAGE[..., c])).resize((7, 5), Image.Resampling.BILINEAR) for c in range(3)]
    np.testing.assert_allclose(many(whole)[0], np.stack(resized, axis=-1), atol=1e-5)


def test_a_crop_is_a_part_of_the_image_in_the_shares_asked_for():
    """Of an image that tells its rows and columns, the crop's span is its size, and its middle its position."""
    rows, columns = jnp.mgrid[:64, :64] / 63.0
    crops = np.asarray(many(augment.resized_crop(32, 32, (0.1, 0.5), (0.5, 2.0)), jnp.stack([rows, columns], axis=-1)))
    height, width = (np.ptp(crops[..., axis], axis=(1, 2)) for axis in (0, 1))
    assert np.all((height * width > 0.08) & (height * width < 0.52))
    assert np.all((width / height > 0.45) & (width / height < 2.2))
    assert np.ptp(crops[..., 0].mean(axis=(1, 2))) > 0.2
    assert crops.min() > -1e-5
    assert crops.max() < 1 + 1e-5


def test_flip_mirrors_half_of_the_time():
    mirrored = np.all(np.asarray(many(augment.flip())) == np.asarray(IMAGE[:, ::-1]), axis=(1, 2, 3))
    assert 6 < mirrored.sum() < 26
    np.testing.assert_array_equal(many(augment.flip(1.0))[0], IMAGE[:, ::-1])


def test_affine_is_scipys():
    rng, affine = np.random.default_rng(1), jax.jit(augment.affine)
    for _ in range(10):
        matrix = (np.eye(2) + rng.normal(size=(2, 2))).astype(np.float32)
        centre = (np.array(IMAGE.shape[:2]) - 1) / 2
        expected = [
            ndimage.affine_transform(channel, matrix, centre - matrix @ centre, order=1, mode="grid-constant")
            for channel in np.moveaxis(np.asarray(IMAGE), -1, 0)
        ]
        np.testing.assert_allclose(affine(IMAGE, jnp.asarray(matrix)), np.stack(expected, -1), atol=1e-5)


def test_rotate_by_a_quarter_turn(monkeypatch):
    monkeypatch.setattr(jax.random, "uniform", lambda *_, **__: jnp.float32(1.0))
    square = IMAGE[:, :9]
    np.testing.assert_allclose(jax.jit(augment.rotate(90.0))(KEYS[0], square), np.rot90(square, -1), atol=1e-5)


def test_erase_blackens_the_area_asked_for():
    black = np.mean(np.asarray(many(augment.erase(0.04, probability=1.0), jnp.ones((64, 64, 1)))) == 0, axis=(1, 2, 3))
    assert black.max() <= 0.05
    assert 0.02 < black.mean() <= 0.04  # less than asked for where it is clipped at a border


def test_erase_fills_with_noise():
    out = np.asarray(many(augment.erase(0.2, probability=1.0, fill="noise"), jnp.ones((32, 32, 2))))
    new = out[out != 1]
    assert 0 <= new.min() < 0.05
    assert 0.95 < new.max() < 1
    assert len(np.unique(new)) > 0.9 * len(new)
    covered, black = (
        np.asarray(many(augment.erase(0.2, 1.0, fill), jnp.ones((32, 32, 2)))) for fill in ("noise", "zero")
    )
    np.testing.assert_array_equal(covered != 1, black == 0)


def test_gamma_is_one_power_for_all_pixels_of_an_image():
    powers = np.log(np.asarray(many(augment.gamma(0.5)))) / np.log(np.asarray(IMAGE))
    np.testing.assert_allclose(powers, np.broadcast_to(powers[:, :1, :1, :1], powers.shape), rtol=1e-3)
    assert np.exp(-0.5) <= powers.min() < 0.8 < 1.2 < powers.max() <= np.exp(0.5)


def test_saturation_keeps_grays_and_scales_the_distance_from_them():
    image = 0.25 + IMAGE / 2  # so that nothing is clipped
    gray = image.mean(axis=-1, keepdims=True)
    factors = (np.asarray(many(augment.saturation(0.4), image)) - np.asarray(gray)) / np.asarray(image - gray)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1, :1, :1], factors.shape), rtol=1e-2)
    assert 0.6 <= factors.min() < 0.8 < 1.2 < factors.max() <= 1.4 + 1e-3


def test_grayscale_takes_the_color_of_as_many_images_as_it_says():
    out = np.asarray(many(augment.grayscale(0.5)))
    gray = np.ptp(out, axis=-1).max(axis=(1, 2)) == 0
    assert 8 <= gray.sum() <= 24  # of 32: 99.6 % of draws
    np.testing.assert_array_equal(out[~gray], np.broadcast_to(IMAGE, out[~gray].shape))
    np.testing.assert_allclose(
        out[gray].mean(axis=-1), np.broadcast_to(IMAGE.mean(axis=-1), out[gray].shape[:3]), rtol=1e-5
    )


def test_chain_gives_each_a_key_of_its_own():
    twice = augment.chain(augment.shift(2), augment.shift(2))
    moved = {np.asarray(out).tobytes() for out in many(twice)}
    assert len(moved) > len({np.asarray(out).tobytes() for out in many(augment.shift(2))})
    np.testing.assert_array_equal(augment.chain()(KEYS[0], IMAGE), IMAGE)
