"""Ranges of arguments, declared once where the argument is used: by a decorator of a function, a record or a module.

A command line needs no ranges of its own: it passes its numbers on, and prints the error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.core
import numpy as np

from deeplab.core.errors import UserError

T = TypeVar("T", bound=Callable[..., Any])


class OutOfRange(UserError):
    """A number is out of its range.

    Attributes:
      name: Name of the argument, as the caller knows it.
      value: The number.
      expected: The range, as text.
      origin: What else is known of the argument: its own name, and what has it.
    """

    name: str = ""
    value: Any = None
    expected: str = ""
    origin: str = ""

    @classmethod
    def of(cls, name: str, value: Any, expected: str, origin: str) -> OutOfRange:
        """The error, with its message."""
        error = cls(f"{name} is {value}, expected {expected}{origin and f' ({origin})'}")
        error.name, error.value, error.expected, error.origin = name, value, expected, origin
        return error

    def renamed(self, name: str) -> OutOfRange:
        """The same error under the name by which the caller knows the argument."""
        origin = f"{self.name}, {self.origin}" if self.origin.startswith("an argument") else self.origin
        return OutOfRange.of(name, self.value, self.expected, origin)


@contextlib.contextmanager
def blaming(arguments: Mapping[str, Any]) -> Iterator[None]:
    """Context in which a number out of its range is told by the name of the argument that gave it, if only one did.

    Args:
      arguments: Arguments of the caller.

    Example:
      >>> with blaming({"learning_rate": -1.0}):
      ...     POSITIVE.check("peak", -1.0, "warmup_cosine")
      Traceback (most recent call last):
      deeplab.core.ranges.OutOfRange: learning_rate is -1.0, expected above 0 (peak, an argument of warmup_cosine)
    """
    try:
        yield
    except OutOfRange as error:
        if error.name in arguments:
            raise
        numbers = {k: v for k, v in arguments.items() if type(v) is type(error.value)}
        found = [k for k, v in numbers.items() if v == error.value or (v != v and error.value != error.value)]
        raise (error.renamed(found[0]) if len(found) == 1 else error) from error.__cause__


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of finite numbers.

    Args:
      at_least: Smallest number.
      at_most: Largest number.
      above: Number that all are larger than.
      below: Number that all are smaller than.
      whole: Whether only integers are in it.

    Example:
      >>> str(Range(at_least=0, below=1)), 1.0 in Range(at_least=0, below=1)
      ('0 or more and below 1', False)
    """

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    whole: bool = False

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (not self.whole or isinstance(value, int))
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        ends = {"{} or more": self.at_least, "above {}": self.above, "below {}": self.below, "up to {}": self.at_most}
        return " and ".join(text.format(end) for text, end in ends.items() if end is not None) or "a finite number"

    def check(self, name: str, value: Any, owner: str = "") -> None:
        """Raises UserError unless the number, or each number of a sequence, is in the range.

        What is no number passes: None, a schedule, and a tracer, whose values were checked before they were traced.

        Args:
          name: Name of the argument.
          value: Value of the argument.
          owner: Name of what has the argument, for the message.
        """
        if isinstance(value, (jax.core.Tracer, str, bytes)) or value is None:
            return
        if isinstance(value, (list, tuple)):
            for one in value:
                self.check(name, one, owner)
        elif isinstance(value, np.ndarray) and value.ndim and value.size and value.dtype.kind in "iuf":
            for one in (value.min(), value.max()):
                self.check(name, one, owner)
        elif np.ndim(value) == 0 and isinstance(value, (int, float, np.number, np.ndarray, jax.Array)):
            integer = isinstance(value, int) or getattr(value, "dtype", np.dtype(float)).kind in "iu"
            number = int(value) if integer else float(value)
            if number not in self:
                whole = "a whole number, " * (self.whole and not integer)
                raise OutOfRange.of(name, value, f"{whole}{self}", owner and f"an argument of {owner}")


@dataclasses.dataclass(frozen=True)
class OneOf:
    """The words of a `Literal`, of which any other would pass for one where the code only asks for the first.

    Args:
      literal: `Literal["a", "b"]`.

    Example:
      >>> OneOf(typing.Literal["width", "mass"]).check("bins", "adaptive", "curve")
      Traceback (most recent call last):
      deeplab.core.ranges.OutOfRange: bins is 'adaptive', expected 'width' or 'mass' (an argument of curve)
    """

    literal: Any

    def check(self, name: str, value: Any, owner: str = "") -> None:
        """Raises UserError unless the value is one of the words.

        Args:
          name: Name of the argument.
          value: Value of the argument.
          owner: Name of what has the argument, for the message.
        """
        words = typing.get_args(self.literal)
        if value not in words:
            expected = " or ".join(map(repr, words))
            raise OutOfRange.of(name, repr(value), expected, owner and f"an argument of {owner}")


COUNT = Range(at_least=1, whole=True)
NATURAL = Range(at_least=0)
POSITIVE = Range(above=0)
FRACTION = Range(at_least=0, at_most=1)
RATE = Range(at_least=0, below=1)
"""A share that is taken away, as by dropout: below 1, at which nothing is left."""
SEED = Range(at_least=0, below=2**32)
"""What a key, a data order and NumPy's `SeedSequence` tell apart: keys drop the bits above, unless x64 is enabled."""


def checked(**ranges: Range | OneOf) -> Callable[[T], T]:
    """Decorator of a function, a frozen record (below `dataclass`) or a Linen module, whose arguments it checks.

    Args:
      **ranges: Ranges, or choices of words, by name of the argument.

    Raises:
      UserError: When the function is called, or the record or module is made: a number is out of its range.

    Example:
      >>> @checked(rate=RATE)
      ... def drop(rate: float = 0.0): ...
      >>> drop(rate=1.5)
      Traceback (most recent call last):
      deeplab.core.ranges.OutOfRange: rate is 1.5, expected 0 or more and below 1 (an argument of drop)
    """

    def decorate(made: T) -> T:
        return _checked_class(made, ranges) if inspect.isclass(made) else _checked_function(made, ranges)

    return decorate


def _checked_class(made: Any, ranges: dict[str, Range | OneOf]) -> Any:
    inner = getattr(made, "__post_init__", None)
    _refuse_unknown(ranges, {name for kind in made.__mro__ for name in vars(kind).get("__annotations__", {})}, made)

    @functools.wraps(inner or (lambda self: None))
    def post_init(self: Any) -> None:
        for name, interval in ranges.items():
            interval.check(name, getattr(self, name), type(self).__name__)
        if inner is not None:
            inner(self)

    made.__post_init__ = post_init
    return made


def _checked_function(made: Any, ranges: dict[str, Range | OneOf]) -> Any:
    signature = inspect.signature(made)
    _refuse_unknown(ranges, signature.parameters, made)

    @functools.wraps(made)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments
        for name in ranges.keys() & given.keys():
            ranges[name].check(name, given[name], made.__name__)
        return made(*args, **kwargs)

    return call


def _refuse_unknown(ranges: dict[str, Range | OneOf], known: Iterable[str], made: Any) -> None:
    if unknown := ranges.keys() - set(known):
        raise TypeError(f"{made.__name__} has no argument {min(unknown)!r}, which is given a range")
