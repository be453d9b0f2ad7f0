"""What makes an evaluation by AutoAttack doubtful: randomness, gradients of zero, and models that adapt to a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from deeplab.core.jaxpr import inner_jaxprs
from deeplab.robust.attacks.evaluation.measure import with_arguments
from deeplab.robust.attacks.norms import L1
from deeplab.robust.attacks.objectives import DLR, MARGIN, Batch, Objective, classes
from deeplab.robust.attacks.seam import IMAGES, Seam
from deeplab.robust.attacks.search import ascent

RANDOM = "the model is random"
_DRAWS = 5
_DIFFERENCE = 1e-4  # between outputs of length 1, as AutoAttack allows


def checking(apply: Any, seam: Seam = IMAGES) -> Callable[[Batch, PRNGKeyArray], tuple[str, ...]]:
    """Makes the function from examples and a key to what to know before the model is attacked, a sentence each.

    Args:
      apply: Bound model.
      seam: Where attacks act.
    """

    def look(apply: Any, batch: Batch, key: PRNGKeyArray) -> tuple[jax.Array, jax.Array]:
        def unit(number: jax.Array) -> jax.Array:
            z = classes(seam.outputs(apply, batch, jax.random.fold_in(key, number)), batch)[0]
            return z / (jnp.linalg.norm(z, axis=1, keepdims=True) + 1e-10)

        def slope(objective: Objective) -> jax.Array:
            value = lambda outputs, batch, _: objective.value(outputs, batch)  # noqa: E731
            return ascent(problem, value, objective.fooled)(problem.x, None, 0)[0]

        problem, draws = seam.problem(apply, batch, key), jax.lax.map(unit, jnp.arange(_DRAWS))
        return draws, L1.size(slope(DLR if draws.shape[-1] > 2 else MARGIN))

    run = with_arguments(apply, look)

    def told(batch: Batch, key: PRNGKeyArray) -> tuple[str, ...]:
        draws, slopes = run(batch, key)
        apart, flat = float(jnp.max(jnp.abs(draws - draws[:1]))), int(jnp.sum(slopes == 0))
        repeated = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), batch)
        moved = float(jnp.max(jnp.abs(run(repeated, key)[0][0, 0] - draws[0, 0])))
        program = jax.make_jaxpr(lambda batch, key: seam.outputs(apply, batch, key))(batch, key)
        every = {
            f'{RANDOM} (its outputs differ by {apart:.1g}): use version="rand"': apart > _DIFFERENCE,
            f"{flat} of {len(slopes)} examples have a gradient of zero: it may be masked": flat > 0,
            "the outputs of an example depend on the others of its batch: the model adapts to what it is given": (
                moved > max(_DIFFERENCE, 2 * apart)
            ),
            "the model takes a gradient when it predicts: a dynamic defence, which needs an attack of its own": (
                _differentiates(program.jaxpr)
            ),
        }
        return tuple(text for text, holds in every.items() if holds)

    return told


def _differentiates(program: Any) -> bool:
    """Whether a program holds the transpose of a derivative, which gradients alone do."""
    inner = [each.jaxpr for eqn in program.eqns for each in inner_jaxprs(eqn)]
    own = any("transpose(" in str(eqn.source_info.name_stack) for eqn in program.eqns)
    return own or any(map(_differentiates, inner))
