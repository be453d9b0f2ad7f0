"""Which files of a user are examples, and what is known of each: from a table, or from folders."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from deeplab.core.errors import UserError, nearest
from deeplab.data.prepare.frames import Frame, objects
from deeplab.data.sets.tabular.splitting import Rows

_SHOWN = 5  # files that a message names
_TRUTH = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
_SEPARATORS = ";|, "


class Listing(NamedTuple):
    """The files that are examples.

    Attributes:
      where: Name of the table or folder, for messages.
      paths: File of each example, [N].
      rows: Examples of each split.
      targets: Fields that the table or the folders tell, [N, ...].
      class_names: Names of the classes, the labels or the characters.
      groups: Group of each example, such as the speaker, [N]; None where none is given.
      scale: Mean and standard deviation of a number over the training examples.
    """

    where: str
    paths: tuple[Path, ...]
    rows: Rows
    targets: Mapping[str, np.ndarray]
    class_names: tuple[str, ...] = ()
    groups: Shaped[np.ndarray, " N"] | None = None
    scale: tuple[float, float] = (0.0, 1.0)


@functools.lru_cache(maxsize=8)
def paths(frame: Frame, column: str, root: Path, suffixes: Collection[str]) -> tuple[Path, ...]:
    """The file that each row names; kept, because a function of hyper-parameters is called often.

    A name may lack its suffix, where only one file has its stem.

    Args:
      frame: The table.
      column: Name of the column with the names of the files.
      root: Folder that the names are relative to.
      suffixes: Suffixes, in lower case, that a name may lack.

    Raises:
      UserError: a name is missing, files are not there (the message counts them), or two rows name the same file.
    """
    frame.check(column, "the name of the file")
    texts: list[str | None] = frame.texts(column).tolist()
    found: list[Path] = []
    gone: list[int] = []
    known: dict[Path, Mapping[str, Sequence[str]]] = {}
    for row, text in enumerate(texts):
        if text is None:
            raise UserError(f"{frame.at(column, row)}: empty, expected the name of a file")
        path = Path(os.path.normpath(root / text.replace("\\", "/")))
        if path.parent not in known:
            known[path.parent] = _names(path.parent, suffixes)
        match = known[path.parent].get(path.name, ())
        gone += [row] * (len(match) != 1)
        found.append(path.with_name(match[0]) if match else path)
    if gone:
        told = ", ".join(f"{texts[row]} (row {frame.row(row)})" for row in gone[:_SHOWN])
        near = {name for names in known.values() for name in names}
        raise UserError(
            f"{len(gone):,} of the {len(texts):,} files that {frame.where} names are not in {root}: {told}"
            f"{', ...' if len(gone) > _SHOWN else ''}; give root=FOLDER, correct the names, or remove the rows"
            + (f" ({nearest(Path(str(texts[gone[0]])).name, near)})" if 0 < len(near) < 2000 else "")
        )
    first: dict[Path, int] = {}
    for row, path in enumerate(found):
        if (other := first.setdefault(path, row)) != row:
            raise UserError(
                f"{frame.at(column, row)}: {texts[row]!r}, which row {frame.row(other)} names, too; give a file one row"
            )
    return tuple(found)


def _names(folder: Path, suffixes: Collection[str]) -> Mapping[str, Sequence[str]]:
    """The files of a folder by their names, and by their stems."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_file()] if folder.is_dir() else []
    found: dict[str, Sequence[str]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes:
            found[stem] = (*found.get(stem, ()), name)
    return found | {name: (name,) for name in names}


def classes(frame: Frame, column: str, given: Sequence[str] = ()) -> tuple[Int[np.ndarray, " N"], tuple[str, ...]]:
    """The class of each row as a number, and the names of the classes: those that are given, else sorted.

    Raises:
      UserError: a cell is empty, or none of the given classes.
    """
    cells = present(frame, column, "the class")
    told = tuple(given) or tuple(sorted(set(cells)))
    number = {name: i for i, name in enumerate(told)}
    for row, cell in enumerate(cells):
        if cell not in number:
            raise UserError(f"{frame.at(column, row)}: the class {cell!r}; {nearest(cell, told)}")
    return np.array([number[cell] for cell in cells], np.int32), told


def several(frame: Frame, columns: Sequence[str]) -> Bool[np.ndarray, "N K"]:
    """Labels that are columns of 0 and 1 (or false and true).

    Raises:
      UserError: a cell holds something else.
    """
    made = np.zeros((len(frame), len(columns)), bool)
    for k, column in enumerate(columns):
        for row, cell in enumerate(present(frame, column, "a label")):
            if (truth := _TRUTH.get(cell.lower())) is None:
                raise UserError(f"{frame.at(column, row)}: {cell!r}, expected 0 or 1")
            made[row, k] = truth
    return made


def separated(
    frame: Frame, column: str, separator: str, given: Sequence[str] = ()
) -> tuple[Bool[np.ndarray, "N K"], tuple[str, ...]]:
    """Labels that are one column of texts such as "cat;dog", and their names: those that are given, else sorted.

    An empty cell has no label.

    Raises:
      UserError: a label is none of the given, or the cells are separated otherwise.
    """
    cells = frame.texts(frame.check(column, "the labels"))
    lists = [[label for part in (cell or "").split(separator) if (label := part.strip())] for cell in cells]
    told = tuple(given) or tuple(sorted({label for labels in lists for label in labels}))
    if not any(len(labels) > 1 for labels in lists):
        for other in _SEPARATORS:
            if (count := sum(other in (cell or "") for cell in cells)) and not given:
                raise UserError(
                    f"no cell of column {column!r} of {frame.where} holds the separator {separator!r}, and {count:,} "
                    f"hold {other!r}; give separator={other!r}, or the names of all labels as classes=(...)"
                )
    number, made = {name: k for k, name in enumerate(told)}, np.zeros((len(cells), len(told)), bool)
    for row, labels in enumerate(lists):
        for label in labels:
            if label not in number:
                raise UserError(f"{frame.at(column, row)}: the label {label!r}; {nearest(label, told)}")
            made[row, number[label]] = True
    return made, told


def number(frame: Frame, column: str) -> np.ndarray:
    """A number for each row, [N] float32.

    Raises:
      UserError: a cell is empty, or no finite number.
    """
    values = frame.numbers(frame.check(column, "the number to predict"))
    if gone := np.flatnonzero(np.isnan(values)).tolist():
        raise UserError(f"{frame.at(column, gone[0])}: empty, expected a number ({len(gone):,} such rows)")
    return values.astype(np.float32)


def present(frame: Frame, column: str, what: str) -> list[str]:
    """The texts of a column none of whose cells is empty.

    Raises:
      UserError: a cell is empty; the message names the first.
    """
    cells = frame.texts(frame.check(column, what)).tolist()
    if gone := [row for row, cell in enumerate(cells) if cell is None]:
        raise UserError(
            f"{frame.at(column, gone[0])}: empty, expected {what} ({len(gone):,} such rows); fill it in, or remove the "
            "row"
        )
    return cells


def of_folder(where: Path, files: Sequence[Path], splits: Sequence[str], group: str) -> Frame:
    """The files of a folder as a table with the columns "file", and "split" and "group" where they are known.

    Args:
      where: Folder of the files.
      files: Files in order.
      splits: Split of each file; all "" where the folder has no splits.
      group: Regular expression whose first parenthesis is the group, searched in a file's path below the folder.

    Raises:
      UserError: a path holds no group.
    """
    names = [path.relative_to(where).as_posix() for path in files]
    columns = {"file": objects(names)} | ({"split": objects(list(splits))} if any(splits) else {})
    if group:
        try:
            found = [re.search(group, name) for name in names]
            groups = [match and match.group(1) for match in found]
        except (re.error, IndexError) as error:
            raise UserError(
                f"group is {group!r}, expected a regular expression with a parenthesis ({error})"
            ) from error
        if lost := [name for name, value in zip(names, groups, strict=True) if not value]:
            raise UserError(
                f"group={group!r} is not found in {len(lost):,} of {len(names):,} files of {where}: "
                f"{', '.join(lost[:_SHOWN])}; give a regular expression such as r'speaker(\\d+)'"
            )
        columns["group"] = objects(groups)
    return Frame(columns, str(where))
