"""Additions to Optax: schedules, parameter groups, evaluation weights, and the check of an optimizer.

The optimizer of an experiment is any Optax transformation that `check_optimizer` accepts.
"""

from typing import Any

from deeplab.optim.check import check_optimizer
from deeplab.optim.depth import by_depth
from deeplab.optim.evaluation import EmaState, SlowState, eval_params, lookahead, with_ema
from deeplab.optim.groups import freeze, groups, mask, matrices_only
from deeplab.optim.matrices import hidden_matrices
from deeplab.optim.schedules import Scalar, constant, warmup_cosine, warmup_linear
from deeplab.optim.transforms import Bfloat16State, clip, every, with_bfloat16_state

__all__ = [
    "Bfloat16State",
    "EmaState",
    "Scalar",
    "SlowState",
    "by_depth",
    "check_optimizer",
    "clip",
    "constant",
    "eval_params",
    "every",
    "freeze",
    "groups",
    "hidden_matrices",
    "lookahead",
    "mask",
    "matrices_only",
    "warmup_cosine",
    "warmup_linear",
    "with_bfloat16_state",
    "with_ema",
]

_RENAMED = {"averaged": "with_ema", "average_of": "eval_params"}


def __getattr__(name: str) -> Any:
    hint = f"; it is now called {_RENAMED[name]!r}" if name in _RENAMED else ""
    raise AttributeError(f"module 'deeplab.optim' has no attribute {name!r}{hint}")
