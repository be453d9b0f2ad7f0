"""A user's own images with boxes: a table, a folder in VOC's layout, or COCO's JSON."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare import folders, images
from deeplab.data.sets import listed, listing
from deeplab.data.sets.detection import coco, table, voc
from deeplab.data.sets.detection.annotations import Annotations, check_told, checked, described, padded, stretched
from deeplab.data.sets.fields import Field, check_size
from deeplab.data.sets.listed import Listed
from deeplab.data.sets.listing import Listing

_TABLES = (".csv", ".parquet", ".pq", ".tsv", ".txt")


@dataclasses.dataclass(frozen=True)
class Boxes(Listed):
    """Images with a box around each object, for `Detection(data.class_names)`.

    Batches hold `image`, `boxes` [B, M, 4] in pixels of it, (x_min, y_min, x_max, y_max), `classes` [B, M], -1 where
    there is no object, and `ignored` [B, M], of crowds and of what is called difficult; average precision takes both
    for COCO's crowds. M is the largest number of objects in an image. An image is read upright, on white, and all of
    it is scaled to `size`; boxes with it. Boxes without area are left out, with a warning, and an image of another
    size than its annotations tell is an error.

    The source is one of these:
      - a CSV file with a row for each box (or Parquet, a data frame, a dict of columns). Several rows name one image; a
        row with nothing but the image is one without objects.
      - a folder or archive in the layout of PASCAL VOC: Annotations, JPEGImages, ImageSets/Main for the splits.
      - a JSON file of COCO's instances, or one for each split, {"train": "train.json", "test": "test.json"}.

    Args:
      source: See above.
      root: Folder that the names of the images are relative to; that of the table or JSON when None.
      image: Name of the column with the names of the image files, which may lack their suffix.
      label: Name of the column with the class.
      corners: Names of the columns with x_min, y_min, x_max and y_max in pixels.
      classes: Names of the classes in their order; others are then errors. Those that occur, sorted, when empty.
      size: Height and width in pixels, or both.
      channels: 3 for color, 1 for gray.
      normalize: Normalization of the images in [0, 1].

    Raises:
      UserError: the source cannot be read, an image has no file or cannot be decoded, a box lies outside of its image
        or has swapped corners, a class is unknown, or a split is empty.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> folder = Path(tempfile.mkdtemp())
      >>> for i in range(10):
      ...     Image.new("RGB", (40, 20)).save(folder / f"{i}.png")
      >>> rows = {"image": [f"{i}.png" for i in range(10)], "class": ["cat", "dog"] * 5}
      >>> sides = {"xmin": [4] * 10, "ymin": [0] * 10, "xmax": [8] * 10, "ymax": [20] * 10}
      >>> cats = Boxes(rows | sides, root=folder, size=20)
      >>> dict(cats.splits), cats.class_names, cats.open("test").arrays["boxes"][0].tolist()
      ({'train': 8, 'test': 2}, ('cat', 'dog'), [[2.0, 0.0, 4.0, 20.0]])
    """

    source: Any
    root: str | Path | None = None
    image: str = "image"
    label: str = "class"
    corners: tuple[str, str, str, str] = ("xmin", "ymin", "xmax", "ymax")
    classes: Sequence[str] = ()
    size: int | tuple[int, int] = 256
    channels: int = 3
    normalize: Normalize | None = CENTERED
    name: str = "boxes"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.size, self.channels)
        if len(self.corners) != 4:
            raise UserError(f"corners is {self.corners}, expected four columns: of x_min, y_min, x_max and y_max")
        if isinstance(self.classes, str):
            raise UserError(f"classes is {self.classes!r}, expected a sequence of names, such as ({self.classes!r},)")
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        if not isinstance(self.source, str | Path) and not _are_json(self.source):
            object.__setattr__(self, "source", listed.table(self.source, self.root)[0])

    @functools.cached_property
    def _annotations(self) -> Annotations:
        given = self.source
        if _are_json(given):
            read = coco.read({"": given} if isinstance(given, str | Path) else given, self.root)
        elif isinstance(given, str | Path) and Path(given).suffix.lower() not in _TABLES:
            read = voc.read(given)
        else:
            read = table.read(given, self.root, self.image, self.label, self.corners, self.split, self.group)
        made, empty = checked(read, self.classes)
        folders.tell(made.images.where, "boxes have no area, and are left out", empty)
        return made

    @functools.cached_property
    def listing(self) -> Listing:
        told = self._annotations
        frame = told.images
        for name, given in (("split", self.split), ("group", self.group)):
            if given and name not in frame.columns:
                raise UserError(f"{name}={given!r} is a column of a table, and {frame.where} is none")
        rows = self.part(frame, np.zeros(len(frame)), "split" * ("split" in frame.columns), "group" * bool(self.group))
        groups = frame.texts("group") if self.group else None
        found = listing.paths(frame, "image", told.root, images.SUFFIXES)
        return Listing(frame.where, found, rows, {}, told.class_names, groups)

    @property
    def most(self) -> int:
        """The largest number M of objects in an image."""
        return max(map(len, self._annotations.objects))

    @property
    def fields(self) -> Mapping[str, Field]:
        size = check_size(self.size, self.channels)
        return {
            "image": Field((*size, self.channels), "uint8", 0, 256),
            "boxes": Field((self.most, 4), "float32", 0, max(size)),
            "classes": Field((self.most,), "int32", -1, len(self.class_names)),
            "ignored": Field((self.most,), "bool"),
        }

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return hashlib.sha256(repr((super().version, self._annotations.digest)).encode()).hexdigest()[:16]

    def load(self, paths: Sequence[Path]) -> Mapping[str, np.ndarray]:
        shape, sizes = self.fields["image"].shape, {}
        known, annotations = self.listing.paths, self._annotations
        told = dict(zip(known, annotations.sizes or [(0, 0)] * len(known), strict=True))

        def load(path: Path, shape: tuple[int, ...]) -> np.ndarray:
            image, sizes[path] = stretched(images.read_bytes(path), str(path), shape)
            check_told(path, sizes[path], told[path])
            return image

        loaded = images.load_all(paths, shape, load)
        of = dict(zip(known, annotations.objects, strict=True))
        objects, seen = [of[path] for path in paths], [sizes[path] for path in paths]
        size = check_size(self.size, self.channels)
        return {"image": loaded, **padded(objects, seen, size, self.most, self.class_names)._asdict()}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        yield path.name, {"image": stretched(images.read_bytes(path), str(path), self.fields["image"].shape)[0]}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """How many objects of each class there are, and where."""
        return described(prediction, self.class_names, check_size(self.size, self.channels))


def _are_json(source: Any) -> bool:
    """Whether a source is a path of JSON, or one for each split."""
    paths = [*source.values()] if isinstance(source, Mapping) else [source]
    return all(isinstance(path, str | Path) and str(path).lower().endswith(".json") for path in paths)
