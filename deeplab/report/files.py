"""Readers of a run's files, for which a missing or damaged file is no surprise."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Rows with `step` and `split` in the order of their steps, and the number of lines before the last without them.

    Of two rows of one split and step the later one counts.
    """
    try:
        lines = path.read_text(errors="replace", encoding="utf-8").splitlines()
    except OSError:
        return [], 0
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    damaged = 0
    for i, line in enumerate(lines):
        try:
            row = json.loads(line)
            rows[str(row["split"]), int(row["step"])] = row | {"split": str(row["split"]), "step": int(row["step"])}
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            damaged += i < len(lines) - 1
    return sorted(rows.values(), key=lambda row: row["step"]), damaged


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an `.npz` file, without unpickling; None where there is no file.

    Raises:
      UserError: The file is damaged, or holds Python objects.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}); the run's own command writes it again") from error
