"""Readers of a run's files, for which a missing or damaged file is no surprise."""

from __future__ import annotations

import fcntl
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core import text
from deeplab.core.errors import UserError


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none."""
    try:
        value = text.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Rows with `step` and `split` in the order of their steps, and the number of lines before the last without them.

    Of two rows of one split and step the later one counts.
    """
    found, damaged = text.read_rows(path)
    rows = {(row["split"], row["step"]): row for row in found}
    return sorted(rows.values(), key=lambda row: row["step"]), len(damaged)


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


def is_in_use(directory: Path) -> bool:
    """Whether a process holds the lock of a run directory; the lock file alone, which stays behind, tells nothing."""
    try:
        lock = os.open(directory / "run.lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)
