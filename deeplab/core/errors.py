"""What a user can mend: each message says what was given, what was expected and what to do.

The exit codes are the command line's: 2 for a user's error, 3 for unusable checkpoints, 4 for a run that
diverged, 75 ("restart me") for what may pass by itself, 130 and 143 after a signal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something given is not what is expected; printed without a traceback."""

    exit_code = 2


class CheckpointError(UserError):
    """No checkpoint can be used, or the one asked for is damaged."""

    exit_code = 3


class Diverged(UserError):
    """The loss or the gradient became NaN or infinite."""

    exit_code = 4


def nearest(given: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: its nearest neighbors, or the first names there are.

    Example:
      >>> nearest("minst", ["mnist", "digits"])
      "did you mean 'mnist'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"known are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
