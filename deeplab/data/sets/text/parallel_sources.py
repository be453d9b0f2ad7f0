"""Where a user's texts and translations come from: two files of lines, or two columns of a table."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from deeplab.core.errors import UserError
from deeplab.data.prepare import frame_sources, tables, texts
from deeplab.data.prepare.frames import Frame

TABLES = (".csv", ".parquet", ".pq", *tables.TABS)
"""Suffixes of files that are tables."""


def normal(given: Any) -> Any:
    """Where texts are, as a value that can be compared: a path, two paths, or a `Frame`."""
    if isinstance(given, str | Path | Frame):
        return given
    if isinstance(given, list | tuple):
        if len(given) != 2 or not all(isinstance(path, str | Path) for path in given):
            raise UserError(f"{given!r:.80} was given for texts and translations, expected two paths")
        return tuple(map(str, given))
    return frame_sources.read(given, plain=True)


def stamp(part: Any) -> Any:
    """What tells a changed file."""
    paths = [] if isinstance(part, Frame) else [part] if isinstance(part, str | Path) else part
    files = [Path(path).expanduser() for path in paths]
    if absent := [file for file in files if not file.is_file()]:
        raise UserError(f"there is no file {absent[0]}; expected lines of text, or a table")
    return tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def read(part: Any, columns: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The texts and translations of a part, without pairs that have a blank side."""
    where, source, target = _sides(part, columns)
    both = [(a, b) for a, b in zip(source, target, strict=True) if a.strip() and b.strip()]
    if len(both) < len(source):
        first = next(
            i for i, pair in enumerate(zip(source, target, strict=True), start=1) if "" in map(str.strip, pair)
        )
        warnings.warn(
            f"{where}: {len(source) - len(both):,} of {len(source):,} pairs have a blank side, and are left out; the "
            f"first is number {first:,}",
            stacklevel=2,
        )
    return [a for a, _ in both], [b for _, b in both]


def _sides(part: Any, columns: tuple[str, ...]) -> tuple[str, list[str], list[str]]:
    """The name of a part, its texts, and their translations."""
    if isinstance(part, tuple):
        source, target = (texts.read(Path(path).expanduser()).removesuffix("\n").split("\n") for path in part)
        if len(source) != len(target):
            raise UserError(
                f"{part[0]} has {len(source):,} lines and {part[1]} has {len(target):,}; expected as many: each line "
                "of the second is the translation of that of the first"
            )
        return part[0], source, target
    if not isinstance(part, Frame) and Path(part).suffix.lower() not in TABLES:
        lines = texts.lines(Path(part).expanduser())
        if one := next((number for number, line in lines.items() if "\t" not in line), None):
            raise UserError(
                f"{part}, line {one}: no tab between a text and its translation; give two files of lines, or a table"
            )
        cells = [line.split("\t") for line in lines.values()]
        return str(part), [row[0] for row in cells], [row[1] for row in cells]
    frame = frame_sources.read(part, plain=True)
    chosen = columns or tuple(frame.columns)
    if len(chosen) != 2:
        raise UserError(
            f'{frame.where} has the columns {", ".join(chosen)}; give two of them, as in columns=("en", "fr"), or two '
            "files of lines"
        )
    source, target = ([cell or "" for cell in frame.texts(frame.check(name, "a language"))] for name in chosen)
    return frame.where, source, target
