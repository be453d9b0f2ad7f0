"""Whether each label has an output: asked before the first step."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.tasks.contract.task import Labels
from deeplab.train.bind import bind
from deeplab.train.feed import Feed
from deeplab.train.initialize import init
from deeplab.train.state import State

_STREAMED = 64  # batches of a split that is read from the disk, of which labels are looked at


def label_fields(experiment: Experiment, state: State, runtime: Runtime = Runtime()) -> dict[str, Labels]:
    """The task's fields of labels by name, without their masks; only traced.

    Args:
      experiment: Experiment whose task is asked.
      state: Its first state; shapes suffice.
      runtime: Precision of the model.
    """
    found: dict[str, Labels] = {}

    def trace(state: State, batch: Any) -> None:
        fields = experiment.task.labels(bind(experiment, state, batch, runtime), batch)
        found.update({name: labels._replace(counted=None) for name, labels in fields.items()})

    jax.eval_shape(trace, state, dict(experiment.data.spec()))
    return found


def check_labels(experiment: Experiment, feed: Feed, split: str, runtime: Runtime = Runtime()) -> None:
    """Looks once at all labels of a split whose range the data do not declare; at the first 64 batches, if streamed.

    Args:
      experiment: Experiment whose task reads the labels.
      feed: Split, from `make_feed`.
      split: Name of the split.
      runtime: Precision of the model.

    Raises:
      UserError: A label has no output.
    """
    declared = {name for name, (low, _) in experiment.data.bounds().items() if low >= 0} | {"id"}
    kinds = {"label": jnp.number}  # a float, too, where a task reads whether a label is there
    spec = experiment.data.spec()
    open_ = {k for k, s in spec.items() if jnp.issubdtype(s.dtype, kinds.get(k, jnp.integer))} - declared
    if not open_:  # as a rule: nothing is traced
        return
    start = jax.eval_shape(lambda: init(experiment, jax.random.key(0), runtime))
    fields = label_fields(experiment, start, runtime)
    known = {name: labels for name, labels in fields.items() if name in open_ and labels.needed is None}
    if not known:
        return

    def extremes(arrays: Any, item: Any, weight: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        batch = experiment.data.transform(feed.fetch(arrays, item))
        state = init(experiment, jax.random.key(0), runtime)  # traced, and never computed
        fields = experiment.task.labels(bind(experiment, state, batch, runtime), batch)
        return {name: _extremes(batch[name], fields[name], weight * batch["weight"]) for name in known}

    over = jax.jit(extremes, out_shardings=NamedSharding(feed.mesh, PartitionSpec()))
    items = itertools.islice(feed.eval_items(split), None if feed.resident is not None else _STREAMED)
    with jax.set_mesh(feed.mesh), jax.transfer_guard("disallow"):
        parts = [over(feed.resident, feed.put(item), feed.put(weight)) for item, weight in items]
    for name, labels in known.items():
        least, most = zip(*(part[name] for part in jax.device_get(parts)), strict=True)
        _check_range(experiment, name, labels, np.min(least).item(), np.max(most).item(), f"split {split!r} holds")


def _extremes(values: jax.Array, labels: Labels, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The least and the largest label that counts; 0 if there is none."""
    counted = jnp.expand_dims(weight != 0, tuple(range(1, values.ndim)))
    counted = counted if labels.counted is None else counted & labels.counted
    counted = counted if labels.ignored is None else counted & (values != labels.ignored)
    values = jnp.where(counted, values, 0)
    return jnp.min(values), jnp.max(values)


def check_declared(experiment: Experiment, name: str, labels: Labels) -> None:
    """Checks the labels of a field as far as the data declare them.

    Args:
      experiment: Experiment whose task reads the labels.
      name: Name of the field.
      labels: What the task says of it, from `label_fields`.

    Raises:
      UserError: The labels are no integers, or a label has no output.
    """
    if labels.present:  # what data declare of a label is the number of classes
        return
    given = experiment.data.spec().get(name)
    if given is not None and labels.needed is None and not jnp.issubdtype(given.dtype, jnp.integer):
        raise UserError(
            f"{name!r} is {given.dtype}{list(given.shape)}, and {type(experiment.task).__name__} reads it as the "
            "numbers of classes; give integers from 0 on, as by labels.astype(np.int32)"
        )
    bounds = (0, labels.needed) if labels.needed is not None else experiment.data.bounds().get(name)
    if bounds is None:
        return
    without = [k for k in range(labels.outputs, bounds[1]) if k != labels.ignored]
    if without:
        _check_range(experiment, name, labels, 0, without[-1], "the data declare")


def _check_range(experiment: Experiment, name: str, labels: Labels, least: float, most: float, who: str) -> None:
    task, model = type(experiment.task).__name__, experiment.model
    if labels.present and (least < 0 or most > 1):
        raise UserError(
            f"{who} the label {least if least < 0 else most} in {name!r}, and {task} reads whether each label is "
            "there; give truth values, or 0 and 1, as by labels > 0"
        )
    if least < 0:
        raise UserError(
            f"{who} the label {least} in {name!r}, which {task} would read as an output; renumber the labels from 0, "
            "or give those that do not count weight 0"
        )
    if most >= labels.outputs:
        fields = [f.name for f in dataclasses.fields(model) if _is_count(getattr(model, f.name, None), labels.outputs)]
        argument = labels.argument if not fields else f"{' or '.join(fields)} of {type(model).__name__}"
        raise UserError(
            f"{who} labels up to {most} in {name!r}, which need {most + 1} outputs, and {type(model).__name__} has "
            f"{labels.outputs} for {task}: 0 to {labels.outputs - 1}; set the {argument} to {most + 1}"
            + (", or number the labels from 0 if they begin at 1" if most == labels.outputs else "")
        )


def _is_count(value: Any, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == count
