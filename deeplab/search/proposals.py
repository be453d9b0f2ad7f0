"""Which settings a sweep tries: a grid, draws, or proposals that learn from what has been seen."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from deeplab.core.errors import UserError
from deeplab.search.axes import Axis

How = Literal["grid", "random", "quasi", "tpe"]
Setting = dict[str, Any]

Search = Generator[list[Setting], Sequence[float], None]
"""Yields settings to try, and is sent their scores (more is better, -inf where nothing was learnt), until it ends."""


def search(axes: Mapping[str, Axis], how: How, settings: int, seed: int, together: int) -> Search:
    """The settings of a sweep; the same for the same arguments, and with more `settings` the same first ones.

    Args:
      axes: Values of the arguments that differ, by name.
      how: All combinations; uniform draws; a scrambled Halton sequence, which covers a space more evenly (Owen 2017,
        https://arxiv.org/abs/1706.02808); or the tree-structured Parzen estimator of Optuna (Bergstra et al. 2011,
        https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization).
      settings: Number of settings to draw or propose; those of a grid follow from the axes.
      seed: Seeds draws and proposals.
      together: Number of proposals made before their scores are waited for.

    Example:
      >>> from deeplab.search.axes import parse
      >>> axes = {"learning_rate": parse("1e-3..1e-1", float), "width": parse("8,16", int)}
      >>> for setting in next(search(axes, "quasi", 3, seed=0, together=8)):
      ...     print(1e-3 <= setting["learning_rate"] <= 1e-1, setting["width"] in (8, 16))
      True True
      True True
      True True
    """
    if how == "tpe":
        yield from _tpe(axes, settings, seed, together)
    elif how == "grid":
        values = [axis.grid(name) for name, axis in axes.items()]
        yield [dict(zip(axes, combination, strict=True)) for combination in itertools.product(*values)]
    else:
        yield _distinct([{k: axes[k].at(float(u)) for k, u in zip(axes, row, strict=True)}
                         for row in _draws(how, settings, len(axes), seed)])  # fmt: skip


def _draws(how: How, count: int, dimensions: int, seed: int) -> np.ndarray:
    """Points of the unit cube, [count, dimensions]."""
    if how == "random" or not dimensions:
        return np.random.default_rng(seed).random((count, dimensions))
    from scipy.stats import qmc

    return qmc.Halton(dimensions, scramble=True, rng=np.random.default_rng(seed)).random(count)


def _distinct(settings: Sequence[Setting]) -> list[Setting]:
    return list({repr(setting): setting for setting in settings}.values())


def _tpe(axes: Mapping[str, Axis], settings: int, seed: int, together: int) -> Search:
    """Repeated with the same scores it proposes the same: that is how a sweep goes on after a kill."""
    try:
        import optuna  # pyright: ignore[reportMissingImports]  # the extra `sweep`
    except ImportError as error:
        raise UserError("--search tpe needs Optuna: pip install 'deeplab[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, settings // 2))
    study, spaces = optuna.create_study(direction="maximize", sampler=sampler), _spaces(axes)
    left = settings
    while left > 0:
        trials = [study.ask(spaces) for _ in range(min(together, left))]
        proposed = [{name: _value(axes[name], trial.params[name]) for name in axes} for trial in trials]
        scores = yield proposed
        for trial, score in zip(trials, scores, strict=True):
            if np.isfinite(score):
                study.tell(trial, score)
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        left -= len(trials)


def _spaces(axes: Mapping[str, Axis]) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # pyright: ignore[reportMissingImports]

    def space(axis: Axis) -> Any:
        if axis.low is None or axis.high is None:
            return CategoricalDistribution(axis.values)
        if axis.whole:
            return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        return FloatDistribution(axis.low, axis.high, log=axis.log)

    return {name: space(axis) for name, axis in axes.items()}


def _value(axis: Axis, proposed: Any) -> Any:
    return proposed if axis.low is None else axis.rounded(proposed)
