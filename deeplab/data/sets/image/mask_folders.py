"""A user's own images with masks: a folder of images, and one of masks with the same names."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare import archives, cache, folders, images
from deeplab.data.sets import listed, listing
from deeplab.data.sets.fields import Field, check_size
from deeplab.data.sets.image import mask_pairs, mask_values
from deeplab.data.sets.image.mask_values import Value
from deeplab.data.sets.image.masks import described
from deeplab.data.sets.listed import Listed
from deeplab.data.sets.listing import Listing

_FORMAT = 1  # of the counted masks


@dataclasses.dataclass(frozen=True)
class MaskFolders(Listed):
    """Images with a mask each, for `Segmentation(data.class_names, void=pictures.void)`.

    `photos/a.jpg` belongs to `masks/a.png`, `photos/train/x/b.jpg` to `masks/train/x/b.png`, or to the only mask of
    that stem. The folders `train`, `val` and `test` of the images are splits; without them the shares are drawn. The
    classes are the values that the masks hold, in their order: gray values, indices of a palette, or colors. A mask is
    scaled and cropped as its image is, to the nearest pixel, so it may have another size of the same shape.

    Pixels of the value `ignore` get the label `void`, the number after the last class, and do not count. They are a
    class where there is only one other: masks of 0 and 255 have two.

    Args:
      images: Folder or archive of the images.
      masks: Folder or archive of the masks, without loss (PNG, TIFF, ...): JPEG changes values.
      class_names: Names of the classes in the order of their values; the values when empty.
      values: Value of each class: an integer or an (R, G, B); found when empty. Others are then errors.
      ignore: Value of pixels that do not count; None if all do.
      suffix: What the stem of a mask adds to its image's, such as "_mask".
      size: Height and width in pixels, or both.
      channels: 3 for color, 1 for gray.
      normalize: Normalization of the images in [0, 1].

    Raises:
      UserError: a folder is missing, no image has a mask, a file cannot be decoded, the masks hold too many values, or
        not as many as there are names.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> folder = Path(tempfile.mkdtemp())
      >>> for i in range(10):
      ...     for name in ("photos", "masks"):
      ...         (folder / name).mkdir(exist_ok=True)
      ...     Image.new("RGB", (40, 30)).save(folder / f"photos/{i}.jpg")
      ...     Image.fromarray(np.eye(30, 40, dtype=np.uint8) * 255).save(folder / f"masks/{i}.png")
      >>> lines = MaskFolders(folder / "photos", folder / "masks", ("ground", "line"), size=16)
      >>> dict(lines.splits), lines.class_names, lines.fields["mask"].shape
      ({'train': 8, 'test': 2}, ('ground', 'line'), (16, 16))
    """

    images: str | Path
    masks: str | Path
    class_names: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()
    ignore: Value | None = 255
    suffix: str = ""
    size: int | tuple[int, int] = 128
    channels: int = 3
    normalize: Normalize | None = CENTERED
    name: str = "masks"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.size, self.channels)
        if self.split:
            raise UserError(f"split={self.split!r} is a column, and masks has none; make folders train, val and test")
        given, names = tuple(map(mask_values.code, self.values)), tuple(map(str, self.class_names))
        where = str(self.masks)
        codes = given or mask_values.choose(self._counts[0].tolist(), names, self._ignored, where)
        if given:
            mask_values.check(self._counts[0].tolist(), codes, self._ignored, where)
        if names and len(names) != len(codes):
            told = ", ".join(str(mask_values.value(code)) for code in codes)
            raise UserError(f"class_names has {len(names)} names for the {len(codes)} values of {where}: {told}")
        object.__setattr__(self, "class_names", names or tuple(mask_values.name(code) for code in codes))
        object.__setattr__(self, "values", tuple(map(mask_values.value, codes)))

    @property
    def _ignored(self) -> int | None:
        return None if self.ignore is None else mask_values.code(self.ignore)

    @property
    def void(self) -> int:
        """The label of pixels that do not count: the number after the last class."""
        return len(self.class_names)

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """Color of each class: that of the masks, where they have one."""
        codes, _, known = self._counts
        told = dict(zip(codes.tolist(), known.tolist(), strict=True))
        chosen = [told.get(mask_values.code(value), [-1] * 3) for value in self.values]
        own = [tuple(color) for color in chosen if color[0] >= 0]
        # A palette of grays, as of a mask that was converted, tells the classes apart no better than none.
        if len(set(own)) < len(chosen) or all(len({*color}) == 1 for color in own):
            return tuple(mask_values.colors(len(chosen)))
        return tuple(own)  # pyright: ignore[reportReturnType]  (triples)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the pixels of the training masks that each class has, of those that count."""
        codes, counts, _ = self._counts
        number = {path: row for row, path in enumerate(self._pairs)}
        paths = self.listing.paths
        train = counts[[number[paths[row]] for row in self.listing.rows["train"]]].sum(axis=0)
        told = dict(zip(codes.tolist(), train.tolist(), strict=True))
        each = [told.get(mask_values.code(value), 0) for value in self.values]
        return tuple(pixels / max(1, sum(each)) for pixels in each)

    @property
    def fields(self) -> Mapping[str, Field]:
        size, codes = check_size(self.size, self.channels), [mask_values.code(value) for value in self.values]
        void = self._ignored in self._counts[0].tolist() and self._ignored not in codes
        return {
            "image": Field((*size, self.channels), "uint8", 0, 256),
            "mask": Field(size, "uint8", below=self.void + void),
        }

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        masks = listed.stats([*self._pairs.values()])
        made_from = (super().version, masks, self.values, self._ignored)
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]

    @functools.cached_property
    def listing(self) -> Listing:
        root = archives.folder(self.images)
        splits = {path: folders.split(path.relative_to(root)) for path in self._pairs}
        if "train" not in splits.values():
            splits = dict.fromkeys(splits, "")
        elif stray := [path for path, split in splits.items() if not split]:
            folders.tell(self.images, "images lie in no folder of a split, and are left out", stray)
            splits = {path: split for path, split in splits.items() if split}
        files = [*splits]
        frame = listing.of_folder(root, files, [*splits.values()], self.group)
        rows = self.part(frame, np.zeros(len(files)), "split" * any(splits.values()), "group" * bool(self.group))
        groups = frame.texts("group") if self.group else None
        return Listing(str(self.images), tuple(files), rows, {}, self.class_names, groups)

    @functools.cached_property
    def _pairs(self) -> dict[Path, Path]:
        """The mask of each image, in the order of the images' names."""
        return mask_pairs.find(archives.folder(self.images), archives.folder(self.masks), self.suffix)

    @functools.cached_property
    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The values of all masks, how many pixels of each mask have them, and their colors; see `mask_values.count`.

        Kept in the cache: counting reads every mask.
        """
        masks = [*self._pairs.values()]
        lossy = any(path.suffix.lower() in mask_values.LOSSY for path in masks)
        values = [*map(mask_values.code, self.values)] if lossy else []
        made_from = (_FORMAT, listed.stats(masks), values)
        key = hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]
        folder = cache.cache_dir() / self.name / key / "values"
        found = cache.arrays(folder, lambda: mask_values.count(masks, values))
        return found["codes"], found["counts"], found["colors"]

    def load(self, paths: Sequence[Path]) -> Mapping[str, np.ndarray]:
        shape, sizes = self.fields["image"].shape, {}
        codes = [*map(mask_values.code, self.values)]

        def image(path: Path, shape: tuple[int, ...]) -> np.ndarray:
            seen = images.decode(images.read_bytes(path), str(path), shape[-1])
            sizes[path] = seen.size
            return images.fit(seen, shape)

        def mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
            found = mask_values.read(self._pairs[path], codes)
            (width, height), (rows, columns) = sizes[path], found.shape
            if abs(width * rows - height * columns) > 0.02 * width * rows:
                raise UserError(
                    f"{self._pairs[path]} has {columns} x {rows} pixels, and its image {path.name} {width} x {height}; "
                    "expected the same shape (images are turned as their EXIF orientation says)"
                )
            labels = np.full(found.shape, self.void, np.uint8)
            for label, code in enumerate(codes):
                labels[found == code] = label
            return images.fit_labels(labels, shape)

        loaded = images.load_all(paths, shape, image)
        return {"image": loaded, "mask": images.load_all(paths, shape[:2], mask)}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The mask as a picture, and the shares of the classes in it."""
        return described(prediction["prediction"], self.class_names, self.palette)
