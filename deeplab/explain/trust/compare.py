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
from deeplab.explain.attribution import Attribution, ByExample, Target, check_floating
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


class Examples(NamedTuple):
    """Arrays that all methods are measured on: arguments of every program, since XLA folds what it can of constants."""

    x: Array
    args: Any
    target: Any
    baseline: Array
    masks: Any


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
        """The target, whose numbers are among the examples."""
        return self.target if examples.target is None else examples.target


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
    each = not (target is None or callable(target) or isinstance(target, ByExample)) and jnp.ndim(target) > 0
    numbers = jnp.asarray(target) if each else None
    base = jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    examples = Examples(x, tuple(args), numbers, base, masks)
    setting = Setting(f, target, axes, steps, keys, columns(metrics), randomized, tuple(seeds), eps)
    controls: dict[str, Method] = {
        "random": lambda f, x, target, args: random_map(x, keys[0]),
        "edges": lambda f, x, target, args: edge_map(x, base),
    }
    forward = _seconds(jax.jit(f), x, *args)
    of_maps = jax.jit(lambda whole, examples: _of_maps(whole, examples, setting))  # compiled once, for all methods
    every = dict(methods) | controls
    found = {name: _measured(method, examples, setting, of_maps, forward) for name, method in every.items()}
    return Report({name: told for name, (told, _) in found.items()}, {name: map_ for name, (_, map_) in found.items()})


def _measured(
    method: Method, examples: Examples, setting: Setting, of_maps: Callable[..., Any], forward: float
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All metrics of one method, and its maps."""

    def made(f: Function, examples: Examples) -> tuple[Array, Array | None]:
        found = method(f, examples.x, setting.what(examples), examples.args)
        return (found.values, found.gap) if isinstance(found, Attribution) else (found, None)

    explain = jax.jit(lambda examples: made(setting.f, examples))
    whole, gap = explain(examples)
    told: dict[str, Any] = of_maps(whole, examples)
    if gap is not None:
        size = jnp.sum(jnp.abs(whole).reshape(len(whole), -1), axis=1)
        told["gap"] = jnp.abs(gap) / jnp.maximum(size, 1e-30)
    values = grouped(whole, setting.together)

    def of_other(f: Function) -> Array:
        return grouped(jax.jit(lambda examples: made(f, examples)[0])(examples), setting.together)

    if setting.randomized is not None:
        told["randomized"] = rank_correlation(values, of_other(setting.randomized))
    if setting.seeds:
        maps = [values, *map(of_other, setting.seeds)]
        told["seeds"] = jnp.mean(
            jnp.stack([rank_correlation(a, b) for a, b in itertools.combinations(maps, 2)]), axis=0
        )
    if "max_sensitivity" in setting.metrics:
        told["max_sensitivity"] = jax.jit(
            lambda examples: max_sensitivity(
                lambda x: made(setting.f, examples._replace(x=x))[0], examples.x, key=setting.keys[2]
            )
        )(examples)
    if "attacked" in setting.metrics:
        told["attacked"] = jax.jit(
            lambda examples: (
                attack_explanation(
                    lambda x: setting.f(x, *examples.args),
                    lambda x: made(setting.f, examples._replace(x=x))[0],
                    examples.x,
                    eps=setting.box,
                ).overlap
            )
        )(examples)
    told["forwards"] = np.full(len(whole), _seconds(explain, examples) / forward)
    return {name: np.asarray(value) for name, value in told.items()}, np.asarray(values)


def _of_maps(whole: Array, examples: Examples, given: Setting) -> dict[str, Any]:
    """The metrics that need the map only."""
    f, x, target, args = given.f, examples.x, given.what(examples), examples.args
    values = grouped(whole, given.together)
    score, more = measured(f, x, target, examples.baseline, args)
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


def _seconds(function: Callable[..., Any], *inputs: Any) -> float:
    """Time of a call of a compiled function, in seconds: the least of three."""
    jax.block_until_ready(function(*inputs))
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        jax.block_until_ready(function(*inputs))
        times.append(time.perf_counter() - begun)
    return max(min(times), 1e-9)
