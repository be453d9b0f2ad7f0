"""How often a model is right, before and after an attack, over batches: on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray
from numpy import ndarray

from deeplab.core.blocks import wilson
from deeplab.core.errors import UserError
from deeplab.robust.attacks.objectives import CROSS_ENTROPY, Batch, Objective, misclassified, undefined
from deeplab.robust.attacks.seam import IMAGES, Attack, Seam
from deeplab.robust.inputs import refuse_labels, refuse_missing, refuse_unbound

_BOUND = ("params", "variables", "task_params", "task_state")


class RobustAccuracy(NamedTuple):
    """How often a model is right on the examples of some batches; those of weight 0 count nowhere.

    Attributes:
      count: Number of examples.
      clean: Share that is right before the attack.
      robust: Share that is right before the attack and after it.
      interval: Wilson's 95 % interval of `robust`.
      objective: Mean of the objective after the attack.
      ids: Number of each example.
      right: Whether each is right before and after.

    Example:
      >>> found = RobustAccuracy(2, 1.0, 0.5, (0.09, 0.91), 0.2, np.arange(2), np.array([True, False]))
      >>> found.ids[~found.right].tolist()  # those that the attack changed
      [1]
    """

    count: int
    clean: float
    robust: float
    interval: tuple[float, float]
    objective: float
    ids: Int[ndarray, " N"]
    right: Bool[ndarray, " N"]


def robust_accuracy(
    apply: Any,
    batches: Iterable[Batch],
    attack: Attack,
    key: PRNGKeyArray,
    *,
    objective: Objective = CROSS_ENTROPY,
    seam: Seam = IMAGES,
) -> RobustAccuracy:
    """Attacks batches of one shape with one program, and counts.

    Args:
      apply: Bound model.
      batches: Batches, before the normalization; at least one example has a weight.
      attack: Attack.
      key: Key of the attack.
      objective: What is averaged, and when an example is wrong.
      seam: Where the attack acts.

    Raises:
      UserError: there is no example, or its values are out of the box.

    Example:
      >>> import deeplab as dl
      >>> from deeplab.train.bind import BoundApply
      >>> model, head = dl.models.MLP(2, ()), {"kernel": jnp.array([[-1.0, 1.0]]), "bias": jnp.array([0.5, -0.5])}
      >>> apply = BoundApply(model, {"head": head}, {}, jnp.arange(2), dl.Runtime().precision)  # or run.bound(2)
      >>> x, ids = jnp.array([[0.9], [0.6]]), jnp.arange(2)
      >>> batch = {"image": x, "label": jnp.array([1, 1]), "id": ids, "weight": jnp.ones(2)}
      >>> found = robust_accuracy(apply, [batch], dl.robust.attacks.fgsm(0.2), jax.random.key(0))
      >>> found.clean, found.robust
      (1.0, 0.5)
    """

    return accuracy_by_radius(apply, batches, lambda _: attack, (0.0,), key, objective=objective, seam=seam)[0.0]


def accuracy_by_radius(
    apply: Any,
    batches: Iterable[Batch],
    made: Callable[[Any], Attack],
    radii: Iterable[float],
    key: PRNGKeyArray,
    *,
    objective: Objective = CROSS_ENTROPY,
    seam: Seam = IMAGES,
) -> dict[float, RobustAccuracy]:
    """The robust accuracy for several radii, by one program.

    Args:
      apply: Bound model.
      batches: As of `robust_accuracy`.
      made: Function from a radius, which is a tracer, to the attack.
      radii: Radii.
      key: Key of the attacks.
      objective: As of `robust_accuracy`.
      seam: Where the attacks act.

    Raises:
      UserError: as of `robust_accuracy`.

    Example:
      >>> import deeplab as dl
      >>> from deeplab.train.bind import BoundApply
      >>> model, head = dl.models.MLP(2, ()), {"kernel": jnp.array([[-1.0, 1.0]]), "bias": jnp.array([0.5, -0.5])}
      >>> apply = BoundApply(model, {"head": head}, {}, jnp.arange(2), dl.Runtime().precision)  # or run.bound(2)
      >>> x, ids = jnp.array([[0.9], [0.6]]), jnp.arange(2)
      >>> batch = {"image": x, "label": jnp.array([1, 1]), "id": ids, "weight": jnp.ones(2)}
      >>> found = accuracy_by_radius(apply, [batch], dl.robust.attacks.fgsm, (0.0, 0.2, 0.5), jax.random.key(0))
      >>> {radius: accuracy.robust for radius, accuracy in found.items()}
      {0.0: 1.0, 0.2: 0.5, 0.5: 0.0}
    """

    def count(apply: Any, batch: Batch, key: PRNGKeyArray, radius: Any) -> tuple[Any, Any, Any]:
        before, moved = seam.outputs(apply, batch, key), made(radius)(apply, batch, key)
        after = seam.outputs(apply, moved, key)
        wrong = objective.fooled(before, batch) | undefined(before)
        return wrong, objective.fooled(after, batch), objective.value(after, moved)

    batches, radii = list(batches), list(radii)
    for batch in batches:
        refuse_missing(batch, ("id", "weight"))
    if not any(np.any(np.asarray(batch["weight"]) > 0) for batch in batches):
        raise UserError("there is no example that counts; give batches of a split")
    # What follows looks at values, which a trace does not.
    for radius in radii:
        made(radius)
    for batch in [] if seam.tap else batches:
        seam.problem(apply, batch, key)
    if objective.fooled is misclassified:
        refuse_labels(batches, jax.eval_shape(lambda: seam.outputs(apply, batches[0], key)))
    run = with_arguments(apply, count)
    return {r: _counted(batches, [jax.device_get(run(batch, key, jnp.float32(r))) for batch in batches]) for r in radii}


def _counted(batches: Sequence[Batch], parts: Sequence[tuple[ndarray, ...]]) -> RobustAccuracy:
    kept = np.concatenate([np.asarray(batch["weight"]) for batch in batches]) > 0
    before, after, value = (np.concatenate(part)[kept] for part in zip(*parts, strict=True))
    ids = np.concatenate([np.asarray(batch["id"]) for batch in batches])[kept]
    right, count = ~before & ~after, len(ids)
    robust = float(np.mean(right))
    return RobustAccuracy(
        count, float(np.mean(~before)), robust, wilson(int(right.sum()), count), float(np.mean(value)), ids, right
    )


def with_arguments(apply: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """The jitted `function(apply, batch, ...)` of a bound model, whose parameters are arguments of the program.

    As constants they would be compiled in, and computed with at compile time. The number of examples is the batch's.
    """
    refuse_unbound(apply)
    bound = {name: getattr(apply, name) for name in _BOUND if hasattr(apply, name)}

    def call(bound: Any, batch: Batch, *rest: Any) -> Any:
        return function(dataclasses.replace(apply, **bound, ids=batch["id"]), batch, *rest)

    run = jax.jit(call)
    return lambda batch, *rest: run(bound, batch, *rest)


def joined(batches: Iterable[Batch]) -> Batch:
    """One batch on the host of all examples that count.

    Raises:
      UserError: there is none.
    """
    parts = [jax.tree.map(np.asarray, dict(batch)) for batch in batches]
    for part in parts:
        refuse_missing(part, ("id", "weight"))
    whole = jax.tree.map(lambda *rows: np.concatenate(rows), *parts) if parts else {}
    if not whole or not (kept := whole["weight"] > 0).any():
        raise UserError("there is no example to attack; give batches of a split")
    return jax.tree.map(lambda x: x[kept], whole)


def taken(batch: Batch, rows: Int[ndarray, " N"], size: int) -> Batch:
    """Rows of a batch, filled up to a size with the first of them, of weight 0."""
    padded = np.concatenate([rows, np.full(size - len(rows), rows[0] if len(rows) else 0)]).astype(int)
    out = jax.tree.map(lambda x: jnp.asarray(x[padded]), batch)
    weight: Float[ndarray, " N"] = (np.arange(size) < len(rows)).astype(np.float32)
    return out | {"weight": jnp.asarray(weight)}
