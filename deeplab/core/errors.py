"""Errors that a user can fix. Each message says what was given, what was expected and what to do, and where.

Exit codes of the command line: 2 for a user's error, 3 for unusable checkpoints, 4 for a diverged run, 75 for a
temporary failure (restart the command), 130 and 143 after a signal.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import linecache
import sys
import sysconfig
import traceback
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = frozenset(("site-packages", "dist-packages"))
_INSTALLED = (_PACKAGE, *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")))


class UserError(Exception):
    """An argument, a file or a setting is not as expected; printed without a traceback.

    Example:
      >>> str(UserError("--width is 0; give 1 or more")), UserError.exit_code
      ('--width is 0; give 1 or more', 2)
    """

    exit_code = 2


class CheckpointError(UserError):
    """No checkpoint is usable, or the requested one is damaged.

    Example:
      >>> isinstance(CheckpointError("step 300 is damaged; load an earlier one"), UserError), CheckpointError.exit_code
      (True, 3)
    """

    exit_code = 3


class Diverged(UserError):
    """The loss or the gradient became NaN or infinite.

    Example:
      >>> isinstance(Diverged("the loss is NaN from step 12 on"), UserError), Diverged.exit_code
      (True, 4)
    """

    exit_code = 4


def nearest(given: str, known: Iterable[str]) -> str:
    """Suggests known names for an unknown one: the most similar, or else the first.

    Example:
      >>> nearest("minst", ["mnist", "digits"])
      "did you mean 'mnist'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"known are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def raise_all(errors: Sequence[UserError], shown: int = 5) -> None:
    """Raises what went wrong with several things of one kind, in one error; nothing where there is none.

    Args:
      errors: Errors in order.
      shown: Number of messages that are shown.

    Example:
      >>> try:
      ...     raise_all([UserError("a.png is empty"), UserError("b.png is empty")], shown=1)
      ... except UserError as error:
      ...     print(error)
      a.png is empty
      and 1 more
    """
    if errors:
        left = len(errors) - shown
        lines = [*map(str, errors[:shown]), *[f"and {left:,} more"] * (left > 0)]
        raise UserError("\n".join(lines)) from errors[0]


def place_of(made: Any) -> str:
    """File and line of the user's own that define a function or a class, such as "idea.py:12"; "" for any other."""
    try:
        inner = inspect.unwrap(made)
        code = getattr(inner, "__code__", None)
        line = code.co_firstlineno if code else inspect.getsourcelines(inner)[1]
        file = code.co_filename if code else inspect.getfile(inner)
    except (OSError, TypeError):
        return ""
    return _told(file, line) if _is_own(file) else ""


def place_of_error(error: BaseException) -> str:
    """The innermost line of the user's own that an error passed, with its text; "" if there is none.

    Example:
      >>> try:
      ...     [][0]
      ... except IndexError as error:
      ...     print(place_of_error(error).partition(": ")[2])
      [][0]
    """
    return _innermost((frame, line) for frame, line in traceback.walk_tb(error.__traceback__))


def place_here() -> str:
    """The innermost line of the user's own that is being executed, with its text; "" if there is none."""
    frames = reversed(list(traceback.walk_stack(sys._getframe(1))))
    return _innermost(frames)


def _innermost(frames: Iterable[tuple[types.FrameType, int]]) -> str:
    found = [(frame.f_code.co_filename, line) for frame, line in frames if _is_own(frame.f_code.co_filename)]
    if not found:
        return ""
    file, line = found[-1]
    text = linecache.getline(file, line).strip()
    return f"{_told(file, line)}{text and f': {text}'}"


def is_installed(path: Path) -> bool:
    """Whether a file is deeplab's, of another installed package, or of Python itself.

    Packages are not in this environment's folder alone, but also in the user's own and in that of the Python below a
    virtual environment, which have one of two names, and where `pip install --target` puts them beside their records.

    Example:
      >>> is_installed(Path("/home/me/.local/lib/python3.12/site-packages/torch/__init__.py"))
      True
    """
    searched = (folder for folder in path.parents if str(folder) in sys.path)
    named = not _FOLDERS.isdisjoint(path.parts) or any(map(path.is_relative_to, _INSTALLED))
    return named or any(map(_holds_packages, searched))


@functools.cache
def _holds_packages(folder: Path) -> bool:
    return next(folder.glob("*.dist-info"), None) is not None


def _is_own(file: str) -> bool:
    return not file.startswith(("<frozen", "<string>")) and not is_installed(Path(file).resolve())


def _told(file: str, line: int) -> str:
    path = Path(file)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path.name}:{line}"
