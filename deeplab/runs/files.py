"""Files of a run directory: replaced atomically, cut back to a step, and moved aside."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
import zlib
from pathlib import Path
from typing import Any

from deeplab.core.text import dumps, parse_row
from deeplab.runs.lock import unwritable


def cut_rows(path: Path, step: int) -> None:
    """Removes the rows after `step`, and a partial last row left by a kill; atomic.

    Args:
      path: Path of `metrics.jsonl`.
      step: Last step that is kept.
    """
    # Lines end at newlines only: `splitlines` would also split a damaged row at a carriage return.
    lines = io.BytesIO(path.read_bytes()).readlines() if path.exists() else []
    rows = [parse_row(line) if line.endswith(b"\n") else None for line in lines]
    steps: list[int | None] = [row["step"] if row else None for row in rows]
    damaged = [i + 1 for i, s in enumerate(steps[:-1]) if s is None]
    if damaged:
        warnings.warn(f"{path}: lines {damaged[:5]} are not rows of metrics and are dropped", stacklevel=3)
    kept = [line for line, s in zip(lines, steps, strict=True) if s is not None and s <= step]
    if kept != lines:
        replace(path, b"".join(kept))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically: a reader finds the old content or the new one."""
    replace(path, (dumps(value, indent=1) + "\n").encode())


def replace(path: Path, data: bytes) -> None:
    """Writes a file atomically.

    Raises:
      UserError: The disk is full, or cannot be written.
    """
    partial = path.with_name(f"{path.name}.tmp")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()  # a part of a file on a full disk
        raise unwritable(path, error) from error


def checksums(directory: Path, but: Path) -> dict[str, list[int]]:
    """Size and checksum of each file in a directory but one, by its name."""
    sums = {}
    for file in sorted(p for p in directory.rglob("*") if p.is_file() and p != but):
        size = checksum = 0
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
        sums[file.relative_to(directory).as_posix()] = [size, checksum]
    return sums


def move_aside(path: Path) -> Path:
    """Renames a file or a folder to `NAME.old-N`, with the first N that is free; gives that path."""
    number = next(n for n in range(1, 10_000) if not path.with_name(f"{path.name}.old-{n}").exists())
    return path.rename(path.with_name(f"{path.name}.old-{number}"))
