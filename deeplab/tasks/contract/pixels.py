"""Images as tasks read them: floats in [0, 1], which bytes would pass for where nothing else tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from deeplab.core.errors import UserError

DRAWN_BEYOND = 4.0
"""How far beyond 0 and 1 what a sampler draws may be, which need not have learned much: bytes are farther."""


def in_units(image: Any, owner: str, shape: Sequence[int] | None = None, slack: float | None = 0.0) -> Any:
    """The images, if they are floats in [0, 1] of the shape; values of a traced program cannot be looked at.

    Args:
      image: Images [B, ...].
      owner: Name of what reads them.
      shape: Shape of an image; any when None.
      slack: How far beyond 0 and 1 they may be, as what a sampler draws is; values are not looked at when None.

    Raises:
      UserError: They are not.

    Example:
      >>> in_units(np.zeros((1, 2, 2, 1), np.uint8), "VAE")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: VAE reads images uint8[1, 2, 2, 1], expected floats in [0, 1]; divide bytes ...
    """
    dtype = image.dtype if hasattr(image, "dtype") else np.asarray(image).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise UserError(
            f"{owner} reads images {dtype}{list(np.shape(image))}, expected floats in [0, 1]; divide bytes by 255, as "
            "dl.data.Images does"
        )
    if shape is not None and np.shape(image)[1:] != tuple(shape):
        raise UserError(
            f"images of the data are {list(np.shape(image)[1:])}, and {owner} has shape={tuple(shape)}; give it the "
            "data's image_shape"
        )
    if slack is not None and not isinstance(image, Tracer) and np.size(image):
        low, high = float(np.min(image)), float(np.max(image))
        if not (-slack <= low and high <= 1 + slack):
            raise UserError(f"{owner} reads images from {low:.3g} to {high:.3g}, expected floats in [0, 1]; scale them")
    return image
