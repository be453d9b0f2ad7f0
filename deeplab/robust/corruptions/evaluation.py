"""Corruption as an evaluation of anything that predicts from batches, and the mean corruption error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from deeplab.core.errors import UserError
from deeplab.metrics.base import Metrics
from deeplab.tasks.unlabeled.pairs import by_example

Record = dict[str, Any]
"""`{"clean": {metric: value}, "corrupted": {corruption: [{metric: value}, ...]}}`, a number for each severity."""


def on(field: str, corruption: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[dict, jax.Array], dict]:
    """A corruption of one field of a batch, `(batch, key) -> batch`, drawn for each example by its `id`.

    Args:
      field: Name of the field.
      corruption: Function `(key, x) -> x` of an example's field.

    Example:
      >>> import jax.numpy as jnp
      >>> batch = {"image": jnp.full((2, 4, 4, 1), 0.5), "id": jnp.arange(2)}
      >>> noise = on("image", lambda key, x: x + 0.1 * jax.random.normal(key, x.shape))
      >>> noise(batch, jax.random.key(0))["image"].shape
      (2, 4, 4, 1)
    """

    def corrupted(batch: dict[str, Any], key: jax.Array) -> dict[str, Any]:
        if field not in batch:
            raise UserError(f"the batch has no field {field!r} to corrupt, but {sorted(batch)}; name one by field=")
        return batch | {field: jax.vmap(corruption)(by_example(key, batch), batch[field])}

    return corrupted


def corrupt(
    evaluate: Callable[[dict[str, Any], jax.Array], Metrics],
    batches: Callable[[], Iterable[dict[str, Any]]],
    corruptions: Mapping[str, Sequence[Callable[[jax.Array, jax.Array], jax.Array]]],
    *,
    field: str = "image",
    key: jax.Array | None = None,
) -> Record:
    """Evaluates under each corruption at each severity.

    Images are corrupted in [0, 1], before the normalization of the model's first input, and not rounded to bytes. An
    example's corruption depends on its `id` and on its place among the severities alone.

    Args:
      evaluate: Function `(batch, key) -> metrics` that merge by addition, such as a task's on a bound model:
        `lambda batch, key: task.metrics(apply, batch, key)`.
      batches: Function that gives the batches of a split anew, after `data.transform`.
      corruptions: For each name a corruption for each severity, as `commons()`.
      field: Name of the field that is corrupted.
      key: Key of all draws; `jax.random.key(0)` when None.

    Returns:
      Metrics of the clean split, and of each corruption at each severity.

    Example:
      >>> import jax.numpy as jnp
      >>> from deeplab.metrics import Mean
      >>> batch = {"image": jnp.ones((2, 4, 4, 1)), "id": jnp.arange(2), "weight": jnp.ones(2)}
      >>> bright = lambda batch, key: {"light": Mean.of(batch["image"].mean((1, 2, 3)), batch["weight"])}
      >>> record = corrupt(bright, lambda: [batch], {"dark": [lambda key, x: x / 2, lambda key, x: x / 4]})
      >>> record["clean"], record["corrupted"]["dark"]
      ({'light': 1.0}, [{'light': 0.5}, {'light': 0.25}])
    """
    key = jax.random.key(0) if key is None else key
    measure = jax.jit(evaluate)  # apart from the corruptions, so that the model is compiled once

    def over(change: Callable[[dict, jax.Array], dict], key: jax.Array) -> dict[str, float]:
        change, total = jax.jit(change), {}
        for batch in batches():
            found = measure(change(batch, key), key)
            total = {name: total[name] + value for name, value in found.items()} if total else found
        return {name: value.compute() for name, value in jax.device_get(total).items()}

    clean = over(lambda batch, _: batch, key)
    corrupted = {
        name: [over(on(field, one), jax.random.fold_in(key, severity)) for severity, one in enumerate(each, 1)]
        for name, each in corruptions.items()
    }
    return {"clean": clean, "corrupted": corrupted}


def mean_over(record: Record, metric: str = "accuracy") -> float:
    """The mean of a metric over all corruptions and severities.

    Example:
      >>> mean_over({"corrupted": {"fog": [{"accuracy": 0.5}, {"accuracy": 0.25}]}})
      0.375
    """
    return float(np.mean([[row[metric] for row in rows] for rows in record["corrupted"].values()]))


def mce(record: Record, reference: Record, metric: str = "accuracy") -> float:
    """Mean corruption error: mean_c sum_s (1 - a_cs) / sum_s (1 - a'_cs), of the accuracies a and a reference's a'.

    Raises:
      UserError: A corruption is not in both, or has another number of severities; or the reference makes no errors.

    Example:
      >>> ours, theirs = ({"corrupted": {"fog": [{"accuracy": a}]}} for a in (0.75, 0.5))
      >>> mce(ours, theirs)
      0.5

    Source: Hendrycks and Dietterich 2019, https://arxiv.org/abs/1903.12261, section 4.2.
    """
    errors = [
        {name: [1 - row[metric] for row in rows] for name, rows in each["corrupted"].items()}
        for each in (record, reference)
    ]
    shapes = [{name: len(rows) for name, rows in each.items()} for each in errors]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"the record has corruptions and numbers of severities {shapes[0]}, and the reference {shapes[1]}; "
            "evaluate both under the same"
        )
    if perfect := [name for name, rows in errors[1].items() if sum(rows) == 0]:
        raise UserError(f"the reference makes no error under {perfect[0]!r}, so is no measure; leave it out of both")
    return float(np.mean([sum(errors[0][name]) / sum(errors[1][name]) for name in errors[0]]))
