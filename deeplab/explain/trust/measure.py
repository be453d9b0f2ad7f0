"""What is measured of one method's maps, a chunk of examples at a time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.explain.attribution import Attribution, ByExample, Target
from deeplab.explain.trust.attack import attack_explanation
from deeplab.explain.trust.faithfulness import infidelity, insertion_deletion, max_sensitivity, sensitivity_n
from deeplab.explain.trust.features import Method, grouped, measured
from deeplab.explain.trust.imputation import road
from deeplab.explain.trust.randomization import rank_correlation
from deeplab.explain.trust.shape import gini, localization

Function = Callable[..., Any]


class Examples(NamedTuple):
    """Arrays that all methods are measured on: arguments of every program, since XLA folds what it can of constants.

    Attributes:
      x: Inputs [B, ...].
      args: Further inputs of the function.
      target: Numbers or data of a target of each example; None where it has none.
      baseline: Inputs [B, ...] that stand in place of what is removed.
      masks: What there is to be seen, [B, ...], or None.
      noise: Map of the control that is random, [B, ...].
    """

    x: Array
    args: Any
    target: Any
    baseline: Array
    masks: Any
    noise: Array

    def chunks(self, size: int | None) -> Iterator[tuple[Examples, int]]:
        """Examples of one size, which one program serves, and how many of them count; the last repeat in the last."""
        count = len(self.x)
        if size is None or size >= count:
            yield self, count
            return
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            yield jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf)[rows], self), min(size, count - start)


Made = Callable[[Function, Examples], "tuple[Array, Array | None]"]
"""A method that has been asked about a function of examples: its map and, where it claims one, its gap."""


class Setting(NamedTuple):
    """How methods are measured."""

    f: Function
    target: Target
    together: Sequence[int]
    steps: int
    keys: Array
    metrics: tuple[str, ...]
    randomized: Function | None
    seeds: Sequence[Function]
    box: float

    def what(self, examples: Examples) -> Target:
        """The target, whose numbers and data are among the examples."""
        if isinstance(self.target, ByExample):
            return ByExample(self.target.score, examples.target)
        return self.target if examples.target is None else examples.target

    def made(self, method: Method) -> Made:
        """A method, asked about a function of examples."""

        def made(f: Function, examples: Examples) -> tuple[Array, Array | None]:
            found = method(f, examples.x, self.what(examples), examples.args)
            return (found.values, found.gap) if isinstance(found, Attribution) else (found, None)

        return made


def of_method(made: Made, given: Setting, of_maps: Function) -> tuple[Function, Function]:
    """The program from examples to the map of a method, and the function to all of its metrics and features.

    Args:
      made: Method.
      given: How it is measured.
      of_maps: Compiled function from maps and examples to the metrics that need no more.
    """

    def map_of(f: Function) -> Function:
        return jax.jit(lambda examples: made(f, examples)[0])

    explain = jax.jit(lambda examples: made(given.f, examples))
    others = [map_of(f) for f in given.seeds]
    lost = None if given.randomized is None else map_of(given.randomized)
    moved = {name: jax.jit(metric) for name, metric in _moving(made, given).items() if name in given.metrics}

    def metrics(examples: Examples) -> tuple[dict[str, Array], Array]:
        whole, gap = explain(examples)
        told = dict(of_maps(whole, examples))
        if gap is not None:
            size = jnp.sum(jnp.abs(whole).reshape(len(whole), -1), axis=1)
            told["gap"] = jnp.abs(gap) / jnp.maximum(size, 1e-30)
        values = grouped(whole, given.together)
        if lost is not None:
            told["randomized"] = rank_correlation(values, grouped(lost(examples), given.together))
        if others:
            maps = [values, *(grouped(other(examples), given.together) for other in others)]
            pairs = [rank_correlation(a, b) for a, b in itertools.combinations(maps, 2)]
            told["seeds"] = jnp.mean(jnp.stack(pairs), axis=0)
        return told | {name: metric(examples) for name, metric in moved.items()}, values

    return explain, metrics


def _moving(made: Made, given: Setting) -> dict[str, Callable[[Examples], Float[Array, " B"]]]:
    """The metrics that explain moved inputs."""

    def method(examples: Examples) -> Callable[[Array], Array]:
        return lambda x: made(given.f, examples._replace(x=x))[0]

    def attacked(examples: Examples) -> Array:
        logits = lambda x: given.f(x, *examples.args)  # noqa: E731
        return attack_explanation(logits, method(examples), examples.x, eps=given.box).overlap

    return {
        "max_sensitivity": lambda examples: max_sensitivity(method(examples), examples.x, key=given.keys[2]),
        "attacked": attacked,
    }


def of_maps(whole: Array, examples: Examples, unit: Array | None, given: Setting) -> dict[str, Any]:
    """The metrics that need the map only.

    Args:
      whole: Map in the shape of the inputs.
      examples: What was explained.
      unit: Unit of the score over all examples; see `measured`.
      given: How it is measured.
    """
    f, x, target, args = given.f, examples.x, given.what(examples), examples.args
    values = grouped(whole, given.together)
    score, more = measured(f, x, target, examples.baseline, args, unit)
    curves = insertion_deletion(score, x, values, args=more, baseline=examples.baseline, steps=given.steps)
    told: dict[str, Any] = {
        "faithful": curves.insertion - curves.deletion,
        "insertion": curves.insertion,
        "deletion": curves.deletion,
    }
    if "sensitivity_n" in given.metrics:
        by_size = sensitivity_n(score, x, values, key=given.keys[1], baseline=examples.baseline, args=more)
        told["sensitivity_n"] = jnp.mean(by_size, axis=1)
    if "gini" in given.metrics:
        told["gini"] = gini(values)
    if "infidelity" in given.metrics:
        errors = [
            infidelity(f, x, map_, target, key=given.keys[3], normalize=True, args=args) for map_ in (whole, whole * 0)
        ]
        told["infidelity"] = errors[0] / jnp.maximum(errors[1], 1e-30)
    if "road" in given.metrics:
        told["road"] = road(score, x, values, key=given.keys[4], args=more)
    if examples.masks is not None:
        where = localization(values, examples.masks)
        told |= {name: where[name] for name in ("pointing", "mass")}
    return told


def seconds(function: Callable[..., Any], *inputs: Any) -> float:
    """Time of a call of a compiled function, in seconds: the least of four, or of two that took a second."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 4 and sum(times) < 1):  # the first may compile
        begun = time.perf_counter()
        jax.block_until_ready(function(*inputs))
        times.append(time.perf_counter() - begun)
    return max(min(times), 1e-9)
