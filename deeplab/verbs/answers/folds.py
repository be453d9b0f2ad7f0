"""`cross_validate`: the same experiment on each fold of its data, with mean, spread and differences of settings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.experiment import fold_argument
from deeplab.verbs.recipe import Recipe
from deeplab.verbs.sweep import Sweep, sweep


@ranges.checked(folds=ranges.Range(at_least=2, whole=True), seeds=ranges.COUNT)
def cross_validate(
    experiment: Any, folds: int = 5, axes: Mapping[str, Any] | None = None, *, seeds: int | None = None, **options: Any
) -> Sweep:
    """Trains an experiment on each fold, and on each fold at many settings where there are axes.

    The result is the sweep over the argument annotated as `dl.Fold`: `best` has `units` (the monitored metric by fold,
    the mean over its seeds), `mean`, `error` (the standard error), `low` and `high`; `records` and `frame` have all
    metrics of each run; `difference` compares two settings fold by fold. Training sets of folds share examples, so
    errors and intervals have the correction of Nadeau and Bengio: their variance is (1/K + test / training examples)
    times that of the folds.

    Args:
      experiment: Function of hyper-parameters, one of them a `dl.Fold`, or a `functools.partial` of it.
      folds: Number of folds, K, from the default of that argument on.
      axes: Values of further arguments, as for `sweep`.
      seeds: Number of runs of each fold; 1, or those of `many`, when None.
      **options: Further arguments of `sweep`.

    Raises:
      UserError: No argument is a fold, or `sweep` refuses the rest.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> from deeplab.data.sets.health.breast_cancer import BreastCancer
      >>> def experiment(fold: dl.Fold = 0) -> dl.Experiment:
      ...     data = dl.data.Examples(BreastCancer(fold), batch_size=32, num_steps=2)
      ...     return dl.Experiment(data, dl.models.MLP(2, ()), dl.tasks.Classification(fields=("x",)), optax.sgd(0.1))
      >>> found = dl.cross_validate(experiment, 2)
      >>> [*found.best["units"]], found.summary["over"]
      (['fold 0', 'fold 1'], '2 folds')
    """
    recipe = Recipe.of(experiment)
    return sweep(experiment, fold_axis(recipe, folds) | dict(axes or {}), seeds=seeds, **options)


def fold_axis(recipe: Recipe, folds: int) -> dict[str, list[int]]:
    """The folds of an experiment, by the argument that numbers them.

    Raises:
      UserError: The experiment has no such argument.
    """
    name = fold_argument(recipe.function)
    if name is None:
        raise UserError(
            f"{recipe.name} has no argument that says which fold is held out; add one, `fold: dl.Fold = 0`, and hold "
            "that part out, such as by dl.data.table(..., fold=fold), whose folds are `test=0.2` of the rows each"
        )
    first = inspect.signature(recipe.function).parameters[name].default
    return {name: list(range(first, first + folds))}
