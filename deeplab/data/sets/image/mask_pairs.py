"""Images and masks of the same names, in two folders or in one."""

from __future__ import annotations

import collections
from pathlib import Path

from deeplab.core.errors import UserError
from deeplab.data.prepare import folders, images


def find(pictures: Path, masks: Path, suffix: str) -> dict[Path, Path]:
    """The mask of each image below a folder; images without one, and masks without an image, are told.

    Args:
      pictures: Folder of the images.
      masks: Folder of the masks, which may be the same or inside it.
      suffix: What the stem of a mask adds to its image's.

    Raises:
      UserError: no image has a mask, or two masks (or images) have one name.
    """

    def named(root: Path, path: Path) -> str:
        return (path.relative_to(root).parent / path.stem).as_posix()

    by_name: dict[str, Path] = {}
    by_stem: dict[str, list[Path]] = {}
    for path in filter(_is_image, folders.files(masks)):
        if not path.stem.endswith(suffix):
            continue
        key = named(masks, path).removesuffix(suffix)
        if (other := by_name.setdefault(key, path)) != path:
            raise UserError(f"{other} and {path} are masks of one name; keep one")
        by_stem.setdefault(path.stem.removesuffix(suffix), []).append(path)
    used = {path: path for path in by_name.values()}
    files = [path for path in filter(_is_image, folders.files(pictures)) if path not in used]
    stems = collections.Counter(path.stem for path in files)
    found: dict[Path, Path] = {}
    for path in files:
        same = by_stem.get(path.stem, [])
        only = same[0] if len(same) == 1 and stems[path.stem] == 1 else None
        if (mask := by_name.get(named(pictures, path), only)) is not None:
            found[path] = mask
    if not found:
        first = f", such as {files[0].stem}{suffix}.png for {files[0].name}" if files else ""
        raise UserError(f"no image below {pictures} has a mask below {masks}; expected masks of the same names{first}")
    if len(set(found.values())) < len(found):
        raise UserError(f"two images below {pictures} have one name, and so one mask; keep one")
    folders.tell(pictures, "images have no mask, and are left out", [path for path in files if path not in found])
    folders.tell(masks, "masks have no image, and are left out", sorted({*used} - {*found.values()}))
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES
