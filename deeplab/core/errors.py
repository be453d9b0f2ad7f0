"""Errors that a user can fix. Each message says what was given, what was expected and what to do.

Exit codes of the command line: 2 for a user's error, 3 for unusable checkpoints, 4 for a diverged run, 75 for a
temporary failure (restart the command), 130 and 143 after a signal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
