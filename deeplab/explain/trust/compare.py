"""`faithfulness`: methods of explanation, measured side by side on one model and its data."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Attribution, Target, check_floating
from deeplab.explain.trust.attack import attack_explanation
from deeplab.explain.trust.controls import edge_map, random_map
from deeplab.explain.trust.faithfulness import infidelity, insertion_deletion, max_sensitivity, sensitivity_n
from deeplab.explain.trust.features import Method, grouped, measured
from deeplab.explain.trust.imputation import road
from deeplab.explain.trust.randomization import rank_correlation
from deeplab.explain.trust.report import CONTROLS, Report, columns
from deeplab.explain.trust.shape import gini, localization

Function = Callable[..., Any]
STANDARD = ("sensitivity_n", "gini")


class Given(NamedTuple):
    """What all methods are measured on."""

    f: Function
    x: Array
    target: Target
    args: Sequence[Any]
    baseline: Any
    together: Sequence[int]
    steps: int
    keys: Array
    metrics: tuple[str, ...]
    masks: Array | None
    randomized: Function | None
    seeds: Sequence[Function]
    box: float


def faithfulness(
    f: Function,
    x: Float[Array, "B ..."],
    target: Target,
    methods: Mapping[str, Method],
    *,
    key: Array,
    args: Sequence[Any] = (),
    baseline: Any = 0.0,
    together: Sequence[int] | None = None,
    masks: Bool[Array, "B ..."] | None = None,
    randomized: Function | None = None,
    seeds: Sequence[Function] = (),
    metrics: Sequence[str] = STANDARD,
    steps: int = 32,
    eps: float = 8 / 255,
) -> Report:
    """Measures methods of explanation on the same examples, beside a random map and the edges of the input.

    Insertion and deletion follow the probability of the class, where the target is a number and the model has several
    outputs; else the score in units of its mean difference from the baseline's.

    Args:
      f: Function `f(x, *args)` from inputs to outputs.
      x: Inputs [B, ...], floating-point.
      target: What is explained; see `deeplab.explain.attribution`.
      methods: Methods by name, each a function (f, x, target, args) to a map in the shape of x, or to an `Attribution`.
      key: Key of all draws.
      args: Further inputs of f.
      baseline: Input that stands in place of what is removed.
      together: Axes whose entries are removed together; those of the channels of images when None.
      masks: What there is to be seen, in the shape of the map, for `pointing` and `mass`.
      randomized: Function as f of the model with random weights, for `randomized` and `assert_sane`.
      seeds: Functions as f of models that were trained from other seeds, for `seeds`.
      metrics: Further columns, of "sensitivity_n", "gini", "infidelity", "max_sensitivity", "road" (images
        only) and "attacked" (classes only; the method must have derivatives).
      steps: Number of steps of insertion and deletion.
      eps: Half of the width of the box of "attacked".

    Raises:
      UserError: the inputs are not one floating-point array, a metric is unknown, or a method has a control's name.

    Example:
      >>> weights = jnp.array([3.0, 0.0, 1.0])
      >>> report = faithfulness(
      ...     lambda x: x @ weights, jnp.ones((4, 3)), None,
      ...     {"gradient": lambda f, x, target, args: jax.grad(lambda x: f(x, *args).sum())(x)}, key=jax.random.key(0),
      ... )
      >>> list(report.rows)[0], round(report.rows["gradient"]["faithful"][0], 3)
      ('gradient', 0.5)
    """
    if not hasattr(x, "shape"):
        raise UserError("faithfulness measures maps of one array; bind the others by args= or in f")
    check_floating(x)
    if taken := set(methods) & set(CONTROLS):
        raise UserError(f"{sorted(taken)} are rows of every report; give the methods other names")
    axes = tuple(together) if together is not None else (-1,) if x.ndim == 4 else ()
    keys = jax.random.split(key, 6)
    asked = columns(metrics)
    given = Given(
        f, x, target, tuple(args), baseline, axes, steps, keys, asked, masks, randomized, tuple(seeds), eps
    )  # fmt: skip
    controls: dict[str, Method] = {
        "random": lambda f, x, target, args: random_map(x, keys[0]),
        "edges": lambda f, x, target, args: edge_map(x, baseline),
    }
    forward = _seconds(jax.jit(f), x, *args)
    score = jax.jit(lambda whole: _of_maps(whole, given))  # compiled once, for all methods
    every = dict(methods) | controls
    return Report({name: _measured(method, given, score, forward) for name, method in every.items()})


def _measured(method: Method, given: Given, of_maps: Callable[[Array], Any], forward: float) -> dict[str, np.ndarray]:
    """All metrics of one method."""
    x, args = given.x, given.args

    def found(f: Function, x: Array) -> tuple[Array, Array | None]:
        made = method(f, x, given.target, args)
        made = made if isinstance(made, Attribution) else Attribution(made)
        return made.values, made.gap

    explain = jax.jit(lambda x: found(given.f, x))
    whole, gap = explain(x)
    told: dict[str, Any] = of_maps(whole)
    if gap is not None:
        size = jnp.sum(jnp.abs(whole).reshape(len(x), -1), axis=1)
        told["gap"] = jnp.abs(gap) / jnp.maximum(size, 1e-30)
    values = grouped(whole, given.together)
    if given.randomized is not None:
        lost = grouped(jax.jit(lambda x: found(given.randomized, x)[0])(x), given.together)  # pyright: ignore - not None
        told["randomized"] = rank_correlation(values, lost)
    if given.seeds:
        others = [grouped(jax.jit(lambda x, f=f: found(f, x)[0])(x), given.together) for f in given.seeds]
        pairs = [rank_correlation(a, b) for a, b in itertools.combinations([values, *others], 2)]
        told["seeds"] = jnp.mean(jnp.stack(pairs), axis=0)
    if "max_sensitivity" in given.metrics:
        told["max_sensitivity"] = max_sensitivity(lambda x: explain(x)[0], x, key=given.keys[2])
    if "attacked" in given.metrics:
        logits = lambda x: given.f(x, *args)  # noqa: E731
        moved = jax.jit(lambda x: attack_explanation(logits, lambda x: found(given.f, x)[0], x, eps=given.box))(x)
        told["attacked"] = moved.overlap
    told["forwards"] = np.full(len(x), _seconds(explain, x) / forward)
    return {name: np.asarray(value) for name, value in told.items()}


def _of_maps(whole: Array, given: Given) -> dict[str, Any]:
    """The metrics that need the map only."""
    f, x, target, args = given.f, given.x, given.target, given.args
    values = grouped(whole, given.together)
    score, more = measured(f, x, target, given.baseline, args)
    curves = insertion_deletion(score, x, values, args=more, baseline=given.baseline, steps=given.steps)
    told: dict[str, Any] = {
        "faithful": curves.insertion - curves.deletion,
        "insertion": curves.insertion,
        "deletion": curves.deletion,
    }
    if "sensitivity_n" in given.metrics:
        by_size = sensitivity_n(score, x, values, key=given.keys[1], baseline=given.baseline, args=more)
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
    if given.masks is not None:
        where = localization(values, given.masks)
        told |= {name: where[name] for name in ("pointing", "mass")}
    return told


def _seconds(function: Callable[..., Any], *inputs: Any) -> float:
    """Time of a call of a compiled function, in seconds: the least of three."""
    jax.block_until_ready(function(*inputs))
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        jax.block_until_ready(function(*inputs))
        times.append(time.perf_counter() - begun)
    return max(min(times), 1e-9)
