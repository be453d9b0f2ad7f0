"""Evaluation: one exact pass over a split."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.metrics.base import Metrics, in_double
from deeplab.scale import to_device_memory
from deeplab.train.check import check_labels
from deeplab.train.feed import Feed
from deeplab.train.members import MEMBERS, Members
from deeplab.train.state import State
from deeplab.train.step import make_eval, make_predict

Probe = Callable[[Experiment, Runtime], Callable[[State, Batch], Metrics]]
"""A measurement of a state: `probe(experiment, runtime)(state, raw batch)` returns metrics, like `make_eval`."""


def make_evaluator(
    experiment: Experiment,
    feed: Feed,
    split: str,
    runtime: Runtime = Runtime(),
    warm: State | None = None,
    *,
    probe: Probe = make_eval,
    members: Members | None = None,
) -> Callable[..., Any]:
    """Makes a function from a state to the metrics of a split.

    Batches are dispatched without waiting for one another, and their metrics merged in order on the host. The result
    is exact: the padding of the last batch has weight 0.

    Args:
      experiment: Experiment whose task is evaluated; with members, the experiment of the first one.
      feed: Split, from `make_feed`.
      split: Name of the split.
      runtime: Precision of the evaluation.
      warm: State to compile with immediately; compiled at the first call when None.
      probe: Measurement of a batch; the task's metrics by default.
      members: Members that are evaluated together. None is a solo run.

    Raises:
      UserError: A label has no output.

    Returns:
      Function `evaluate(state)` that returns values by name; with `members`, function `evaluate(state, members)` that
      returns such a dict for each member. It also accepts other members, of the same number and `build`.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> feed = dl.make_feed(data, data.open("test"), dl.scale.make_mesh("data=1"))
      >>> evaluate = dl.make_evaluator(exp, feed, "test")
      >>> sorted(evaluate(dl.init(exp, jax.random.key(0))))
      ['accuracy', 'loss']
    """
    check_labels(experiment, feed, split, runtime)
    if members is not None:
        return _evaluator_of_each(members, feed, split, runtime, probe)
    over = _over_batches(probe(experiment, runtime), feed, split)
    if warm is not None:
        over(warm, 1)

    def evaluate(state: State) -> dict[str, float]:
        return {name: metric.compute() for name, metric in _merged(over(state)).items()}

    return evaluate


def _evaluator_of_each(members: Members, feed: Feed, split: str, runtime: Runtime, probe: Probe) -> Callable[..., Any]:
    execution, whole = members.execution, PartitionSpec()

    def one(floats: Any, state: State, batch: Batch) -> Metrics:
        return probe(members.build(floats), runtime)(state, batch)

    each = execution.spread(execution.over_members(one, (0, 0, None)), (MEMBERS, MEMBERS, whole))
    over = _over_batches(lambda carried, batch: each(carried[0], to_device_memory(carried[1]), batch), feed, split)

    def evaluate(state: State, chunk: Members) -> list[dict[str, float]]:
        return [*chunk.each(_merged(over((chunk.placed(), state))))]

    return evaluate


def _merged(parts: Sequence[Metrics]) -> Metrics:
    """Sum of metrics on the host, in order and in double precision."""
    first, *others = map(in_double, jax.device_get(parts))
    return functools.reduce(lambda a, b: {name: a[name] + b[name] for name in a}, others, first)


def predict(
    experiment: Experiment, state: State, feed: Feed, split: str, runtime: Runtime = Runtime()
) -> dict[str, np.ndarray]:
    """Predictions of the task for every example of a split, and their `id`; without the padding.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state = dl.init(exp, jax.random.key(0))
      >>> feed = dl.make_feed(data, data.open("test"), dl.scale.make_mesh("data=1"))
      >>> found = predict(exp, state, feed, "test")
      >>> found["id"].tolist() == list(range(360)), found["prediction"].shape  # 12 batches of 32, the last padded
      (True, (360,))
    """
    parts = jax.device_get(_over_batches(make_predict(experiment, runtime), feed, split)(state))
    ids, weight = experiment.data.eval_ids(split)
    keep = weight.reshape(-1) > 0
    out = {name: np.concatenate([part[name] for part in parts])[keep] for name in parts[0]}
    return {"id": ids.reshape(-1)[keep], **out}


def _over_batches(function: Callable, feed: Feed, split: str) -> Callable[..., list[Any]]:
    """Makes a function that applies `function(state, batch)` to the (first `limit`) batches of a split, jitted once.

    With several processes the results are replicated on each device, so that every process can read them.
    """
    whole = NamedSharding(feed.mesh, PartitionSpec()) if jax.process_count() > 1 else None

    @functools.partial(jax.jit, out_shardings=whole)
    def run(state: State, arrays: Any, item: Any, weight: jax.Array) -> Any:
        batch = feed.fetch(arrays, item)
        return function(state, batch | {"weight": weight * batch["weight"]})

    def over(state: State, limit: int | None = None) -> list[Any]:
        items = itertools.islice(feed.eval_items(split), limit)
        with jax.set_mesh(feed.mesh), jax.transfer_guard("disallow"):
            return [run(state, feed.resident, feed.put(item), feed.put(weight)) for item, weight in items]

    return over
