"""A picture found by ascent is the one that was planted, and excites more than any of the data."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets

import deeplab as dl
from deeplab.explain.view import optimized

SIZE = 16
ANGLES = np.array([0.3, 1.2, 2.2])


def gabor(angle, wave=8.0, width=4.0):
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    along = np.cos(angle) * columns + np.sin(angle) * rows
    return np.exp(-(rows**2 + columns**2) / 2 / width**2) * np.sin(2 * np.pi * along / wave)


PLANTED = jnp.asarray(np.stack([gabor(angle) for angle in ANGLES]), jnp.float32)
DIGITS = jnp.float32(datasets.load_digits().images[:200] / 16).repeat(2, axis=1).repeat(2, axis=2)[..., None]


def linear(x):
    return jnp.einsum("bhwc,khw->bk", x - 0.5, PLANTED)


def cosine(x):
    """The same relative to the picture's contrast, so that the best picture is the template itself."""
    apart = (x - x.mean(axis=(1, 2, 3), keepdims=True)).reshape(len(x), -1)
    return linear(x) / jnp.linalg.norm(apart, axis=1, keepdims=True)


def found(f, **given):
    options = {"key": jax.random.key(0), "steps": 128} | given
    return jax.jit(lambda: dl.explain.visualize(f, (3, SIZE, SIZE, 1), jnp.arange(3), **options))()


@pytest.mark.parametrize("moved", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["moved", "still"])
def test_the_template_of_a_unit_is_found(moved):
    pictures = found(cosine, **({} if moved else {"jitter": 0.0, "degrees": 0.0, "zoom": 0.0}))
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(pictures, PLANTED, strict=True)]
    assert min(correlations) > (0.95 if moved else 0.999)
    assert (jnp.diag(cosine(pictures)) > cosine(DIGITS).max(axis=0)).all()


def test_of_a_linear_unit_it_goes_to_the_corner_of_all_pictures():
    """Nothing holds its contrast, so that pixels go to 0 or 1, by the signs of their weights."""
    pictures = found(linear, steps=256, jitter=0.0, degrees=0.0, zoom=0.0)
    assert 0 <= float(pictures.min()) < 0.05
    assert 0.95 < float(pictures.max()) <= 1
    best = jnp.abs(PLANTED).sum(axis=(1, 2)) / 2
    assert (jnp.diag(linear(pictures)) > 0.8 * best).all()
    right = (pictures[..., 0] > 0.5) == (PLANTED > 0)
    assert float(right[jnp.abs(PLANTED) > 0.1].mean()) > 0.85  # 0.90; edges of the planted pattern are at odds


@pytest.mark.slow
def test_a_channel_of_gabor_filters_finds_its_wave():
    """At the tap of a convolution: the strongest wave of the picture has the filter's direction and length."""
    kernel = PLANTED[:, 4:12, 4:12].transpose(1, 2, 0)[:, :, None]
    model = nn.Sequential([nn.Conv(3, (8, 8), use_bias=False, padding="VALID"), nn.relu])
    upto, _ = dl.explain.split(lambda x: model.apply({"params": {"layers_0": {"kernel": kernel}}}, x), "layers_0")
    score = dl.explain.targets.channel(jnp.arange(3))
    tap = lambda x: upto(x) - 0.05 * upto(x) ** 2  # noqa: E731  (a unit that has enough at some size)
    make = lambda key: dl.explain.visualize(tap, (3, SIZE, SIZE, 1), score, key=key, steps=64)  # noqa: E731
    pictures = jax.jit(make)(jax.random.key(1))
    np.testing.assert_array_equal(pictures, jax.jit(make)(jax.random.key(1)))
    assert float(jnp.abs(pictures - jax.jit(make)(jax.random.key(2))).max()) > 1e-3
    mine = upto(pictures).reshape(3, -1, 3).mean(axis=1)
    assert (jnp.argmax(mine, axis=1) == jnp.arange(3)).all()
    assert (jnp.diag(mine) > upto(DIGITS).reshape(200, -1, 3).mean(axis=1).max(axis=0)).all()


@pytest.mark.slow
def test_colors_and_odd_sizes_have_their_transform():
    """Each picture of the Fourier coefficients is real, and of the variance that the scale gives at its frequency."""
    draws = jax.random.normal(jax.random.key(0), (2, 400, 7, 3, 1))
    free = jax.scipy.special.logit(optimized._pictures(draws, 7, 5))[..., 0]
    assert free.shape == (400, 7, 5)
    power = np.mean(np.abs(np.fft.fft2(free, norm="ortho")) ** 2, axis=0)
    np.testing.assert_allclose(power[1, 2] / power[2, 1], (4 / 49 + 1 / 25) / (1 / 49 + 4 / 25), rtol=0.25)
    grey = optimized._pictures(jnp.stack([jnp.ones((1, 4, 3, 3)), jnp.zeros((1, 4, 3, 3))]), 4, 4)
    expected = optimized._COLORS.sum(axis=1) / np.linalg.norm(optimized._COLORS, axis=0).max()
    free = np.asarray(jax.scipy.special.logit(grey))[0]
    np.testing.assert_allclose(free / free[..., :1], np.broadcast_to(expected / expected[0], free.shape), rtol=1e-3)
    with pytest.raises(dl.UserError, match=r"\(8, 8, 1\) were asked for"):
        dl.explain.visualize(linear, (8, 8, 1), 0, key=jax.random.key(0))


def test_pictures_are_shown_without_a_map():
    shown = dl.explain.show({}, np.zeros((2, 4, 4, 3)), titles=["channel 0", "channel 1"])
    assert [card["title"] for card in shown.blocks[0]["cards"]] == ["channel 0", "channel 1"]
    assert [part["kind"] for card in shown.blocks[0]["cards"] for part in card["parts"]] == ["picture", "picture"]
