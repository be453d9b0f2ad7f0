"""Corruptions of images against the package imagecorruptions, which ImageNet-C's severities come with."""

from __future__ import annotations

import functools
import importlib
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.robust.corruptions import common, commons
from deeplab.robust.corruptions.severities import LARGE

skimage = pytest.importorskip("skimage")
cv2 = pytest.importorskip("cv2")
Image = pytest.importorskip("PIL.Image")

OURS = {"elastic": "elastic_transform", "jpeg": "jpeg_compression"}
EXACT = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "gaussian_blur", "saturate")
RANDOM = (
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow", "fog",
    "elastic", "spatter",
)  # fmt: skip


@functools.cache
def reference() -> types.ModuleType:
    """The package, whose calls of NumPy and scikit-image are of older versions than these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("imagecorruptions")
        module = importlib.import_module("imagecorruptions.corruptions")
    old = types.SimpleNamespace(**{name: getattr(np, name) for name in dir(np) if not name.startswith("__")})
    old.float_ = np.float64
    module.np = old
    gaussian = skimage.filters.gaussian
    module.gaussian = lambda x, sigma, multichannel=False, **rest: gaussian(
        x, sigma, channel_axis=-1 if multichannel else None, **rest
    )
    return module


@functools.cache
def picture() -> np.ndarray:
    """A cat, 224 x 224."""
    from skimage.data import chelsea

    return np.asarray(Image.fromarray(chelsea()).resize((224, 224), Image.BICUBIC))


def theirs(name: str, severity: int) -> np.ndarray:
    given = picture()
    call = getattr(reference(), OURS.get(name, name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Glass is written into what it is given.
        out = call(given.copy() if name == "glass_blur" else Image.fromarray(given), severity)
    return np.asarray(out, np.float64) / 255


def ours(name: str, severity: int, seed: int = 0) -> np.ndarray:
    return np.asarray(common(name, severity)(jax.random.key(seed), jnp.asarray(picture() / 255, jnp.float32)))


@pytest.mark.parametrize("name", EXACT)
def test_what_draws_nothing_is_the_reference(name):
    for severity in range(1, 6):
        assert np.abs(ours(name, severity) - theirs(name, severity)).max() < 1 / 255, severity


def test_jpeg_is_the_library_but_for_rounding():
    """Where a coefficient is between two, its integers and our floats may round differently: a block differs."""
    for severity in range(1, 6):
        apart = np.abs(ours("jpeg", severity) - theirs("jpeg", severity)) * 255
        assert (apart > 1.01).mean() < 0.01, severity
        assert apart.mean() < 0.1, severity


def measured(out: np.ndarray) -> np.ndarray:
    """Mean and spread of what was changed."""
    change = out - picture() / 255
    return np.array([change.mean(), change.std(), out.mean(), out.std()])


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_drawn_has_the_mean_and_the_spread_of_the_reference(name):
    """Noise of each pixel within 1 %; clouds, flakes and drops are few, so that their pictures differ more."""
    draws = 1 if name.endswith("noise") else 6
    for severity in range(1, 6):
        np.random.seed(severity)  # noqa: NPY002  (the reference draws from it)
        one = np.stack([measured(ours(name, severity, seed)) for seed in range(draws)])
        other = np.stack([measured(theirs(name, severity)) for _ in range(draws)])
        apart = np.abs(one.mean(axis=0) - other.mean(axis=0))
        within = 0.002 if draws == 1 else 0.01 + 3 * np.sqrt((one.var(axis=0) + other.var(axis=0)) / draws)
        assert (apart < within).all(), (name, severity, one.mean(axis=0), other.mean(axis=0))


def test_small_images_follow_the_libraries():
    """The severities of CIFAR-10-C, of which the filters are those of scikit-image and OpenCV."""
    image = np.asarray(Image.fromarray(picture()).resize((32, 32), Image.BICUBIC)) / 255
    for severity, (one,) in enumerate(((0.4,), (0.6,), (0.7,), (0.8,), (1.0,)), 1):
        expected = skimage.filters.gaussian(image, one, channel_axis=-1)
        found = common("gaussian_blur", severity)(jax.random.key(0), jnp.asarray(image, jnp.float32))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    for severity, (radius, alias) in enumerate(((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)), 1):
        expected = cv2.filter2D(image, -1, reference().disk(radius, alias))
        found = common("defocus_blur", severity)(jax.random.key(0), jnp.asarray(image, jnp.float32))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_all_of_the_benchmark_are_compared_but_frost():
    assert {*EXACT, *RANDOM, "jpeg", "frost"} == set(LARGE)
    assert len(commons()) == 15
