"""Gates against masked gradients: what holds of any attack that has not been led astray, as functions of figures.

Athalye et al. 2018, https://arxiv.org/abs/1802.00420; Carlini et al. 2019, https://arxiv.org/abs/1902.06705.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from jaxtyping import PRNGKeyArray

from deeplab.core import ranges
from deeplab.robust.attacks.evaluation.measure import RobustAccuracy, accuracy_by_radius
from deeplab.robust.attacks.objectives import Batch
from deeplab.robust.attacks.seam import IMAGES, Attack, Seam
from deeplab.robust.attacks.squares import square
from deeplab.robust.attacks.steps import fgsm, pgd

_STEPS = 10.0  # times as many, which should change nothing any more
_OF_STEPS = 0.01  # of the accuracy, that they may change
_OF_LOSS = 1e-3  # of the largest loss, that one radius may be below the one before


class Gate(NamedTuple):
    """One gate.

    Attributes:
      name: What has to hold.
      holds: Whether it does.
      told: The figures.

    Example:
      >>> Gate("one step is no better than many", holds=True, told="0.90 and 0.60").holds
      True
    """

    name: str
    holds: bool
    told: str


class Figures(NamedTuple):
    """What the gates look at: shares of examples that are right after attacks of one radius, and losses.

    Attributes:
      one_step: After one step.
      iterative: After many steps.
      tenfold: After ten times as many.
      black_box: After Square.
      at_one: After many steps with radius 1, which reaches every image.
      losses: Mean loss after many steps, by radius.

    Example:
      >>> losses = {0.1: 0.4, 0.3: 0.9}
      >>> figures = Figures(one_step=0.9, iterative=0.6, tenfold=0.6, black_box=0.7, at_one=0.0, losses=losses)
      >>> figures.iterative <= figures.one_step
      True
    """

    one_step: float
    iterative: float
    tenfold: float
    black_box: float
    at_one: float
    losses: Mapping[float, float]


def gates(figures: Figures, tolerance: float = 0.005) -> tuple[Gate, ...]:
    """The gates, each of which holds for a model whose gradients tell what its outputs do.

    Args:
      figures: Figures of the model.
      tolerance: Difference of shares that is no difference, such as one example's.

    Example:
      >>> honest = Figures(0.4, 0.3, 0.3, 0.5, 0.0, {0.1: 1.0, 0.2: 2.0})
      >>> all(gate.holds for gate in gates(honest))
      True
      >>> [gate.name for gate in gates(honest._replace(black_box=0.1)) if not gate.holds]
      ['gradients are as strong as Square']
    """
    f, losses = figures, [loss for _, loss in sorted(figures.losses.items())]
    slack = _OF_LOSS * max([abs(loss) for loss in losses], default=0)
    rises = all(after >= before - slack for before, after in itertools.pairwise(losses))
    told = ", ".join(f"{loss:.3g} at {radius:.3g}" for radius, loss in sorted(figures.losses.items()))
    best = min(f.iterative, f.tenfold)
    return (
        Gate(
            "many steps are as strong as one",
            f.iterative <= f.one_step + tolerance,
            f"{f.iterative:.1%} and {f.one_step:.1%} are right",
        ),
        Gate(
            "gradients are as strong as Square",
            best <= f.black_box + tolerance,
            f"{best:.1%} and {f.black_box:.1%} are right",
        ),
        Gate("radius 1 leaves nothing", f.at_one <= tolerance, f"{f.at_one:.1%} are right"),
        Gate(
            "ten times the steps change at most one point",
            abs(f.iterative - f.tenfold) <= max(_OF_STEPS, tolerance),
            f"{f.iterative:.1%} and {f.tenfold:.1%} are right",
        ),
        Gate("the loss rises with the radius", rises, told),
    )


@ranges.checked(steps=ranges.COUNT, queries=ranges.COUNT)
def figures_of(
    apply: Any,
    batches: Iterable[Batch],
    radius: float,
    key: PRNGKeyArray,
    *,
    steps: int = 40,
    queries: int = 1000,
    seam: Seam = IMAGES,
) -> Figures:
    """Measures what the gates look at, in the maximum norm, of images in [0, 1].

    Args:
      apply: Bound model.
      batches: Batches of images.
      radius: Radius at which the model is said to be robust.
      key: Key of the attacks.
      steps: Number of steps that count as many.
      queries: Number of queries of Square.
      seam: Where the attacks act.

    Example:
      >>> import functools
      >>> measure = functools.partial(figures_of, radius=0.3, steps=10)  # then measure(apply, batches, key=key)
    """
    batches = list(batches)

    def right(made: Callable[[Any], Attack], *radii: float) -> dict[float, RobustAccuracy]:
        return accuracy_by_radius(apply, batches, made, radii, key, seam=seam)

    rising = [radius / 4, radius / 2, radius, min(2 * radius, 1.0)]
    many = right(lambda r: pgd(r, steps, seam=seam), *rising, 1.0)
    return Figures(
        one_step=right(lambda r: fgsm(r, seam=seam), radius)[radius].robust,
        iterative=many[radius].robust,
        tenfold=right(lambda r: pgd(r, int(_STEPS * steps), seam=seam), radius)[radius].robust,
        black_box=right(lambda r: square(r, queries, seam=seam), radius)[radius].robust,
        at_one=many[1.0].robust,
        losses={each: many[each].objective for each in rising},
    )
