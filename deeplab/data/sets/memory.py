"""Sets that are on no disk: arrays of one's own, and stand-ins of the right shape for smoke runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ImageSet, TextSet


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays(ImageSet):
    """Images and labels that are in memory already.

    Args:
      arrays: by split, (images, labels): [N, H, W, C] uint8, or floats in [0, 1], and [N] integers.
      class_names: one per label; "0", "1", ... up to the largest label when empty.
      mean: per channel, or one for all, of images in [0, 1].
      std: likewise.

    Example:
      >>> import deeplab as dl
      >>> rng = np.random.default_rng(0)
      >>> split = rng.integers(0, 256, (32, 4, 4, 1), np.uint8), np.arange(32) % 2
      >>> dl.data.Images(dl.data.arrays({"train": split, "test": split}), batch_size=8, epochs=1).num_classes
      2
    """

    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    name: str = "arrays"
    version: str = "1.0.0"
    citation: str = ""
    cached: ClassVar[bool] = False

    def __post_init__(self) -> None:
        largest = max((int(labels.max()) for _, labels in self.arrays.values() if len(labels)), default=0)
        names = self.class_names or tuple(str(label) for label in range(largest + 1))
        object.__setattr__(self, "class_names", names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        shape = next(iter(self.arrays.values()))[0].shape
        if len(shape) != 4:
            raise UserError(f"images have shape {shape}, expected [N, H, W, C], with C = 1 for grey ones")
        return shape[1], shape[2], shape[3]

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(images) for split, (images, _) in self.arrays.items()}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        image, label = self.arrays[split]
        return {"image": image, "label": label}


@dataclasses.dataclass(frozen=True)
class SyntheticImages(ImageSet):
    """Noise in the shape of another set; the label is the example's number modulo the number of classes."""

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sizes: tuple[tuple[str, int], ...]
    name: str = "synthetic"
    version: str = "1.0.0"
    citation: str = ""
    cached: ClassVar[bool] = False

    @property
    def splits(self) -> Mapping[str, int]:
        return dict(self.sizes)

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        size = self.splits[split]
        image = np.random.default_rng(size).integers(0, 256, (size, *self.image_shape), np.uint8)
        return {"image": image, "label": (np.arange(size) % len(self.class_names)).astype(np.int32)}


@dataclasses.dataclass(frozen=True)
class SyntheticText(TextSet):
    """Random characters, as many as `sizes` says.

    Where `characters` goes beyond ASCII there are more bytes than that; `Text` then counts the characters itself.
    """

    sizes: tuple[tuple[str, int], ...]
    characters: str | None = None
    name: str = "synthetic"
    version: str = "1.0.0"
    citation: str = ""
    cached: ClassVar[bool] = False

    @property
    def splits(self) -> Mapping[str, int]:
        return dict(self.sizes)

    def read(self, split: str, content: Content) -> bytes:
        alphabet = np.array(list(self.characters or "abcdefghijklmnopqrstuvwxyz ."))
        return "".join(np.random.default_rng(0).choice(alphabet, self.splits[split])).encode()
