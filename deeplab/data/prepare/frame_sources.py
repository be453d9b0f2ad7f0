"""Where the columns of a user's table come from: a CSV or Parquet file, a pandas data frame, or a dict of columns."""

from __future__ import annotations

import datetime
import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import tables, texts
from deeplab.data.prepare.frames import Frame, as_number, naive, objects, text_of

MISSING = ("", "na", "n/a", "nan", "nat", "null", "none", "?", "-")
"""What stands for a missing cell in a text, in lower case."""

_WHOLE = re.compile(r"^([+-]?\d+)\.0*$")


def read(source: Any, missing: Sequence[str] = (), *, plain: bool = False) -> Frame:
    """The columns of a source.

    Args:
      source: Path of a CSV file (or of a Parquet file: .parquet, .pq), a pandas data frame, or a dict of columns.
      missing: Further texts that stand for a missing cell.
      plain: Whether texts are read as they stand, without the space around them: for names, classes and transcripts,
        where "none" and "1.0" are words. Only an empty cell is missing then.

    Raises:
      UserError: the source cannot be read, has no rows, columns of unequal lengths, or a row of another length.

    Example:
      >>> frame = read({"size": [50.0, 70.0], "town": ["Ulm", None]})
      >>> frame.kind("size"), frame.kind("town"), frame.missing("town").tolist()
      ('number', 'category', [False, True])
    """
    if isinstance(source, Frame):
        return source
    absent = frozenset({"", *(() if plain else MISSING), *(text.lower() for text in missing)})
    if not isinstance(source, str | Path):
        return _of_columns(source, "the table", absent, plain)
    path = Path(source).expanduser()
    if not path.is_file():
        raise UserError(f"there is no file {path}; expected a CSV file with the names of the columns in its first row")
    return _of_file(path, path.stat().st_mtime_ns, absent, plain)


@functools.lru_cache(maxsize=8)
def _of_file(path: Path, mtime: int, absent: frozenset[str], plain: bool) -> Frame:
    """A file's columns; kept, because a function of hyper-parameters is called often. `mtime` tells a changed file."""
    del mtime
    if path.suffix.lower() in (".parquet", ".pq"):
        return _of_columns(_parquet(path), str(path), absent, plain)
    rows = tables.rows(texts.read_bytes(path), str(path))
    if len(rows) < 2:
        raise UserError(f"{path} has no rows; expected the names of the columns in the first row, and values below")
    names = [name.strip() for name in rows[0][1]]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path} has the column {min(repeated)!r} more than once; give each a name of its own")
    cells = {name: [row[i] for _, row in rows[1:]] for i, name in enumerate(names)}
    columns = {name: objects([_cell(text, absent, plain) for text in column]) for name, column in cells.items()}
    return Frame(columns, str(path), [line for line, _ in rows[1:]])


def _parquet(path: Path) -> Any:
    try:
        import pandas as pd

        return pd.read_parquet(path)
    except ImportError as error:
        raise UserError(f"{path}: Parquet files are read by pandas: pip install pandas pyarrow") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error})") from error


def _of_columns(source: Any, where: str, absent: frozenset[str], plain: bool) -> Frame:
    """The columns of a mapping or of a data frame, which is asked for its columns one by one."""
    names = list(getattr(source, "columns", source) if not isinstance(source, Mapping) else source)
    if not names or isinstance(source, np.ndarray | list | tuple):
        raise UserError(f"{where} is {type(source).__name__}, expected a path, a data frame, or a dict of columns")
    columns = {str(name): _column(source[name], f"column {name!r} of {where}", absent, plain) for name in names}
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        raise UserError(f"the columns of {where} differ in length: {sizes}")
    if not min(sizes.values()):
        raise UserError(f"{where} has no rows")
    return Frame(columns, where)


def _column(given: Any, where: str, absent: frozenset[str], plain: bool) -> np.ndarray:
    present = np.asarray(given.notna()) if hasattr(given, "notna") else None  # a column of pandas knows its own NA
    array = np.asarray(given, object) if given.__class__.__module__.startswith("pandas") else np.asarray(given)
    if array.ndim != 1:
        raise UserError(f"{where} has shape {array.shape}, expected one value a row")
    if array.dtype.kind in "iuf":
        return _without(array.astype(np.float64), absent)
    if array.dtype.kind == "M":
        return array.astype("M8[s]")
    cells = [None if (present is not None and not present[i]) or _gone(x) else x for i, x in enumerate(array.tolist())]
    kinds = {_python_kind(cell) for cell in cells if cell is not None}
    if kinds <= {"number"}:
        return _without(np.array([np.nan if cell is None else float(cell) for cell in cells]), absent)
    if kinds <= {"date"}:
        return np.array([None if cell is None else naive(cell) for cell in cells], "M8[s]")
    return objects([None if cell is None else _cell(text_of(cell), absent, plain) for cell in cells])


def _without(values: np.ndarray, absent: frozenset[str]) -> np.ndarray:
    """The numbers, NaN where one is written as a text that stands for a missing cell, such as "-999"."""
    numbers = [number for number in map(as_number, absent) if number is not None]
    return np.where(np.isin(values, numbers), np.nan, values)


def _cell(text: str, absent: frozenset[str], plain: bool) -> str | None:
    text = text.strip()
    small = text.lower()
    if small in absent:
        return None
    if plain:
        return text
    # The same category from a file as from a data frame: "TRUE" is true, and "1.0" is 1.
    return small if small in ("true", "false") else _WHOLE.sub(r"\1", text)


def _gone(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _python_kind(cell: Any) -> str:
    if isinstance(cell, bool | np.bool_):
        return "text"
    if isinstance(cell, int | float | np.number):
        return "number"
    return "date" if isinstance(cell, datetime.date) else "text"
