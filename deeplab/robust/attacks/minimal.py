"""Attacks that look for the smallest perturbation: DeepFool, and that of Carlini and Wagner."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from deeplab.core import ranges
from deeplab.core.abstract.convolutions import canonical
from deeplab.core.errors import UserError
from deeplab.robust.attacks.norms import L2, Norm, by_row, flat
from deeplab.robust.attacks.objectives import Batch, classes, margin_of, misclassified
from deeplab.robust.attacks.seam import IMAGES, Attack, Problem, Seam
from deeplab.robust.attacks.search import drawn_back, rows

_BEYOND = 1.02  # of all steps onto planes together, so that the boundary is crossed


@ranges.checked(steps=ranges.COUNT, halvings=ranges.NATURAL)
def deepfool(steps: int = 50, *, norm: Norm = L2, seam: Seam = IMAGES, halvings: int = 18) -> Attack:
    """Steps onto the nearest linearized boundary of any other class (Moosavi-Dezfooli et al. 2016).

    From https://arxiv.org/abs/1511.04599. Of an example that no step has taken across, the last point is returned.

    Args:
      steps: Number of steps.
      norm: Norm of the distance.
      seam: Where the attack acts.
      halvings: Number of times that the way back to the example is halved at last, to the nearest adversarial point.

    Example:
      >>> attack = deepfool(steps=20)
    """

    def attack(apply: Any, batch: Batch, key: PRNGKeyArray) -> Batch:
        problem = seam.problem(apply, batch, key)
        planes = canonical(_planes(problem))

        def point(total: Array) -> Array:
            return jnp.clip(problem.x + _BEYOND * total, problem.low, problem.high)

        def step(total: Array, _: Any) -> tuple[Array, None]:
            x = point(total)
            margins, slopes, across = planes(x)
            K = len(slopes)
            lengths = jax.vmap(norm.dual)(slopes) + 1e-12  # [K, B]
            k = jnp.argmin(jnp.where(jnp.isfinite(margins), jnp.abs(margins) / lengths, jnp.inf), axis=0)
            own = jnp.arange(K)[:, None] == k[None]
            slope = jnp.sum(jnp.where(own.reshape(*own.shape, *[1] * (x.ndim - 1)), slopes, 0), axis=0)
            far = jnp.sum(jnp.where(own, jnp.abs(margins) / lengths, 0), axis=0)
            return rows(across, total, total + by_row(far, x) * norm.steepest(slope)), None

        total, _ = jax.lax.scan(step, jnp.zeros_like(problem.x), None, length=steps)
        beyond = point(_BEYOND * total)  # the last steps may have ended at the boundary, up to rounding
        return seam.moved(problem, drawn_back(problem, beyond, misclassified, halvings))

    return attack


def _planes(problem: Problem) -> Any:
    """The function from x to how much larger each class is than the label [K, B], its slopes, and who is across."""

    def planes(x: Array) -> tuple[Array, Array, Array]:
        def differences(x: Array) -> tuple[Array, tuple[Array, Array]]:
            logits, label = classes(problem.outputs(x, problem.key), problem.batch)
            own = jnp.arange(logits.shape[1])[None] == label[:, None]
            away = logits - jnp.take_along_axis(logits, label[:, None], axis=1)
            return away, (own, jnp.argmax(logits, axis=1) != label)

        away, back, (own, across) = jax.vjp(differences, x, has_aux=True)
        basis = jnp.broadcast_to(jnp.eye(away.shape[1], dtype=away.dtype)[:, None], (away.shape[1], *away.shape))
        slopes = jax.vmap(lambda row: back(row)[0])(basis)
        return jnp.where(own, jnp.inf, away).T, slopes, across

    return planes


class _Search(NamedTuple):
    """The search for the weight of the objective, of each example."""

    weight: Float[Array, " B"]
    least: Float[Array, " B"]
    most: Float[Array, " B"]
    best: Float[Array, "B ..."]
    distance: Float[Array, " B"]


@ranges.checked(steps=ranges.COUNT, searches=ranges.COUNT, confidence=ranges.NATURAL)
def carlini_wagner(
    steps: int = 200,
    *,
    searches: int = 9,
    learning_rate: Any = 0.01,
    weight: float = 1e-2,
    confidence: float = 0.0,
    seam: Seam = IMAGES,
) -> Attack:
    """min |x' - x|^2 + c max(z_y - max_{k != y} z_k, -confidence), by Adam, with the least c that succeeds.

    Carlini and Wagner 2017, https://arxiv.org/abs/1608.04644. x' = low + (high - low) (tanh(w) + 1) / 2 stays in the
    box. Of an example without a success, the example is returned.

    Args:
      steps: Number of steps of Adam for each c.
      searches: Number of weights c, by halving.
      learning_rate: Learning rate of Adam; may be a tracer.
      weight: First weight c.
      confidence: Margin that a success has to have.
      seam: Where the attack acts; its box must be finite.

    Raises:
      UserError: when called, if the box has no end.

    Example:
      >>> attack = carlini_wagner(steps=100, searches=5)
    """
    optimizer = optax.adam(learning_rate)

    def attack(apply: Any, batch: Batch, key: PRNGKeyArray) -> Batch:
        problem = seam.problem(apply, batch, key)
        low, high = problem.low, problem.high
        if not isinstance(low, jax.Array) and not np.all(np.isfinite(np.subtract(high, low))):
            raise UserError(f"the box {low} to {high} is not finite; give attacks.Seam the numbers low= and high=")
        low, high = (jnp.broadcast_to(jnp.asarray(end, problem.x.dtype), problem.x.shape) for end in (low, high))

        def point(w: Array) -> Array:
            return low + (high - low) * (jnp.tanh(w) + 1) / 2

        def total(w: Array, c: Array) -> tuple[Array, tuple[Array, Array, Array]]:
            x = point(w)
            logits, label = classes(problem.outputs(x, problem.key), problem.batch)
            margin = margin_of(logits, label)
            square = jnp.sum(jnp.square(flat(x - problem.x)), axis=1)
            return jnp.sum(square + c * jnp.maximum(confidence - margin, 0)), (x, square, margin > confidence)

        slope = canonical(jax.grad(canonical(total), has_aux=True))
        scaled = (problem.x - low) / (high - low) * 2 - 1
        begin = jnp.arctanh(jnp.clip(scaled, -1 + 1e-6, 1 - 1e-6))

        def step(carry: Any, _: Any) -> tuple[Any, None]:
            w, state, c, best, distance, success = carry
            gradient, (x, square, fooled) = slope(w, c)
            best, distance = rows(fooled & (square < distance), (x, square), (best, distance))
            updates, state = optimizer.update(gradient, state)
            return (w + updates, state, c, best, distance, success | fooled), None

        def search(carry: _Search, _: Any) -> tuple[_Search, None]:
            none = jnp.zeros(len(begin), bool)
            first = (begin, optimizer.init(begin), carry.weight, carry.best, carry.distance, none)
            (_, _, _, best, distance, success), _ = jax.lax.scan(step, first, None, length=steps)
            return _halved(carry, best, distance, success), None

        zeros = jnp.zeros(len(begin), begin.dtype)
        first = _Search(zeros + weight, zeros, zeros + jnp.inf, problem.x, zeros + jnp.inf)
        found, _ = jax.lax.scan(search, first, None, length=searches)
        return seam.moved(problem, found.best)

    return attack


def _halved(carry: _Search, best: Array, distance: Array, success: Bool[Array, " B"]) -> _Search:
    most = jnp.where(success, carry.weight, carry.most)
    least = jnp.where(success, carry.least, carry.weight)
    weight = jnp.where(jnp.isfinite(most), (least + most) / 2, carry.weight * 10)
    return _Search(weight, least, most, best, distance)
