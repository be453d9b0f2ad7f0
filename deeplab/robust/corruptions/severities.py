"""The common corruptions of images at their published severities.

Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261: the 15 of the benchmark, and 4 more for validation. A
row has severities 1 to 5.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from deeplab.core import ranges
from deeplab.core.errors import UserError, nearest
from deeplab.robust.corruptions import blurs, compression, digital, noises, weather
from deeplab.robust.corruptions.filters import Corruption, Image

SMALL: dict[str, tuple[tuple, ...]] = {
    "gaussian_noise": ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
    "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
    "impulse_noise": ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((1.06,), (1.11,), (1.16,), (1.21,), (1.26,)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    "contrast": ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    "elastic": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    "pixelate": ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
    "jpeg": ((80,), (65,), (58,), (50,), (40,)),
    "speckle_noise": ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
    "gaussian_blur": ((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}
"""Of images of 32 x 32 pixels, as in CIFAR-10-C: all numbers are those of ImageNet-C/create_c/make_cifar_c.py in
https://github.com/hendrycks/robustness (commit 8190fe3), lengths of the elastic deformation as shares of 32 pixels."""

LARGE: dict[str, tuple[tuple, ...]] = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "elastic": ((0.0625, 0.01, 0), (0.08125, 0.01, 0), (0.10625, 0.01, 0), (0.125, 0.01, 0), (0.15, 0.01, 0)),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    "jpeg": ((25,), (18,), (15,), (10,), (7,)),
    "speckle_noise": ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),
    "gaussian_blur": ((1,), (2,), (3,), (4,), (6,)),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}
"""Of images of 224 x 224 pixels, as in ImageNet-C: all numbers are those of make_imagenet_c.py there, but for the
elastic deformation, which is that of the package imagecorruptions 1.1.2 (its others are the same)."""

BENCHMARK = tuple(SMALL)[:15]
"""The corruptions that a mean is taken of; the other four are for choosing a recipe."""

_MADE = {
    "gaussian_noise": noises.gaussian_noise,
    "shot_noise": noises.shot_noise,
    "impulse_noise": noises.impulse_noise,
    "defocus_blur": blurs.defocus_blur,
    "glass_blur": blurs.glass_blur,
    "motion_blur": blurs.motion_blur,
    "zoom_blur": blurs.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg": compression.jpeg,
    "speckle_noise": noises.speckle_noise,
    "gaussian_blur": blurs.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
_SMALL_UP_TO = 96  # pixels of the shorter side, as of STL-10


@ranges.checked(severity=ranges.Range(at_least=1, at_most=5, whole=True))
def common(name: str, severity: int) -> Corruption:
    """One of the common corruptions, by its name in `SMALL`, whose severity is that of an image of its size.

    Up to 96 pixels it is `SMALL`'s, beyond `LARGE`'s. Tiny ImageNet-C has other ones for its 64 pixels, mostly stronger
    than `SMALL`'s: figures of 64 pixels are not comparable with it.

    Args:
      name: Name of the corruption.
      severity: Severity, 1 to 5.

    Raises:
      UserError: There is no such corruption; or, when it is called, the image is not [H, W, C] in [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> common("contrast", 3)(jax.random.key(0), jnp.array([[[0.25], [0.75]]]))[0, :, 0]
      Array([0.4, 0.6], dtype=float32)
    """
    if name not in _MADE:
        raise UserError(f"there is no corruption {name!r}; {nearest(name, _MADE)}")

    def corrupt(key: jax.Array, image: Image) -> Image:
        _check(image)
        table = SMALL if min(image.shape[:2]) <= _SMALL_UP_TO else LARGE
        return _MADE[name](*table[name][severity - 1])(key, image)

    return corrupt


def _check(image: Image) -> None:
    """Refuses what is no image in [0, 1], which would become white; values are not looked at under a trace."""
    dtype = jnp.result_type(image)
    if np.ndim(image) != 3 or not jnp.issubdtype(dtype, jnp.floating):
        raise UserError(f"the image is {dtype}{list(np.shape(image))}, expected floats [H, W, C]: pixels / 255 of one")
    if not isinstance(image, Tracer) and not (jnp.min(image) >= -1e-3 and jnp.max(image) <= 1 + 1e-3):
        raise UserError(f"the image has values from {jnp.min(image):g} to {jnp.max(image):g}, expected 0 to 1")


def commons(names: tuple[str, ...] = BENCHMARK) -> dict[str, tuple[Corruption, ...]]:
    """The common corruptions by name, each at severities 1 to 5.

    Example:
      >>> list(commons(("fog", "jpeg"))), len(commons(("fog",))["fog"])
      (['fog', 'jpeg'], 5)
    """
    return {name: tuple(common(name, severity) for severity in range(1, 6)) for name in names}
