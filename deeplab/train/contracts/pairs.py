"""Broadcasting by mistake: [N, 1] and [N] give [N, N], and a mean over it trains a model without a word."""

from __future__ import annotations

import contextlib
import math
import re
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from deeplab.core.errors import UserError, place_here
from deeplab.train.bind import BoundApply

_PROMOTED = "Following NumPy automatic rank promotion"
"""Begins JAX's warning, which holds the shapes."""


@contextlib.contextmanager
def no_pairs() -> Iterator[None]:
    """Context in which a task may not compute with [N, 1] and [N]: the result, [N, N], is of all pairs of examples.

    Models are free to, and so is a task that writes both axes, x[:, None] - y[None, :].

    Raises:
      UserError: Two arrays are broadcast in this way; the message has their shapes and the line.

    Example:
      >>> with no_pairs():
      ...     (np.zeros((4, 1)) - jax.numpy.zeros((1, 4))).shape
      (4, 4)
    """

    def show(message: Warning | str, *rest: Any, **options: Any) -> None:
        if not str(message).startswith(_PROMOTED):
            return shown(message, *rest, **options)
        shapes = [tuple(map(int, re.findall(r"\d+", text))) for text in re.findall(r"\(([\d, ]*)\)", str(message))]
        whole = np.broadcast_shapes(*shapes)
        in_model = any(frame.f_code is BoundApply._call.__code__ for frame, _ in traceback.walk_stack(None))
        if math.prod(whole) > max(map(math.prod, shapes)) and not in_model:
            place = place_here()
            raise UserError(
                f"arrays {' and '.join(str(list(shape)) for shape in shapes)} become {list(whole)}, every example "
                f"against every other{place and f', in {place}'}\nGive both the same shape, as by x[:, 0]; if all "
                "pairs are meant, write both axes: x[:, None] - y[None, :]"
            )

    with warnings.catch_warnings(), jax.numpy_rank_promotion("warn"):
        warnings.filterwarnings("always", _PROMOTED)
        shown, warnings.showwarning = warnings.showwarning, show
        yield
