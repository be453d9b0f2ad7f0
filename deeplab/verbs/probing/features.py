"""Features of a run's examples, by layer: inputs of probes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab import explain
from deeplab.core.errors import UserError, nearest
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.train.state import State, eval_state
from deeplab.verbs.explaining.subject import model_of, preparer

INPUT = "input"
"""Name of the layer 0: the first input of the model, where it is no token or id."""

Reader = Callable[[State, Batch], dict[str, jax.Array]]
"""From a state and a batch to the features of its examples by layer."""

_BATCH = 128
_WIDEST = 1024


def layers_of(experiment: Experiment, state: State, batch: Batch, runtime: Runtime = Runtime()) -> tuple[str, ...]:
    """The parts of a model in the order of its program: the least nested modules, where there are three or more.

    Args:
      experiment: Experiment of the run.
      state: State of the run.
      batch: Raw batch.
      runtime: Precision of the model.
    """
    inputs = experiment.task.inputs(preparer(experiment)(batch))
    found = [
        name for name, tap in explain.taps(model_of(experiment, state, runtime), *inputs).items() if _fits(tap, inputs)
    ]
    depths = sorted({name.count("/") for name in found})
    chosen = next((d for d in depths if sum(name.count("/") == d for name in found) > 2), depths[-1] if depths else 0)
    first = (INPUT,) if _fits(inputs[0], inputs) else ()
    return *first, *(name for name in found if name.count("/") <= chosen)


def features_of(
    experiment: Experiment,
    state: State,
    batches: Iterator[Batch],
    names: Sequence[str],
    runtime: Runtime = Runtime(),
    *,
    label: str = "label",
    prepare: Callable[[Batch], Batch] | None = None,
    read: Reader | None = None,
) -> tuple[dict[str, Float[ndarray, "N D"]], Int[ndarray, " N"]]:
    """Features of examples by layer, and their classes.

    The mean is taken over all axes between the first and the last, such as places or positions; the input is taken as
    it is. What is wider than 1,024 numbers is projected on as many random directions, the same for each network.

    Args:
      experiment: Experiment of the run.
      state: State of the run, or a random one.
      batches: Raw batches.
      names: Names of layers, of `layers_of`, or of any taps.
      runtime: Precision of the model.
      label: Name of the field of classes.
      prepare: Function of `preparer` that several calls share, so that it compiles once; another one when None.
      read: Compiled function of `reader`, likewise.

    Raises:
      UserError: the field is not one class for each example, the model is told it or reads no example, or a layer has
        no features.
    """
    read = read or jax.jit(reader(experiment, names, runtime))
    features: dict[str, list[ndarray]] = {name: [] for name in names}
    labels, prepare = [], prepare or preparer(experiment)
    for raw in batches:
        batch = prepare(raw)
        labels.append(_classes(raw, batch, label))
        if len(labels) == 1:
            _refuse_untelling(experiment.task, batch, label)
        for name, x in jax.device_get(read(state, batch)).items():
            features[name].append(x)
    return {name: np.concatenate(parts) for name, parts in features.items()}, np.concatenate(labels)


def reader(experiment: Experiment, names: Sequence[str], runtime: Runtime = Runtime()) -> Reader:
    """Makes the function from a state and a batch that the task reads to the features of layers, see `features_of`.

    Parameters that a compiled function closed over would be constants of its program, which folding them makes slow.
    """
    task = experiment.task
    inner = [name for name in names if name != INPUT]

    def read(state: State, batch: Batch) -> dict[str, jax.Array]:
        inputs = task.inputs(batch)
        _, found = explain.read(model_of(experiment, eval_state(state), runtime), inner)(*inputs)
        pooled = {name: jnp.asarray(_only(name, value), jnp.float32) for name, value in found.items()}
        pooled = {name: x.mean(axis=tuple(range(1, x.ndim - 1))) for name, x in pooled.items()}
        first = {INPUT: jnp.asarray(inputs[0], jnp.float32)} if INPUT in names else {}
        return {name: _narrow(x.reshape(len(x), -1)) for name, x in (first | pooled).items()}

    return read


def spread(data: Any, split: str, count: int, data_dir: Any = None) -> Callable[[], Iterator[Batch]]:
    """Raw batches of examples that are spread evenly over a split, at most `count`; each call begins anew."""
    source = data.open(split, data_dir)
    ids = np.unique(np.linspace(0, source.size - 1, min(count, source.size)).astype(np.int32))

    def batches() -> Iterator[Batch]:
        for start in range(0, len(ids), _BATCH):
            yield jax.tree.map(np.asarray, data.fetch(source, ids[start : start + _BATCH]))

    return batches


def images_of(experiment: Experiment, batches: Iterator[Batch]) -> Float[ndarray, "N H W C"] | None:
    """What the model reads of each example, before its normalization; None where it is no image of 1 or 3 channels."""
    found, prepare = [], preparer(experiment)
    for raw in batches:
        first = np.asarray(experiment.task.inputs(prepare(raw))[0])
        if first.ndim != 4 or first.shape[-1] not in (1, 3):
            return None
        first = (first + 1) / 2 if first.min() < 0 else first  # diffusion centers it
        found.append(np.clip(first, 0, 1))
    return np.concatenate(found)


def _refuse_untelling(task: Any, batch: Batch, label: str) -> None:
    """Refuses a model that is told the classes, which a probe would read off its input, or that reads no example."""

    def moved(names: set[str]) -> bool:
        other = {name: (batch[name] == 0).astype(batch[name].dtype) for name in names}
        pairs = zip(*(jax.tree.leaves(task.inputs(given)) for given in (batch, {**batch, **other})), strict=True)
        return any(not np.array_equal(x, y) for x, y in pairs)

    name = type(task).__name__
    if label in batch and moved({label}):
        raise UserError(
            f"{name} tells its model the field {label!r}, which a probe would read off that input; name another field "
            "by label=, or train the task without it (num_classes=None)"
        )
    if not moved({name for name in batch if name not in ("id", "weight")}):
        raise UserError(
            f"the inputs of {name} do not depend on the example, and its layers tell nothing of one; probe a task "
            "whose model reads examples, such as a classifier"
        )


def _fits(tap: Any, inputs: Sequence[Any]) -> bool:
    """Whether a value is one array of features of each example."""
    size = len(jax.tree.leaves(inputs)[0])
    return hasattr(tap, "ndim") and tap.ndim > 1 and len(tap) == size and jnp.issubdtype(tap.dtype, jnp.floating)


def _only(name: str, value: Any) -> jax.Array:
    value = value[-1] if isinstance(value, list) else value  # of several calls, the last
    if not hasattr(value, "ndim") or value.ndim < 2:
        raise UserError(f"the layer {name!r} has no features of each example; name one whose output is [B, ..., D]")
    return value


def _narrow(x: jax.Array) -> jax.Array:
    if x.shape[1] <= _WIDEST:
        return x
    directions = jax.random.normal(jax.random.key(x.shape[1]), (x.shape[1], _WIDEST)) / math.sqrt(_WIDEST)
    return x @ directions


def _classes(raw: Batch, batch: Mapping[str, Any], label: str) -> ndarray:
    found = np.asarray(batch[label] if label in batch else raw.get(label, np.zeros(0, np.float32)))
    if found.ndim == 1 and len(found) and np.issubdtype(found.dtype, np.integer):
        return found
    known = {name: x for name, x in {**raw, **batch}.items() if np.ndim(x) == 1 and name not in ("id", "weight")}
    if not known:
        raise UserError(f"the data have no field {label!r}, nor any other of one class for each example to be read")
    if label not in {**raw, **batch}:
        raise UserError(f"the data have no field {label!r}; {nearest(label, known)}")
    raise UserError(
        f"a probe reads one class for each example, and the field {label!r} is {found.dtype}{list(found.shape)}; "
        f"name another by label=, of {', '.join(known) or 'none'}"
    )
