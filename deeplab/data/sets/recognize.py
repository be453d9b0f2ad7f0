"""What a user's path holds, where it is clear."""

from __future__ import annotations

import collections
from pathlib import Path

from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.data.prepare import archives, folders, frame_sources, images, wav
from deeplab.data.sets.base import ExampleSet, TextSet
from deeplab.data.sets.huggingface import HuggingFace
from deeplab.data.sets.image.folder import ImageFolder
from deeplab.data.sets.image.mask_folders import MaskFolders
from deeplab.data.sets.speech.sounds import Sounds
from deeplab.data.sets.tabular.summary import TableSummary
from deeplab.data.sets.text.lines import TextLines
from deeplab.data.sets.tfds import PreparedTfds

_TABLES = frozenset({".csv", ".parquet", ".pq"})
_MASKS = frozenset({"masks", "labels", "annotations"})


def summary(path: Path) -> Printable:
    """The summary of a user's folder, archive, table or text.

    Raises:
      UserError: there is no such path, it cannot be read, or it is not clear what it is.
    """
    if path.suffix.lower() in _TABLES and path.is_file():
        return columns(path)
    return recognize(path).summary()


def recognize(path: Path) -> ExampleSet | TextSet:
    """The set that a folder, an archive or a text holds; images have 64 x 64 pixels.

    Raises:
      UserError: there is no such path, or it is not clear what it is.
    """
    if path.suffix.lower() == ".txt" and path.is_file():
        return TextLines(path)
    root = archives.folder(path)
    files = list(folders.files(root))
    suffixes = collections.Counter(file.suffix.lower() for file in files)
    inside = [folder.name for folder in folders.children(root) if folder.is_dir()]
    masks = [name for name in inside if name.lower() in _MASKS]
    if any(file.name == "dataset_info.json" for file in files):
        return PreparedTfds(str(root))
    if len(inside) == 2 and len(masks) == 1:
        (pictures,) = {*inside} - {*masks}
        return MaskFolders(root / pictures, root / masks[0], size=64)
    if suffixes[".parquet"]:
        return HuggingFace(root)
    counts = {
        "images": sum(suffixes[suffix] for suffix in images.SUFFIXES),
        "sounds": sum(suffixes[suffix] for suffix in wav.SUFFIXES),
        "texts": suffixes[".txt"],
    }
    if not any(counts.values()):
        raise UserError(
            f"{path} holds no images, sounds, texts or Parquet files; give a folder of them, or a table (.csv)"
        )
    most = max(counts, key=counts.__getitem__)
    return {"images": lambda: ImageFolder(path), "sounds": lambda: Sounds(path), "texts": lambda: TextLines(path)}[
        most
    ]()


def columns(path: Path) -> TableSummary:
    """The columns of a table, whatever is to be predicted from them."""
    frame, kinds, notes = frame_sources.read(path), {}, []
    for name in frame.columns:
        try:
            kinds[name] = frame.kind(name)
        except UserError as error:
            kinds[name] = "category"
            notes.append(str(error))
    return TableSummary(frame, kinds, {}, notes=tuple(notes))
