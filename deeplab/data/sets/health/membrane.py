"""Membranes of neurons in electron-microscopy slices (ISBI challenge 2012)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from deeplab.data.prepare import images
from deeplab.data.prepare.files import Archive
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field
from deeplab.data.sets.image.masks import colored, decode_mask

_SIZE = 512
_ARCHIVE = Archive(
    "membrane.tar",
    "https://github.com/zhixuhao/unet/archive/b45af4d458437d8281cc218a07fd4380818ece4a.zip",
    size=6_493_197,
    pattern=r"train/(image|label)/\d+\.png$",
    sha256="e82ced2765584d5d4a4ace0484518fa7a6ca64d0f9a3c116befbce08aac96cd0",
)


@dataclasses.dataclass(frozen=True)
class Membrane(ExampleSet):
    """30 consecutive slices of 512 x 512 pixels of 4 x 4 nm, 50 nm apart, with their labels.

    The challenge's test labels are not public. Neighboring slices resemble each other, so the split is by blocks:
    slices 0 to 19 for training, 20 to 24 for validation, 25 to 29 for the test.
    """

    name: str = "membrane"
    version: str = "1.0.0"
    citation: str = (
        "Cardona et al.: An integrated micro- and macroarchitectural analysis of the Drosophila brain by "
        "computer-assisted serial section electron microscopy. PLoS Biology 8(10), 2010. "
        "https://doi.org/10.1371/journal.pbio.1000502"
    )
    files: tuple[Archive, ...] = (_ARCHIVE,)
    class_names: tuple[str, ...] = ("cell", "membrane")
    palette: tuple[tuple[int, int, int], ...] = ((255, 255, 255), (0, 0, 0))  # those of the label files

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(numbers) for split, numbers in _BLOCKS.items()}

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "image": Field((_SIZE, _SIZE, 1), "uint8"),
            "mask": Field((_SIZE, _SIZE), "uint8", below=len(self.class_names)),
        }

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        members = content.members(self.files[0].name)
        slices = [f"train/image/{n}.png" for n in _BLOCKS[split]]
        names = [f"train/label/{n}.png" for n in _BLOCKS[split]]
        masks = [decode_mask(members[name], {255: 0, 0: 1}, name) for name in names]
        image = np.stack([np.asarray(images.decode(members[name], name, 1)) for name in slices])[..., None]
        return {"image": image, "mask": np.stack(masks)}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The mask as a picture, and the share of membrane pixels."""
        mask = prediction["prediction"]
        return {"membrane": float(np.mean(mask == 1)), "mask": colored(mask, self.palette)}


_BLOCKS = {"train": range(20), "validation": range(20, 25), "test": range(25, 30)}


MEMBRANE = Membrane()
