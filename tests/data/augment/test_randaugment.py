"""RandAugment: each operation is Pillow's; neutral and traced magnitudes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from deeplab.data import augment
from deeplab.data.augment import randaugment

RNG = np.random.default_rng(0)
# Smooth and of low contrast, with a grey step: what photographs are, so that histograms have gaps.
PIXELS = np.clip(np.cumsum(RNG.integers(-9, 10, (20, 24, 3)), axis=1) + 100, 30, 220).astype(np.uint8)
FLOATS = jnp.asarray(PIXELS, jnp.float32) / 255
KEYS = jax.random.split(jax.random.key(0), 32)
PILLOW = {
    6: lambda im, s: ImageEnhance.Brightness(im).enhance(1 + 0.9 * s),
    7: lambda im, s: ImageEnhance.Color(im).enhance(1 + 0.9 * s),
    8: lambda im, s: ImageEnhance.Contrast(im).enhance(1 + 0.9 * s),
    9: lambda im, s: ImageEnhance.Sharpness(im).enhance(1 + 0.9 * s),
    10: lambda im, s: ImageOps.posterize(im, 8 - round(4 * abs(s))),
    11: lambda im, s: ImageOps.solarize(im, round(255 * (1 - abs(s)))),
    12: lambda im, s: ImageOps.autocontrast(im),
    13: lambda im, s: ImageOps.equalize(im),
}
operation = jax.jit(randaugment.operation)


@pytest.mark.parametrize("number", PILLOW)
@pytest.mark.parametrize("strength", [0.5, -0.6])
def test_colours_are_pillows(number, strength):
    ours = operation(FLOATS, number, abs(strength), jnp.float32(strength)) * 255
    theirs = np.asarray(PILLOW[number](Image.fromarray(PIXELS), strength), np.float32)
    assert np.abs(np.asarray(ours) - theirs).max() <= 1.5  # Pillow rounds, in between too


@pytest.mark.parametrize("number", range(1, 6))
def test_moves_are_pillows(number):
    """The signs are drawn, so that either direction will do; bilinear on both sides, black outside."""
    height, width = PIXELS.shape[:2]
    ours = np.asarray(operation(FLOATS, number, 0.5, jnp.float32(0.5))) * 255
    cy, cx = height / 2, width / 2
    angle = np.deg2rad(15.0)
    theirs = []
    for s in (1, -1):
        a, b, d, e = {
            1: (1, 0.15 * s, 0, 1),
            2: (1, 0, 0.15 * s, 1),
            5: (np.cos(angle), np.sin(angle) * s, -np.sin(angle) * s, np.cos(angle)),
        }.get(number, (1, 0, 0, 1))
        right, down = {3: (0.225 * width * s, 0), 4: (0, 0.225 * height * s)}.get(number, (0, 0))
        matrix = (a, b, cx - a * cx - b * cy + right, d, e, cy - d * cx - e * cy + down)
        moved = Image.fromarray(PIXELS).transform((width, height), Image.AFFINE, matrix, Image.BILINEAR)
        theirs.append(np.asarray(moved, np.float32))
    inside = (slice(5, -5), slice(6, -6))  # at the borders Pillow does not blend with what is outside
    assert min(np.abs(ours - other)[inside].max() for other in theirs) <= 1.5


@pytest.mark.parametrize("image", [FLOATS, FLOATS[..., :1]], ids=["colour", "grey"])
def test_at_magnitude_zero_nothing_changes_and_else_it_stays_an_image(image):
    run = jax.jit(lambda m: jax.vmap(augment.rand_augment(2, m), (0, None))(KEYS, image))
    np.testing.assert_allclose(run(0.0), np.broadcast_to(image, (32, *image.shape)), atol=1e-6)
    out = np.asarray(run(9.0))
    assert 0 <= out.min() <= out.max() <= 1
    assert len({o.tobytes() for o in out}) > 24


@pytest.mark.slow
def test_a_traced_magnitude_is_the_number():
    each = jax.jit(jax.vmap(lambda m: augment.rand_augment(1, m)(KEYS[3], FLOATS)))(jnp.array([2.0, 7.0]))
    for number, got in zip((2.0, 7.0), each, strict=True):
        np.testing.assert_allclose(got, augment.rand_augment(1, number)(KEYS[3], FLOATS), atol=2e-5)
