"""From images of any size to what a model reads, as a folder says it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError, nearest
from deeplab.data.normalize import Standardize
from deeplab.hub.sounds import Spectrograms, Waveforms, read_sounds

FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""The filters of Pillow, by their numbers there."""

Images = np.ndarray | Sequence[np.ndarray]
"""An image [H, W, C] of bytes or of Pillow, or several."""


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resizes, cuts out the center, and normalizes.

    Args:
      size: Height and width of what the model reads, in pixels.
      mean: Mean of each channel of images in [0, 1].
      std: Standard deviation of each channel.
      resize: Height and width before the center is cut out; or the length of the shorter side, whose ratio to the other
        is kept; nothing is resized when None.
      interpolation: Name of a filter of Pillow.
      offset: Function from half of the rows that are cut off to the first that is kept: `round` in torchvision, `int`
        in transformers.

    Example:
      >>> prepare = Preprocess((4, 4), (0.5,) * 3, (0.5,) * 3, resize=6)
      >>> prepare(np.full((12, 30, 3), 255, np.uint8)).shape
      (1, 4, 4, 3)
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | tuple[int, int] | None = None
    interpolation: str = "bicubic"
    offset: Callable[[float], int] = round

    def __call__(self, images: Images) -> np.ndarray:
        """Float32 images [B, H, W, C].

        Args:
          images: An image [H, W, C] of bytes or of Pillow, or several, of one size or of many.

        Raises:
          UserError: They are no bytes, or an image has other channels than the model reads, or is too small.
        """
        return _normalized([self._fitted(image) for image in _several(images)], self.mean, self.std)

    @property
    def standardize(self) -> Standardize:
        """Its mean and standard deviation, for images in [0, 1] of an experiment."""
        return Standardize(self.mean, self.std)

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        image = _resized(_checked(image, len(self.mean)), self.resize, self.interpolation)
        cut = [have - want for have, want in zip(image.shape, self.size, strict=False)]
        if min(cut) < 0:
            raise UserError(f"an image is {list(image.shape[:2])} pixels, expected at least {list(self.size)}")
        top, left = (self.offset(excess / 2) for excess in cut)
        return image[top : top + self.size[0], left : left + self.size[1]]


@dataclasses.dataclass(frozen=True)
class PreprocessPatches:
    """Resizes to as many whole patches as a model reads, which nearly keeps the ratio of the sides, and normalizes.

    Args:
      patch: Height and width of a patch in pixels.
      num_patches: Largest number of patches of an image.
      mean: Mean of each channel of images in [0, 1].
      std: Standard deviation of each channel.
      interpolation: Name of a filter of Pillow.

    Example:
      >>> prepare = PreprocessPatches(patch=4, num_patches=6, mean=(0.5,) * 3, std=(0.5,) * 3)
      >>> prepare(np.full((20, 30, 3), 255, np.uint8)).shape
      (1, 8, 12, 3)

    Source: Tschannen et al. 2025, "SigLIP 2", https://arxiv.org/abs/2502.14786, section 2.4.
    """

    patch: int
    num_patches: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    def __call__(self, images: Images) -> np.ndarray:
        """Float32 images [B, H, W, C].

        Args:
          images: An image [H, W, C] of bytes or of Pillow, or several, whose sides have nearly one ratio.

        Raises:
          UserError: They are no bytes, an image has other channels than the model reads, or they become images of
            several sizes.
        """
        checked = [_checked(image, len(self.mean)) for image in _several(images)]
        sizes = [self._size(*image.shape[:2]) for image in checked]
        if len(set(sizes)) > 1:
            found = ", ".join(f"{height} x {width}" for height, width in sorted(set(sizes)))
            raise UserError(f"the images become {found} pixels; give those that become one size together")
        fitted = [_resized(image, size, self.interpolation) for image, size in zip(checked, sizes, strict=True)]
        return _normalized(fitted, self.mean, self.std)

    @property
    def standardize(self) -> Standardize:
        """Its mean and standard deviation, for images in [0, 1] of an experiment."""
        return Standardize(self.mean, self.std)

    def _size(self, *sides: int) -> tuple[int, int]:
        """Whole patches of the largest scale at which they fit, found by halves to 1e-5 as transformers does."""

        def patches(scale: float) -> list[int]:
            return [max(1, math.ceil(side * scale / self.patch)) for side in sides]

        fits, not_fits = 1e-6, 100.0
        while not_fits - fits >= 1e-5:
            middle = (fits + not_fits) / 2
            fits, not_fits = (middle, not_fits) if math.prod(patches(middle)) <= self.num_patches else (fits, middle)
        rows, columns = patches(fits)
        return rows * self.patch, columns * self.patch


