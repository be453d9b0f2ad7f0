"""A run as tests of its robustness see it: a bound model, batches of a split, and where its inputs can be moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deeplab import explain
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.robust import attacks
from deeplab.robust.attacks.evaluation.measure import with_arguments
from deeplab.tasks.contract.apply import Apply
from deeplab.train.bind import bind
from deeplab.train.state import eval_key, eval_state
from deeplab.verbs.explaining.subject import embedding, model_of, preparer
from deeplab.verbs.probing.features import spread
from deeplab.verbs.run import Run


class Examined(NamedTuple):
    """What is tested.

    Attributes:
      experiment: Experiment of the run.
      apply: Model with its evaluation weights.
      prepare: Function from a raw batch to the batch that the task reads.
      batches: Prepared batches of the split.
      raws: The same batches as they are stored.
      key: Key of all draws.
      seam: Where inputs are moved.
      unit: Unit of a radius.
      unit_name: That unit in words.
      classifies: Whether the model gives one row of logits for each example, and each has one label.
      class_names: Names of the classes.
    """

    experiment: Experiment
    apply: Apply
    prepare: Callable[[Batch], Batch]
    batches: tuple[Batch, ...]
    raws: tuple[Batch, ...]
    key: jax.Array
    seam: attacks.Seam
    unit: float
    unit_name: str
    classifies: bool
    class_names: tuple[str, ...]

    @property
    def moves_images(self) -> bool:
        """Whether what is moved are images in [0, 1]."""
        return self.unit_name == "of white"

    def over(self, function: Callable[[Apply, Batch], Any], batches: Any = None) -> Any:
        """A function of the bound model and a batch, over all batches, as arrays of all examples on the host."""
        run = with_arguments(self.apply, function)
        parts = [jax.device_get(run(batch)) for batch in (self.batches if batches is None else batches)]
        return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def examined(run: Run, split: str | None, count: int) -> Examined:
    """A run and examples that are spread evenly over a split.

    Args:
      run: Run.
      split: Name of the split; the one that training evaluates on when None.
      count: Number of examples.

    Raises:
      UserError: No input of the model can be moved.
    """
    experiment, runtime = run.experiment, run.recipe.runtime
    data, task, state = experiment.data, experiment.task, eval_state(run.state)
    raws = tuple(spread(data, split or data.eval_split, count, run.recipe.data_dir)())
    prepare = preparer(experiment)
    batches = tuple(map(prepare, raws))
    first = batches[0]
    apply = bind(experiment, state, first, runtime)
    inputs = task.inputs(first)
    outputs = jax.eval_shape(lambda *given: apply(*given)[0], *inputs)
    label = first.get("label")
    classifies = (
        getattr(outputs, "ndim", 0) == 2
        and outputs.shape[1] > 1
        and label is not None
        and label.ndim == 1
        and jnp.issubdtype(label.dtype, jnp.integer)
    )
    return Examined(
        experiment,
        apply,
        prepare,
        batches,
        raws,
        eval_key(state),
        *_seam(experiment, state, inputs, runtime),
        classifies=classifies,
        class_names=run.class_names,
    )


def _seam(experiment: Experiment, state: Any, inputs: Any, runtime: Runtime) -> tuple[attacks.Seam, float, str]:
    """Where inputs are moved, and in which unit: images in [0, 1], other numbers, or the vectors of tokens."""
    fields = experiment.task.fields
    place = next((i for i, x in enumerate(inputs) if jnp.issubdtype(x.dtype, jnp.floating) and x.ndim > 1), None)
    if place is None:
        model = model_of(experiment, state, runtime)
        name = embedding(model, inputs)
        _, taps = explain.read(model, [name])(*inputs)
        return attacks.Seam(fields, tap=name), float(np.std(taps[name])), "standard deviations of a word's vector"
    x = np.asarray(inputs[place])
    if x.ndim == 4 and x.min() >= 0 and x.max() <= 1:
        return attacks.Seam(fields, fields[place]), 1.0, "of white"
    return attacks.Seam(fields, fields[place], low=-np.inf, high=np.inf), float(x.std()) or 1.0, "standard deviations"
