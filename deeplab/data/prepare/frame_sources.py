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

_DECIMAL = re.compile(r"^([+-]?\d+)(?:\.0*|(\.\d*[1-9])0+)$")
_EXACT = 2**53  # integers beyond this have neighbors that are the same float64


def read(source: Any, missing: Sequence[Any] = (), *, plain: bool = False) -> Frame:
    """The columns of a source.

    Args:
      source: Path of a CSV file (or of a Parquet file: .parquet, .pq), a pandas data frame, or a dict of columns.
      missing: Further texts, or numbers, that stand for a missing cell, however a number is written.
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
    absent = frozenset({"", *(() if plain else MISSING), *(_shortest(text_of(cell).lower()) for cell in missing)})
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

        # Its own types would make floats of integers where a row is missing, which merges large ones.
        return pd.read_parquet(path, dtype_backend="numpy_nullable")
    except ImportError as error:
        raise UserError(f"{path}: Parquet files are read by pandas: pip install pandas pyarrow") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error})") from error


def _of_columns(source: Any, where: str, absent: frozenset[str], plain: bool) -> Frame:
    """The columns of a mapping or of a data frame, which is asked for its columns one by one."""
    names = list(source if isinstance(source, Mapping) else getattr(source, "columns", ()))
    if not names:
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
    array = _array(given)
    if array.ndim != 1:
        raise UserError(f"{where} has shape {array.shape}, expected one value a row")
    if array.dtype.kind == "f":
        return _without(array, absent)
    if array.dtype.kind == "M":
        return array.astype("M8[s]")
    cells = [None if (present is not None and not present[i]) or _gone(x) else x for i, x in enumerate(array.tolist())]
    kinds = {_python_kind(cell) for cell in cells if cell is not None}
    # Names that are long numbers stay apart as texts, as those of a CSV file do.
    if kinds <= {"number"} and not any(map(_is_long, cells)):
        return _without(np.array([np.nan if cell is None else float(cell) for cell in cells]), absent)
    if kinds <= {"date"}:
        return np.array([None if cell is None else naive(cell) for cell in cells], "M8[s]")
    return objects([None if cell is None else _cell(text_of(cell), absent, plain) for cell in cells])


def _array(given: Any) -> np.ndarray:
    """A column as floats of its own precision, times, integers up to 2**53 as float64, or objects."""
    if given.__class__.__module__.startswith("pandas"):
        dtype = getattr(given.dtype, "numpy_dtype", given.dtype)
        is_float = isinstance(dtype, np.dtype) and dtype.kind == "f"
        return given.to_numpy(dtype, na_value=np.nan) if is_float else np.asarray(given, object)
    array = np.asarray(given)
    if array.dtype.kind in "iu":
        return array if array.size and _is_long(max(array.max(), -int(array.min()))) else array.astype(np.float64)
    if (
        array.dtype.kind == "f"
        and array.ndim == 1
        and isinstance(given, list | tuple)
        and (np.abs(array) > _EXACT).any()
    ):
        return objects(given)  # of integers beside a fraction or a NaN, NumPy makes floats
    return array


def _is_long(cell: Any) -> bool:
    """Whether float64 does not tell an integer from its neighbors."""
    return isinstance(cell, int | np.integer) and abs(int(cell)) > _EXACT


def _without(values: np.ndarray, absent: frozenset[str]) -> np.ndarray:
    """The numbers, NaN where one is written as a text that stands for a missing cell, such as "-999"."""
    numbers = [number for number in map(as_number, absent) if number is not None]
    return np.where(np.isin(values, np.array(numbers, values.dtype)), np.array(np.nan, values.dtype), values)


def _cell(text: str, absent: frozenset[str], plain: bool) -> str | None:
    text = text.strip()
    if _shortest(text.lower()) in absent:
        return None
    return text if plain else category(text)


def category(cell: Any) -> str:
    """The text of a category, the same from a file as from a data frame.

    Example:
      >>> category("TRUE"), category(True), category("1.0"), category("0.30"), category("b")
      ('true', 'true', '1', '0.3', 'b')
    """
    text = text_of(cell)
    return text.lower() if text.lower() in ("true", "false") else _shortest(text)


def _shortest(text: str) -> str:
    """A number without zeros at its end."""
    return _DECIMAL.sub(r"\1\2", text)


def _gone(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _python_kind(cell: Any) -> str:
    if isinstance(cell, bool | np.bool_):
        return "text"
    if isinstance(cell, int | float | np.number):
        return "number"
    return "date" if isinstance(cell, datetime.date) else "text"