def _several(images: Any) -> list[np.ndarray]:
    """Arrays of one image or of several, which Pillow may have opened."""
    several = list(images) if isinstance(images, list | tuple) or np.ndim(images) == 4 else [images]
    if not several:
        raise UserError("there are no images, expected one at least")
    return [np.asarray(image) for image in several]


def _checked(image: np.ndarray, channels: int) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != channels or not image.size:
        hint = "; image.convert('RGB') makes it of an image of Pillow" if channels == 3 and image.ndim in (2, 3) else ""
        raise UserError(f"an image is {image.dtype} {list(image.shape)}, expected uint8 [H, W, {channels}]{hint}")
    return image


def _normalized(images: Sequence[np.ndarray], mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    center, spread = (np.asarray(numbers, np.float32)[None, None, None] for numbers in (mean, std))
    return (np.stack(images).astype(np.float32) / 255 - center) / spread


def _resized(image: np.ndarray, size: int | tuple[int, int] | None, interpolation: str) -> np.ndarray:
    from PIL import Image

    if isinstance(size, int):
        height, width = image.shape[:2]
        long = int(size * max(height, width) / min(height, width))
        size = (size, long) if height <= width else (long, size)
    if size is None or size == image.shape[:2]:
        return image
    filtered = Image.fromarray(image).resize((size[1], size[0]), FILTERS.index(interpolation))
    return np.asarray(filtered)


def read_preprocess(
    folder: Path, config: Mapping[str, Any]
) -> Preprocess | PreprocessPatches | Spectrograms | Waveforms | None:
    """What a folder says: preprocessor_config.json of transformers, or "pretrained_cfg" of timm; None without either.

    Raises:
      UserError: It asks for what is not known here.
    """
    file = folder / "preprocessor_config.json"
    if file.exists():
        said = json.loads(file.read_text(encoding="utf-8"))
        return _transformers(said) if "image_mean" in said else read_sounds(said)
    said = config.get("pretrained_cfg") or {}
    return _timm(said) if "mean" in said else None


def _transformers(said: Mapping[str, Any]) -> Preprocess | PreprocessPatches:
    if "max_num_patches" in said:
        mean, std = tuple(said["image_mean"]), tuple(said["image_std"])
        filtered = FILTERS[int(said.get("resample", 2))]
        return PreprocessPatches(said["patch_size"], said["max_num_patches"], mean, std, filtered)
    resize = _side(said.get("size") or 224) if said.get("do_resize", True) else None
    crop = said.get("crop_size") if said.get("do_center_crop", "crop_size" in said) else None
    final = resize if crop is None else _side(crop)
    if isinstance(final, int):
        final = (final, final)
    if final is None or not said.get("do_normalize", True) or abs(said.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise UserError("preprocessor_config.json: images of their own size, or in other units, are not supported")
    mean, std = tuple(said["image_mean"]), tuple(said["image_std"])
    return Preprocess(final, mean, std, resize, FILTERS[int(said.get("resample", 2))], int)


def _side(said: int | Mapping[str, int]) -> int | tuple[int, int]:
    """A size as transformers says it: of the shorter side, or of both."""
    if isinstance(said, int):
        return said
    if set(said) == {"shortest_edge"}:
        return said["shortest_edge"]
    if set(said) == {"height", "width"}:
        return said["height"], said["width"]
    raise UserError(f"preprocessor_config.json: a size of {', '.join(said)} is not supported")


def _timm(said: Mapping[str, Any]) -> Preprocess:
    height, width = said["input_size"][1:]
    mode, interpolation = said.get("crop_mode") or "center", said.get("interpolation") or "bicubic"
    if interpolation not in FILTERS:
        raise UserError(f"config.json: interpolation {interpolation!r} is not known; {nearest(interpolation, FILTERS)}")
    before = tuple(math.floor(side / (said.get("crop_pct") or 0.875)) for side in (height, width))
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        raise UserError(f"config.json: crop_mode {mode!r} to {height} x {width} pixels is not supported")
    resize = before[0] if mode == "center" else (before[0], before[1])
    return Preprocess((height, width), tuple(said["mean"]), tuple(said["std"]), resize, interpolation)
