"""deeplab: deep-learning research in JAX.

An experiment is a pure function from hyper-parameters to a value; training, resuming, evaluating, verifying and
reporting are functions of that value. Names load when they are first used: `import deeplab` costs next to nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
from typing import TYPE_CHECKING

from deeplab.core import lazy

# On a CPU, this version sums wrong rows in some programs whose first axis is longer than 256: it repeats the first 256.
# JAX reads the flag with its first array. `tests/tasks/test_many_members.py` has the program; 0.12 is right again.
_WRONG_SUMS = "--xla_cpu_experimental_ynn_fusion_type="
if importlib.metadata.version("jaxlib") == "0.10.2" and _WRONG_SUMS not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_WRONG_SUMS}".strip()

if TYPE_CHECKING:
    from deeplab import (
        data,
        decode,
        explain,
        generate,
        hub,
        metrics,
        models,
        nn,
        optim,
        report,
        representation,
        robust,
        runs,
        scale,
        search,
        tasks,
        train,
        tuning,
    )
    from deeplab.cli import main
    from deeplab.core.errors import CheckpointError, Diverged, UserError
    from deeplab.core.monitor import Monitor
    from deeplab.core.precision import PRECISIONS, Precision
    from deeplab.core.ranges import Range, checked
    from deeplab.core.runtime import Runtime
    from deeplab.experiment import Experiment, Fold, Rules, StaticFloat, Weights
    from deeplab.train.evaluate import make_evaluator
    from deeplab.train.feed import make_feed
    from deeplab.train.initialize import init
    from deeplab.train.loop import on_dispatch, on_log, on_state
    from deeplab.train.losses import make_losses
    from deeplab.train.state import State
    from deeplab.train.step import make_eval, make_predict, make_step
    from deeplab.verbs.answers.compare import compare
    from deeplab.verbs.answers.folds import cross_validate
    from deeplab.verbs.answers.trials import Trials
    from deeplab.verbs.evaluate import evaluate
    from deeplab.verbs.explaining.explain import explain_run
    from deeplab.verbs.fit import fit
    from deeplab.verbs.load import load
    from deeplab.verbs.many import Many
    from deeplab.verbs.plan import plan
    from deeplab.verbs.predict import predict, predict_files
    from deeplab.verbs.probing.probe import probe
    from deeplab.verbs.profile import profile
    from deeplab.verbs.robustness.robustness import robustness
    from deeplab.verbs.run import Run
    from deeplab.verbs.study import Study, study
    from deeplab.verbs.summary import summary
    from deeplab.verbs.sweep import sweep
    from deeplab.verbs.training.rates import rate_range
    from deeplab.verbs.training.weights import weights_of
    from deeplab.verbs.verify import verify

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "checked": "core.ranges:checked",
        "CheckpointError": "core.errors:CheckpointError",
        "compare": "verbs.answers.compare:compare",
        "cross_validate": "verbs.answers.folds:cross_validate",
        "data": "data",
        "decode": "decode",
        "Diverged": "core.errors:Diverged",
        "evaluate": "verbs.evaluate:evaluate",
        "Experiment": "experiment:Experiment",
        "explain": "explain",
        "explain_run": "verbs.explaining.explain:explain_run",
        "fit": "verbs.fit:fit",
        "Fold": "experiment:Fold",
        "generate": "generate",
        "hub": "hub",
        "init": "train.initialize:init",
        "load": "verbs.load:load",
        "main": "cli:main",
        "make_eval": "train.step:make_eval",
        "make_evaluator": "train.evaluate:make_evaluator",
        "make_feed": "train.feed:make_feed",
        "make_losses": "train.losses:make_losses",
        "make_predict": "train.step:make_predict",
        "make_step": "train.step:make_step",
        "Many": "verbs.many:Many",
        "metrics": "metrics",
        "models": "models",
        "Monitor": "core.monitor:Monitor",
        "nn": "nn",
        "on_dispatch": "train.loop:on_dispatch",
        "on_log": "train.loop:on_log",
        "on_state": "train.loop:on_state",
        "optim": "optim",
        "plan": "verbs.plan:plan",
        "Precision": "core.precision:Precision",
        "PRECISIONS": "core.precision:PRECISIONS",
        "predict": "verbs.predict:predict",
        "predict_files": "verbs.predict:predict_files",
        "probe": "verbs.probing.probe:probe",
        "profile": "verbs.profile:profile",
        "Range": "core.ranges:Range",
        "rate_range": "verbs.training.rates:rate_range",
        "report": "report",
        "representation": "representation",
        "robust": "robust",
        "robustness": "verbs.robustness.robustness:robustness",
        "Rules": "experiment:Rules",
        "Run": "verbs.run:Run",
        "runs": "runs",
        "Runtime": "core.runtime:Runtime",
        "scale": "scale",
        "search": "search",
        "State": "train.state:State",
        "StaticFloat": "experiment:StaticFloat",
        "Study": "verbs.study:Study",
        "study": "verbs.study:study",
        "summary": "verbs.summary:summary",
        "sweep": "verbs.sweep:sweep",
        "tasks": "tasks",
        "train": "train",
        "Trials": "verbs.answers.trials:Trials",
        "tuning": "tuning",
        "UserError": "core.errors:UserError",
        "verify": "verbs.verify:verify",
        "Weights": "experiment:Weights",
        "weights_of": "verbs.training.weights:weights_of",
    },
)
