"""BCCD: blood cells in microscope images, with a box around each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare import images
from deeplab.data.prepare.files import Archive
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.detection import annotations, voc
from deeplab.data.sets.fields import Field, check_size

_LISTS = {"train": "train", "validation": "val", "test": "test"}
_COMMIT = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"
_ARCHIVE = Archive(
    "bccd.tar.gz",
    f"https://github.com/Shenggan/BCCD_Dataset/archive/{_COMMIT}.tar.gz",
    size=8_800_938,
    pattern=r"(JPEGImages/[^/]+\.jpg|Annotations/[^/]+\.xml|ImageSets/Main/[^/]+\.txt)$",
    sha256="debd2d76b13c300a3999f96a08cbe9ada5f231c3f882f9877a65a01a695872d1",
)


@dataclasses.dataclass(frozen=True)
class BCCD(ExampleSet):
    """364 images of blood smears with boxes around red cells, white cells and platelets, in the published splits.

    Batches hold `image`, `boxes` [B, 30, 4] in pixels of it, and `classes` [B, 30], -1 where there is no cell. Two
    boxes of no area are left out. Not every red cell has a box.

    Args:
      size: Height and width that the images are scaled to, from 480 and 640.
      joined: Whether the validation images are training images, too: for the last run, whose recipe is chosen.
    """

    size: tuple[int, int] = (240, 320)
    joined: bool = False
    name: str = "bccd"
    citation: str = (
        "Shenggan (images: cosmicad, akshaylamba): BCCD Dataset, 2017. https://github.com/Shenggan/BCCD_Dataset"
    )
    files: tuple[Archive, ...] = (_ARCHIVE,)
    class_names: tuple[str, ...] = ("RBC", "WBC", "Platelets")
    normalize: Normalize | None = CENTERED
    sizes: tuple[int, int, int] = (205, 87, 72)
    most: int = 30  # boxes in an image

    def __post_init__(self) -> None:
        check_size(self.size, 3)

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        height, width = self.size
        return f"1.0.0-{height}x{width}{'-joined' * self.joined}"

    @property
    def splits(self) -> Mapping[str, int]:
        train, validation, test = self.sizes
        if self.joined:
            return {"train": train + validation, "test": test}
        return {"train": train, "validation": validation, "test": test}

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "image": Field((*self.size, 3), "uint8", 0, 256),
            "boxes": Field((self.most, 4), "float32", 0, max(self.size)),
            "classes": Field((self.most,), "int32", -1, len(self.class_names)),
        }

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        members = content.members(self.files[0].name)
        chosen = "trainval" if self.joined and split == "train" else _LISTS[split]
        names = members[f"ImageSets/Main/{chosen}.txt"].decode().split()
        paths = [(f"JPEGImages/{name}.jpg", f"Annotations/{name}.xml") for name in names]
        pictures = [annotations.stretched(members[path], path, self.fields["image"].shape) for path, _ in paths]
        told = [voc.parse(members[path], path).objects for _, path in paths]
        cells = [[cell for cell in each if annotations.has_area(cell.box)] for each in told]
        made = annotations.padded(cells, [size for _, size in pictures], self.size, self.most, self.class_names)
        return {"image": np.stack([image for image, _ in pictures]), "boxes": made.boxes, "classes": made.classes}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        content = images.read_bytes(path)
        yield path.name, {"image": annotations.stretched(content, str(path), self.fields["image"].shape)[0]}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """How many cells of each kind there are, and where."""
        return annotations.described(prediction, self.class_names, self.size)


BLOOD_CELLS = BCCD()
