"""Experiments that train a part of their parameters."""

from __future__ import annotations

import dataclasses
from typing import Any

from deeplab.experiment import Experiment, Weights
from deeplab.optim import freeze
from deeplab.tuning.lora import ADAPTERS, Lora, base
from deeplab.tuning.models import Adapted, Frozen


def frozen(experiment: Experiment, pattern: str) -> Experiment:
    """The experiment with parameters that stay as they are: no gradient, no optimizer state.

    Args:
      experiment: Experiment.
      pattern: Regular expression of the paths of frozen parameters, such as "^(embed|blocks)/".

    Raises:
      UserError: The pattern matches no parameter; raised when the state is made.

    Example:
      >>> import deeplab as dl, jax
      >>> from experiments.image_digits import experiment
      >>> state = dl.init(frozen(experiment(width=4), "^(?!head)"), jax.random.key(0))
    """
    model: Any = Frozen(experiment.model, pattern)
    return dataclasses.replace(experiment, model=model, optimizer=freeze(experiment.optimizer, pattern))


def adapted(experiment: Experiment, lora: Lora, also: str = "") -> Experiment:
    """The experiment that trains adapters of its model, and leaves the model as it is.

    State, checkpoints and reports have the parameters of the model in their places and those of the adapters under
    "adapters/"; the optimizer has a state for those that are trained. `lora.merged(run.state.params)` is the plain
    model.

    Args:
      experiment: Experiment.
      lora: Adapters.
      also: Regular expression of the paths of parameters that are trained besides, such as "^head/".

    Raises:
      UserError: No kernel is adapted, or `also` matches no parameter; raised when the state is made.

    Example:
      >>> import deeplab as dl, jax
      >>> from experiments.image_digits import experiment
      >>> few = adapted(experiment(width=4), Lora(rank=2, where="kernel"))
      >>> sorted(dl.init(few, jax.random.key(0)).params)[0]
      'adapters'
    """
    given = (experiment.weights,) if isinstance(experiment.weights, Weights) else experiment.weights
    rules = experiment.rules
    model: Any = Adapted(experiment.model, lora, also)
    changed = dataclasses.replace(
        experiment,
        model=model,
        rules=None if rules is None else (*lora.rules(rules), *rules),
        weights=tuple(map(_beside_adapters, given)),
    )
    return frozen(changed, rf"^(?!({ADAPTERS}|task)/)" + (f"(?!.*({also}))" if also else ""))


def _beside_adapters(weights: Weights) -> Weights:
    """Weights of the whole model as those of a model with adapters, which keep their first values."""
    if weights.path != "params":
        return weights

    def load(tree: Any) -> Any:
        return {**weights.load(base(tree)), ADAPTERS: tree[ADAPTERS]}

    return dataclasses.replace(weights, load=load, skip=(*weights.skip, f"^{ADAPTERS}/"))
