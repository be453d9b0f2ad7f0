"""Errors that a user can fix. Each message says what was given, what was expected and what to do.

Exit codes of the command line: 2 for a user's error, 3 for unusable checkpoints, 4 for a diverged run, 75 for a
temporary failure (restart the command), 130 and 143 after a signal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UserError(Exception):
    """An argument, a file or a setting is not as expected; printed without a traceback."""

    exit_code = 2


class CheckpointError(UserError):
    """No checkpoint is usable, or the requested one is damaged."""

    exit_code = 3


class Diverged(UserError):
    """The loss or the gradient became NaN or infinite."""

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
