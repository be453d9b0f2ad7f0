"""The values of an argument in a sweep, from a word of the command line: a list, or a range."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import math
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tyro.constructors import PrimitiveConstructorSpec

from deeplab.core.arguments import alternatives
from deeplab.core.errors import UserError
from deeplab.experiment import is_fold

_MOST = 10_000  # values of a range: each is a run
_DIGITS = 4  # of a value between the ends of a range: what is reported is what was run
_RANGE = re.compile(r"(?P<scale>log:|lin:)?(?P<low>.+?)\.\.(?P<high>.+?)(?::(?P<count>\d+))?")


@dataclasses.dataclass(frozen=True)
class Axis:
    """The values of an argument in a sweep.

    Args:
      text: Text of the command line, or the values as text.
      values: Values of a list, or of a range with a count; empty for a range without one.
      low, high: Ends of a range.
      log: Whether the range is even in the logarithm.
      whole: Whether the values are integers.
    """

    text: str
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, value: Any) -> Axis:
        """The axis of a single value."""
        return cls(str(value), (value,))

    @property
    def fixed(self) -> bool:
        """Whether there is but one value."""
        return len(self.values) == 1

    def grid(self, name: str) -> tuple[Any, ...]:
        """All values, for a grid.

        Raises:
          UserError: a range without a count.
        """
        if self.values:
            return self.values
        flag = name.replace("_", "-")
        raise UserError(
            f"--{flag} {self.text}: a grid needs to know how many values, such as --{flag} {self.text}:8; or give "
            "--search random, quasi or tpe, which take any value of the range"
        )

    def at(self, u: float) -> Any:
        """The value at `u` of [0, 1): of a range any, else one of the list."""
        if self.low is None or self.high is None:
            return self.values[int(u * len(self.values))]
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        x = low + u * (high - low)
        return self.rounded(math.exp(x) if self.log else x)

    def position(self, value: Any) -> float:
        """Where a value is in [0, 1], the inverse of `at`: of a list, the middle of the part that is its own.

        Example:
          >>> parse("1e-3..1e-1", float).position(0.01), parse("relu,gelu", str).position("gelu")
          (0.5, 0.75)
        """
        if self.values or self.low is None or self.high is None:
            return (self.values.index(value) + 0.5) / len(self.values)
        ends = (self.low, value, self.high)
        low, x, high = (math.log(end) if self.log else end for end in ends)
        return (x - low) / (high - low)

    def drawn(self) -> Axis:
        """A range as any of its values, whatever count it was given."""
        return self if self.low is None else dataclasses.replace(self, values=())

    def rounded(self, x: float) -> Any:
        """The value of a range that is told and run in place of `x`."""
        assert self.low is not None
        assert self.high is not None
        x = round(x) if self.whole else float(f"{x:.{_DIGITS}g}")
        return type(x)(min(max(x, self.low), self.high))


def parse(text: str, kind: Any) -> Axis:
    """Reads `0.0,0.1`, or `LOW..HIGH:COUNT`: log-spaced where both ends are above 0 and a factor of 10 apart.

    `log:LOW..HIGH:COUNT` and `lin:LOW..HIGH:COUNT` say it themselves. The count may be left out where values are
    drawn, and for folds, which are all integers of the range. Values between the ends are rounded to four digits, and
    to integers where the argument is one.

    Args:
      text: Text of the command line.
      kind: Type of the argument: float, int, bool, str, a path, an enum, a `Literal`, a union of these with None, or
        one of them annotated, as `dl.Fold` is.

    Raises:
      ValueError: The text is none of these.

    Example:
      >>> parse("1e-3..1e-1:5", float).values
      (0.001, 0.003162, 0.01, 0.03162, 0.1)
      >>> parse("0..0.2:3", float).values, parse("16..64:3", int).values, parse("false,true", bool).values
      ((0.0, 0.1, 0.2), (16, 40, 64), (False, True))
    """
    folds, kinds = is_fold(kind), alternatives(kind)
    kind = next((each for each in kinds if each in (int, float)), None)
    match = _RANGE.fullmatch(text) if kind and not {str, Path} & {*kinds} else None
    if match is None:
        values = tuple(_value(word.strip(), kinds) for word in text.split(","))
        if len(set(values)) < len(values):
            raise ValueError(f"{text} has a value twice")
        return Axis(text, values)
    low, high = (_value(match[end], [kind]) for end in ("low", "high"))
    count, apart = match["count"], low > 0 and high >= 10 * low
    if low >= high:
        raise ValueError(f"{text}: {low} is not below {high}")
    if match["scale"] == "log:" and low <= 0:
        raise ValueError(f"{text}: a logarithmic range begins above 0")
    axis = Axis(text, (), low, high, match["scale"] == "log:" or (apart and match["scale"] is None), kind is int)
    if count is None and folds:
        return Axis(text, tuple(range(int(low), int(high) + 1)))
    if count is None:
        return axis
    if not 2 <= int(count) <= _MOST:
        raise ValueError(f"{text}: a range has 2 to {_MOST:,} values")
    if not math.isfinite(high - low):
        raise ValueError(f"{text}: the ends are too far apart for a number of 64 bits")
    inner = [axis.at(float(u)) for u in np.linspace(0, 1, int(count))[1:-1]]
    return dataclasses.replace(axis, values=tuple(dict.fromkeys((low, *inner, high))))


def of(value: Any, kind: Any, name: str = "an argument") -> Axis:
    """The axis of what a caller gives: an axis, a text to parse, a sequence or an array of values, or one value.

    Args:
      value: What is given.
      kind: Type of the argument, as for `parse`.
      name: Name of the argument, for the message.

    Raises:
      UserError: There is no value.

    Example:
      >>> of([1, 2], int).values, of("1e-3..1e-1:3", float).values, of("relu", str).values
      ((1, 2), (0.001, 0.01, 0.1), ('relu',))
    """
    if isinstance(value, Axis):
        return value
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = value.tolist()  # of an array of no axis, the one number
    if isinstance(value, str) and not {str, Path} & {*alternatives(kind)}:
        try:
            return parse(value, kind)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
    if isinstance(value, Iterator | range):
        value = tuple(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            raise UserError(f"{name} of a sweep is given no value; give a sequence of one or more, or one value")
        return Axis(",".join(map(str, value)), tuple(value))
    return Axis.of(value)


def annotated(kind: Any) -> Any:
    """The type of an argument as a flag that takes many values of it."""
    spec = PrimitiveConstructorSpec(
        nargs=1,
        metavar=_metavar(kind),
        instance_from_str=lambda words: parse(words[0], kind),
        is_instance=lambda value: isinstance(value, Axis),
        str_from_instance=lambda axis: [str(axis)],
    )
    return typing.Annotated[Axis, spec]


def _metavar(kind: Any) -> str:
    kinds = alternatives(kind)
    one = kinds[0]
    none = "|None" * (type(None) in kinds)
    if (choices := _choices(one)) is not None:
        return f"{{{'|'.join(choices)}{none}}},..."
    if one in (str, Path):
        return f"{'STR' if one is str else 'PATH'}{none},..."
    return f"{'INT' if one is int else 'FLOAT'}{none},...|LOW..HIGH[:COUNT]"


def _choices(kind: Any) -> dict[str, Any] | None:
    """The values of a type that has but a few, by their words; None of any other."""
    if kind is bool:
        return {"true": True, "false": False}
    if typing.get_origin(kind) is typing.Literal:
        return {str(choice): choice for choice in typing.get_args(kind)}
    return dict(kind.__members__) if isinstance(kind, type) and issubclass(kind, enum.Enum) else None


def _value(word: str, kinds: Sequence[Any]) -> Any:
    """The value of a word by the first type that has one."""
    if type(None) in kinds and word == "None":
        return None
    *others, last = [kind for kind in kinds if kind is not type(None)]
    for kind in others:
        with contextlib.suppress(ValueError):
            return _value_of(word, kind)
    return _value_of(word, last)


def _value_of(word: str, kind: Any) -> Any:
    if typing.get_origin(kind) in (tuple, list, dict, Sequence):
        raise ValueError(
            f"{word!r}: on a command line a list is the values of a sweep, and this argument is itself a list; sweep "
            "it in Python, as by dl.sweep(experiment, {'widths': [(8, 8), (16, 16)]}), or give it one number"
        )
    if isinstance(kind, type) and issubclass(kind, str | Path) and not issubclass(kind, enum.Enum):
        return kind(word)
    known = _choices(kind)
    if known is None:
        try:
            value = int(word) if kind is int else float(word)
            if not math.isfinite(value):
                raise ValueError
            return value
        except ValueError:
            raise ValueError(
                f"{word!r} is no {'integer' if kind is int else 'number'}; give values such as 16,32 or a range "
                "LOW..HIGH:COUNT"
            ) from None
    word = word.lower() if kind is bool else word
    if word not in known:
        raise ValueError(f"{word!r} is none of {', '.join(known)}")
    return known[word]
