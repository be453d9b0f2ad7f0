"""Labeled texts as people have them: folders of text files by class, and lines of a label and a text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from deeplab.core.errors import UserError
from deeplab.data.prepare import folders, texts
from deeplab.data.prepare.folders import SPLITS
from deeplab.data.prepare.frames import Frame, objects

_SUFFIXES = (".txt", ".text")
Stamp = tuple[tuple[Path, int, int], ...]


def is_text(path: Path) -> bool:
    """Whether a file is read as plain text, by its suffix.

    Example:
      >>> [is_text(Path(name)) for name in ("a.TXT", "a.text", "a.pdf")]
      [True, True, False]
    """
    return path.suffix.lower() in _SUFFIXES


def of_folder(folder: Path) -> Frame:
    """Text files by class, `CLASS/*.txt`, or by split and class, `train/CLASS/*.txt`, one text a file: columns `text`,
    `label` and, where the folders say it, `split`.

    Files in folders below a class belong to it. Folders of splits are those of `prepare.folders.SPLITS`, and others
    beside "train"; a single folder of folders is passed through. What else is there is named in a warning.

    Args:
      folder: The folder.

    Raises:
      UserError: it holds no text file in a folder of a class, or a file is no UTF-8 text.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> for name, text in {"train/good/a.txt": "I laughed.", "train/bad/b.txt": "I slept."}.items():
      ...     (folder / name).parent.mkdir(parents=True)
      ...     _ = (folder / name).write_text(text, encoding="utf-8")
      >>> {name: column.tolist() for name, column in of_folder(folder).columns.items()}
      {'text': ['I slept.', 'I laughed.'], 'label': ['bad', 'good'], 'split': ['train', 'train']}
    """
    files = tuple(folders.files(folder))
    return _of_files(folder, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


def of_lines(path: Path) -> Frame:
    r"""Lines of a label, a tab and a text, as columns `text` and `label`; blank lines are left out.

    Args:
      path: The file.

    Raises:
      UserError: it is no UTF-8 text, holds no line, or a line has no tab; the message names the line.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "reviews.txt")
      >>> _ = path.write_text("good\tI laughed.\n\nbad\tI slept.\n", encoding="utf-8")
      >>> frame = of_lines(path)
      >>> frame.columns["text"].tolist(), frame.columns["label"].tolist(), frame.lines
      (['I laughed.', 'I slept.'], ['good', 'bad'], [1, 3])
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    return _of_lines(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _of_lines(path: Path, mtime: int) -> Frame:
    """The lines, kept, because a function of hyper-parameters is called often; `mtime` tells a changed file."""
    del mtime
    lines = texts.lines(path)
    if not lines:
        raise UserError(f"{path} is empty; expected lines of a label, a tab and a text")
    for number, line in lines.items():
        label, tab, text = line.partition("\t")
        if not (tab and label.strip() and text.strip()):
            raise UserError(
                f"{path}, line {number}: {line[:40]!r}, expected a label, a tab and a text; a file with the names of "
                "columns in its first row ends in .csv or .tsv"
            )
    cells = [line.partition("\t") for line in lines.values()]
    columns = {"text": [text.strip() for *_, text in cells], "label": [label.strip() for label, *_ in cells]}
    return Frame({name: objects(column) for name, column in columns.items()}, str(path), list(lines))


@functools.lru_cache(maxsize=8)
def _of_files(folder: Path, stamp: Stamp) -> Frame:
    paths = [path for path, *_ in stamp if is_text(path)]
    root, tops = _root(paths, folder)
    splits = {SPLITS.get(top.lower()) for top in tops}
    if tops and None not in splits and "train" not in splits:
        raise UserError(f"{root} has the folders {', '.join(tops)}, but none to train on; name that one train")
    depth = 3 if "train" in splits else 2
    placed = [path for path in paths if root in path.parents and len(path.relative_to(root).parts) >= depth]
    read = {path: text for path in placed if (text := texts.read(path).strip())}
    folders.tell(
        folder,
        "files are in no folder of a class, or no .txt, and are left out",
        sorted({path for path, *_ in stamp} - {*placed}),
    )
    folders.tell(folder, "text files are empty, and are left out", [path for path in placed if path not in read])
    if not read:
        raise UserError(f"{folder} holds no texts; expected {folder}/CLASS/*.txt, or {folder}/train/CLASS/*.txt")
    parts = [path.relative_to(root).parts for path in read]
    columns = {"text": list(read.values()), "label": [part[depth - 2] for part in parts]}
    if depth == 3:
        columns["split"] = [SPLITS.get(part[0].lower(), part[0]) for part in parts]
    return Frame({name: objects(column) for name, column in columns.items()}, str(folder))


def _root(paths: Sequence[Path], folder: Path) -> tuple[Path, list[str]]:
    """The folder of the classes or splits, and their names; a single folder of folders is passed through."""
    inside = [path.relative_to(folder).parts for path in paths if folder in path.parents and path.parent != folder]
    tops = sorted({parts[0] for parts in inside})
    if len(tops) == 1 and tops[0].lower() not in SPLITS and any(len(parts) > 2 for parts in inside):
        return _root(paths, folder / tops[0])
    return folder, tops
