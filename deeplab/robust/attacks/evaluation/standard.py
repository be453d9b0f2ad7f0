"""AutoAttack: four attacks in turn, each on the examples that the ones before have left.

Croce and Hein 2020, https://arxiv.org/abs/2003.01690.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.blocks import wilson
from deeplab.robust.attacks.adaptive import apgd, apgd_targeted
from deeplab.robust.attacks.boundary import fab
from deeplab.robust.attacks.evaluation.checks import RANDOM, checking
from deeplab.robust.attacks.evaluation.measure import joined, taken, with_arguments
from deeplab.robust.attacks.evaluation.pool import Made, Programs, run
from deeplab.robust.attacks.norms import L1, LINF, Norm
from deeplab.robust.attacks.objectives import DLR, MARGIN, Batch, classes, misclassified, undefined
from deeplab.robust.attacks.seam import IMAGES, Seam
from deeplab.robust.attacks.squares import square
from deeplab.robust.inputs import refuse_labels

_UNRELIABLE = 0.002  # of the accuracy: what Square may take after attacks that see gradients
_CHECKED = 32  # examples
_SAMPLES = 20  # of a model that is random itself


class AutoAttack(NamedTuple):
    """Result of AutoAttack.

    Attributes:
      count: Number of examples.
      clean: Share that is right before.
      robust: Share that is right after all attacks.
      interval: Wilson's 95 % interval of `robust`.
      after: Share that is right after each attack, and those before it, in their order.
      warnings: What makes the result doubtful, a sentence each.
      ids: Number of each example.
      right: Whether each is right after all attacks.
      x: The points that were found; the example where there is none.

    Example:
      >>> ids, right = np.arange(2), np.array([True, False])
      >>> found = AutoAttack(2, 1.0, 0.5, (0.09, 0.91), {"APGD": 0.5, "Square": 0.5}, (), ids, right, np.zeros((2, 1)))
      >>> found.robust, found.warnings
      (0.5, ())
    """

    count: int
    clean: float
    robust: float
    interval: tuple[float, float]
    after: Mapping[str, float]
    warnings: tuple[str, ...]
    ids: Int[ndarray, " N"]
    right: Bool[ndarray, " N"]
    x: Float[ndarray, "N ..."]


Version = Literal["standard", "rand"]
"""Attacks of AutoAttack: those for models that always say the same, or for those that draw at random."""


@ranges.checked(places=ranges.COUNT, steps=ranges.COUNT, queries=ranges.COUNT, version=ranges.OneOf(Version))
def auto_attack(
    apply: Any,
    *,
    norm: Norm = LINF,
    version: Version = "standard",
    seam: Seam = IMAGES,
    places: int = 256,
    steps: int = 100,
    queries: int = 5000,
) -> Callable[[Iterable[Batch], float, PRNGKeyArray], AutoAttack]:
    """Makes the function `evaluate(batches, radius, key)`, whose programs are compiled once for all radii.

    The standard version is APGD on the cross-entropy, targeted APGD, targeted FAB and Square; the one for models that
    are random themselves APGD on the cross-entropy and on DLR, with gradients averaged over 20 samples. Targets are the
    nine most probable classes, or as many as there are. Without the four classes that the targeted objective needs,
    APGD on the margin takes its place.

    Args:
      apply: Bound model.
      norm: Norm of the ball.
      version: Which attacks.
      seam: Where they act. Square is left out of what has not the shape of images.
      places: Number of examples at a time.
      steps: Number of steps of APGD and FAB.
      queries: Number of queries of Square.

    Raises:
      UserError: the version is unknown; when called, there is no example, the values are out of the box, or the model
        returns no logits.

    Example:
      >>> import deeplab as dl
      >>> from deeplab.train.bind import BoundApply
      >>> model, head = dl.models.MLP(3, ()), {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}
      >>> apply = BoundApply(model, {"head": head}, {}, jnp.arange(2), dl.Runtime().precision)  # or run.bound(2)
      >>> evaluate = auto_attack(apply, queries=1000)  # then evaluate(batches, 0.3, key)
    """

    def right(apply: Any, batch: Batch, key: PRNGKeyArray) -> Bool[Array, " B"]:
        outputs = seam.outputs(apply, batch, key)
        return ~misclassified(outputs, batch) & ~undefined(outputs)

    right_of = with_arguments(apply, right)
    programs: dict[str, Programs] = {}
    check = checking(apply, seam)

    def evaluate(batches: Iterable[Batch], radius: float, key: PRNGKeyArray) -> AutoAttack:
        batch = joined(batches)
        seam.check(radius, norm)
        seam.problem(apply, taken(batch, np.arange(len(batch["id"])), len(batch["id"])), key)
        some = taken(batch, np.arange(min(_CHECKED, len(batch["id"]))), min(_CHECKED, len(batch["id"])))
        told = [text for text in check(some, key) if version == "standard" or not text.startswith(RANDOM)]
        refuse_labels([batch], jax.eval_shape(lambda: seam.outputs(apply, some, key)))
        if not programs:
            logits_of = lambda batch, key: classes(seam.outputs(apply, batch, key), batch)[0]  # noqa: E731
            K = jax.eval_shape(logits_of, some, key).shape[1]
            made = _random(norm, seam, K, steps) if version == "rand" else _standard(norm, seam, K, steps, queries)
            if np.ndim(batch[seam.name]) != 4:
                made.pop("square", None)
            programs.update({name: Programs(apply, search, seam) for name, search in made.items()})
        right = _right(right_of, batch, key, places)
        clean, after = float(right.mean()), {}
        x = np.array(batch[seam.name])
        for number, (name, program) in enumerate(programs.items()):
            left = np.flatnonzero(right)
            if len(left):
                rows = {name: array[left] for name, array in batch.items()}
                found, _ = run(program, rows, jnp.float32(radius), jax.random.fold_in(key, number), places, seam)
                still = _right(right_of, rows | {seam.name: found}, key, places)
                x[left[~still]], right[left[~still]] = found[~still], False
            after[name] = float(right.mean())
        told += _unreliable(after)
        N = len(right)
        robust = float(right.mean())
        return AutoAttack(N, clean, robust, wilson(int(right.sum()), N), after, tuple(told), batch["id"], right, x)

    return evaluate


def _standard(norm: Norm, seam: Seam, K: int, steps: int, queries: int) -> dict[str, Made]:
    """The attacks by name, in order; in the sum norm APGD has more starts and fewer targets."""
    few = norm is L1
    targets, restarts = min(5 if few else 9, K - 1), 5 if few else 1
    last = min(9, K - 1)
    by_target: dict[str, Made] = {
        "apgd-t": lambda r: apgd_targeted(r, steps, targets=targets, norm=norm, seam=seam).search
    }
    without: dict[str, Made] = {"apgd-margin": lambda r: apgd(r, steps, norm=norm, seam=seam, objective=MARGIN).search}
    return {
        "apgd-ce": lambda r: apgd(r, steps, norm=norm, seam=seam, restarts=restarts).search,
        **(by_target if K >= 4 else without),
        "fab-t": lambda r: fab(r, steps, targets=last, norm=norm, seam=seam, halvings=0).search,
        "square": lambda r: square(r, queries, norm=norm, seam=seam).search,
    }


def _random(norm: Norm, seam: Seam, K: int, steps: int) -> dict[str, Made]:
    ratio = DLR if K > 2 else MARGIN
    return {
        "apgd-ce": lambda r: apgd(r, steps, norm=norm, seam=seam, samples=_SAMPLES).search,
        "apgd-dlr": lambda r: apgd(r, steps, norm=norm, seam=seam, samples=_SAMPLES, objective=ratio).search,
    }


def _right(right_of: Callable[..., Any], batch: Batch, key: PRNGKeyArray, size: int) -> Bool[ndarray, " N"]:
    """Whether each example is right, in chunks of one size."""
    chunks = np.array_split(np.arange(N := len(batch["id"])), range(size, N, size))
    return np.concatenate([np.asarray(right_of(taken(batch, rows, size), key))[: len(rows)] for rows in chunks])


def _unreliable(after: Mapping[str, float]) -> list[str]:
    """A warning where Square, which sees no gradient, took what the others had left."""
    others = [share for name, share in after.items() if name != "square"]
    if "square" not in after or not others or min(others) - after["square"] <= _UNRELIABLE:
        return []
    lost = 100 * (min(others) - after["square"])
    return [f"Square has lowered the accuracy by another {lost:.1f} points: gradients are masked; see attacks.gates"]
