"""Values as strict JSON, which holds the numbers that JSON has not, and the rows of `metrics.jsonl`.

NaN and infinities are the strings "NaN", "Infinity" and "-Infinity", as in the JSON of Protocol Buffers
(https://protobuf.dev/programming-guides/json/). A string that reads like one of them gets a backslash in front, so
that `loads(dumps(value)) == value`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_ESCAPED = re.compile(r"\\*(?:NaN|-?Infinity)")


def encode(value: Any, other: Callable[[Any], Any] | None = None) -> Any:
    """What strict JSON holds of a value: tuples and arrays are lists, paths their text, keys strings.

    Args:
      value: Mappings, sequences, numbers (also of numpy and jax, and arrays), strings, paths, booleans and None.
      other: Function from a value of any other type to one of these; a TypeError when None.

    Example:
      >>> encode({"loss": float("nan"), "rates": (1, float("-inf"))})
      {'loss': 'NaN', 'rates': [1, '-Infinity']}
    """
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, str):
        return f"\\{value}" if _ESCAPED.fullmatch(value) else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else json.dumps(float(value))
    if isinstance(value, Mapping):
        return {str(name): encode(each, other) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [encode(each, other) for each in value]
    if isinstance(value, Path):
        return encode(str(value))
    if hasattr(value, "tolist"):
        return encode(value.tolist(), other)
    if other is None:
        raise TypeError(f"{value!r} of type {type(value).__name__} has no form in JSON")
    return encode(other(value), other)


def decode(value: Any) -> Any:
    """The inverse of `encode`, for values that JSON has (a tuple stays a list, and a path a string)."""
    if isinstance(value, str):
        return _SPECIAL.get(value, value[1:] if value[:1] == "\\" and _ESCAPED.fullmatch(value) else value)
    if isinstance(value, list):
        return [decode(each) for each in value]
    return {name: decode(each) for name, each in value.items()} if isinstance(value, dict) else value


def dumps(value: Any, other: Callable[[Any], Any] | None = None, **options: Any) -> str:
    """Strict JSON of a value, see `encode`.

    Args:
      value: Value that `encode` takes.
      other: Function for values of other types, see `encode`.
      **options: Arguments of `json.dumps`, such as `indent`.
    """
    return json.dumps(encode(value, other), allow_nan=False, **options)


def loads(text: str | bytes) -> Any:
    """The value of JSON from `dumps`; NaN and infinities may also stand bare, as Python writes them.

    Raises:
      ValueError: The text is not JSON.
      RecursionError: Its lists are nested too deeply.

    Example:
      >>> loads(dumps([float("inf"), "Infinity", float("-inf"), "NaNs"]))
      [inf, 'Infinity', -inf, 'NaNs']
    """
    return decode(json.loads(text))


def parse_row(line: str | bytes) -> dict[str, Any] | None:
    """A row of `metrics.jsonl`, with the integer "step" and the string "split"; None if the line is none.

    Example:
      >>> parse_row('{"step": 3, "split": "test", "loss": "NaN"}'), parse_row('{"step": 3, "spl')
      ({'step': 3, 'split': 'test', 'loss': nan}, None)
    """
    try:
        row = loads(line)
        return row if type(row["step"]) is int and isinstance(row["split"], str) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_rows(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows of a `metrics.jsonl` in the order of the file, and the numbers of the lines before the last that are none.

    Args:
      path: Path of the file; one that does not exist has no rows.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return [], []
    rows = [(number, parse_row(line)) for number, line in enumerate(lines, 1) if line]
    return [row for _, row in rows if row], [number for number, row in rows[:-1] if row is None]


def read_evaluations(path: Path) -> list[dict[str, Any]]:
    """Rows of an `evaluations.jsonl` by step, each with `step`, `split` and `metrics`.

    Of two rows of one split and step the later one counts.

    Args:
      path: Path of the file; one that does not exist has no rows.
    """
    rows = [row for row in read_rows(path)[0] if isinstance(row.get("metrics"), dict)]
    return sorted({(row["split"], row["step"]): row for row in rows}.values(), key=lambda row: row["step"])
