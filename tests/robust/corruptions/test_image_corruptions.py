"""Corruptions of images: keyed by example, in [0, 1], of any size, and worse at each severity."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_image

from deeplab.core.errors import UserError
from deeplab.robust.corruptions import LARGE, SMALL, brightness, common, contrast, frost, jpeg, on, pixelate, saturate

KEY = jax.random.key(0)
QUICK = ("jpeg",)
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
# Published severities that move the pixels of a photograph less than those before: a filter smooths away what was
# exchanged, frost darkens what it has lightened, other parameters of two or of five take over.
NOT_IN_ORDER = {
    "glass_blur": (4, 5),
    "frost": (4, 5),
    "snow": (2, 5),
    "elastic": (2, 3, 4, 5),
    "spatter": (2, 4, 5),
    "saturate": (3,),
}


@functools.cache
def program(name, severity, shape):
    return jax.jit(jax.vmap(common(name, severity))).lower(
        jax.ShapeDtypeStruct((4,), KEY.dtype), jax.ShapeDtypeStruct((4, *shape), jnp.float32)
    ).compile()  # fmt: skip


@functools.cache
def photographs():
    return [np.asarray(load_sample_image(name), np.float32) / 255 for name in ("china.jpg", "flower.jpg")]


def crops(seed, size):
    """Four crops of photographs, reduced to half."""
    rng, out = np.random.default_rng(seed), []
    for number in range(4):
        photo = photographs()[number % 2]
        top, left = (rng.integers(0, n - 2 * size) for n in photo.shape[:2])
        crop = photo[top : top + 2 * size, left : left + 2 * size]
        out.append(crop.reshape(size, 2, size, 2, 3).mean(axis=(1, 3)))
    return np.stack(out)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_more_is_worse(name, seed):
    """The distance from photographs grows with the severity: its mean over 16 crops, since four leave it to chance."""
    draws = [(crops(seed + i, 32), jax.random.split(jax.random.key(seed + i), 4)) for i in range(4)]
    change = [0.0]
    for severity in range(1, 6):
        corrupt = program(name, severity, (32, 32, 3))
        made = np.stack([corrupt(keys, images) for images, keys in draws])
        assert made.min() >= 0
        assert made.max() <= 1
        change.append(float(np.abs(made - np.stack([images for images, _ in draws])).mean()))
    for severity in range(1, 6):
        assert change[severity] > 0
        if severity not in NOT_IN_ORDER.get(name, ()):
            assert change[severity] > 0.95 * change[severity - 1], (severity, change)


@pytest.mark.parametrize(
    "name", [name if name == "snow" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
@pytest.mark.parametrize("shape", [(8, 8, 1), pytest.param((28, 20, 1), marks=pytest.mark.slow),
                                   pytest.param((100, 130, 3), marks=pytest.mark.slow)])  # fmt: skip
def test_of_any_size(name, shape):
    image = np.random.default_rng(0).uniform(size=(4, *shape)).astype(np.float32)
    for severity in (1, 5):
        made = np.asarray(program(name, severity, shape)(jax.random.split(KEY, 4), image))
        assert made.shape == image.shape
        assert np.isfinite(made).all()
        assert not np.array_equal(made, image) or (name == "saturate" and shape[-1] == 1) or shape[0] == 8


def test_a_corruption_belongs_to_the_example():
    """Whatever its batch and its place in it."""
    change = on("image", common("gaussian_noise", 3))
    batch = {"image": jnp.asarray(crops(0, 8)), "id": jnp.array([3, 1, 4, 9])}
    order = jnp.array([2, 0])
    whole, part = change(batch, KEY), change({name: x[order] for name, x in batch.items()}, KEY)
    np.testing.assert_array_equal(whole["image"][order], part["image"])
    assert not np.allclose(whole["image"][0] - batch["image"][0], whole["image"][1] - batch["image"][1])
    with pytest.raises(UserError, match="no field 'x' to corrupt"):
        on("x", common("fog", 1))(batch, KEY)


def test_values_by_hand():
    row = jnp.array([[[0.2, 0.4, 0.1], [0.0, 0.0, 0.0]]])
    np.testing.assert_allclose(brightness(0.2)(KEY, row)[0], [[0.3, 0.6, 0.15], [0.2, 0.2, 0.2]], rtol=1e-6)
    np.testing.assert_allclose(contrast(0.5)(KEY, row)[0], [[0.15, 0.3, 0.075], [0.05, 0.1, 0.025]], rtol=1e-6)
    # Saturation 0.75 to 1: the smallest channel is 0, and the middle one keeps its place between the two others.
    np.testing.assert_allclose(saturate(1, 0.25)(KEY, row)[0, 0], [0.4 / 3, 0.4, 0.0], atol=1e-6)
    steps = jnp.arange(4.0)[None, :, None] / 4
    np.testing.assert_allclose(pixelate(0.5)(KEY, jnp.tile(steps, (4, 1, 1)))[0, :, 0], [0.125, 0.125, 0.625, 0.625])


def test_an_even_image_of_a_byte_survives_jpeg():
    """Its blocks have but one coefficient, a multiple of the table's 8 at this quality: 16 and gray 128 + 2."""
    image = jnp.full((16, 16, 1), 130 / 255)
    np.testing.assert_allclose(jpeg(50)(KEY, image), image, atol=1e-6)
    assert float(jnp.abs(jpeg(10)(KEY, image * 0.9) - image * 0.9).max()) < 6 / 255


@pytest.mark.slow
def test_frost_is_of_the_color_of_ice():
    """Beneath it a black image is bluish, at the mean of the published photographs."""
    made = jax.jit(frost(1.0, 1.0))(KEY, jnp.zeros((64, 64, 3)))
    np.testing.assert_allclose(made.mean(axis=(0, 1)), [0.46, 0.52, 0.58], atol=0.05)
    assert 0.05 < float(made.std()) < 0.25


def test_tables_are_those_of_the_papers_form():
    assert SMALL.keys() == LARGE.keys()
    assert {len(rows) for table in (SMALL, LARGE) for rows in table.values()} == {5}
    with pytest.raises(UserError, match=r"no corruption 'frog'.*fog"):
        common("frog", 1)
    with pytest.raises(UserError, match="severity is 6"):
        common("fog", 6)
    with pytest.raises(UserError, match=r"values from 0 to 255, expected 0 to 1"):
        common("contrast", 3)(KEY, jnp.array([[[0.0], [255.0]]]))
    with pytest.raises(UserError, match=r"uint8\[2, 2, 1\], expected floats \[H, W, C\]"):
        jax.eval_shape(common("contrast", 3), KEY, jnp.zeros((2, 2, 1), jnp.uint8))
