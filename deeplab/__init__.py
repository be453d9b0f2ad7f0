"""deeplab: deep-learning research in JAX.

An experiment is a pure function from hyper-parameters to a value; training, resuming, evaluating, verifying and
reporting are functions of that value. Names load when they are first used: `import deeplab` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab import data, models, nn, optim, precision, report, robust, scale, tasks, train
    from deeplab.cli import main
    from deeplab.cli.study import Study
    from deeplab.errors import CheckpointError, Diverged, UserError
    from deeplab.experiment import Experiment, Rules, StaticFloat
    from deeplab.precision import PRECISIONS, Precision
    from deeplab.train.evaluate import make_evaluator, predict
    from deeplab.train.feed import make_feed
    from deeplab.train.loop import fit, on_dispatch, on_log, on_state
    from deeplab.train.state import State, init
    from deeplab.train.step import make_eval, make_predict, make_step
    from deeplab.train.sweep import sweep

_MODULES = ("data", "models", "nn", "optim", "precision", "report", "robust", "scale", "tasks", "train")
_HOMES = {
    "CheckpointError": "errors",
    "Diverged": "errors",
    "Experiment": "experiment",
    "PRECISIONS": "precision",
    "Precision": "precision",
    "Rules": "experiment",
    "State": "train.state",
    "StaticFloat": "experiment",
    "Study": "cli.study",
    "UserError": "errors",
    "fit": "train.loop",
    "init": "train.state",
    "main": "cli",
    "make_eval": "train.step",
    "make_evaluator": "train.evaluate",
    "make_feed": "train.feed",
    "make_predict": "train.step",
    "make_step": "train.step",
    "on_dispatch": "train.loop",
    "on_log": "train.loop",
    "on_state": "train.loop",
    "predict": "train.evaluate",
    "sweep": "train.sweep",
}

__all__ = [
    "PRECISIONS",
    "CheckpointError",
    "Diverged",
    "Experiment",
    "Precision",
    "Rules",
    "State",
    "StaticFloat",
    "Study",
    "UserError",
    "data",
    "fit",
    "init",
    "main",
    "make_eval",
    "make_evaluator",
    "make_feed",
    "make_predict",
    "make_step",
    "models",
    "nn",
    "on_dispatch",
    "on_log",
    "on_state",
    "optim",
    "precision",
    "predict",
    "report",
    "robust",
    "scale",
    "sweep",
    "tasks",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"deeplab.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"deeplab.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'deeplab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
