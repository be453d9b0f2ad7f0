"""`faithfulness`: methods of explanation, measured side by side on one model and its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import ByExample, Target, check_examples, check_floating, count_of
from deeplab.explain.trust.controls import edge_map, random_map
from deeplab.explain.trust.features import Method, difference, is_class
from deeplab.explain.trust.measure import Examples, Made, Setting, of_maps, of_method, seconds
from deeplab.explain.trust.report import CONTROLS, Report, columns

Function = Callable[..., Any]
STANDARD = ("sensitivity_n", "gini")


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
    chunk: int | None = None,
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
      chunk: Number of examples at once, whose number memory then does not grow with; all when None. Arrays of args need
        a leading axis of examples, and targets and methods that are functions must not hold arrays of all examples.

    Raises:
      UserError: the inputs are not one floating-point array, a metric is unknown, a method has a control's name, or
        an array cannot be cut into chunks.

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
    setting = Setting(f, target, axes, steps, keys, columns(metrics), randomized, tuple(seeds), eps)
    examples = _examples(setting, x, args, baseline, masks)
    if chunk is not None:
        count_of("chunk", chunk)
        check_examples(*jax.tree.leaves(examples))
    first, _ = next(examples.chunks(chunk))
    unit = None
    if not is_class(f, first.x, setting.what(first), first.args):
        unit = _unit(setting, examples, chunk)
    of_map = jax.jit(lambda whole, examples: of_maps(whole, examples, unit, setting))  # compiled once, for all methods
    every: dict[str, Made] = {name: setting.made(method) for name, method in methods.items()} | {
        "random": lambda f, examples: (examples.noise, None),
        "edges": lambda f, examples: (edge_map(examples.x, examples.baseline), None),
    }
    forward = seconds(jax.jit(f), first.x, *first.args)
    each, maps = {}, {}
    for name, made in every.items():
        explain, metrics_of = of_method(made, setting, of_map)
        rows = [_counted(metrics_of(part), count) for part, count in examples.chunks(chunk)]
        each[name], maps[name] = jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
        each[name]["forwards"] = np.full(len(maps[name]), seconds(explain, first) / forward)
    return Report(each, maps)


def _examples(setting: Setting, x: Array, args: Sequence[Any], baseline: Any, masks: Any) -> Examples:
    """The arrays of all examples, each with a leading axis of them, apart from what the caller gives in args."""
    target = setting.target
    if isinstance(target, ByExample):
        data = target.data
    else:
        data = None if target is None or callable(target) or not jnp.ndim(target) else jnp.asarray(target)
    base = jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    if masks is not None:
        masks = jnp.broadcast_to(masks, (len(x), *jnp.shape(masks)[1:]))
    return Examples(x, tuple(args), data, base, masks, random_map(x, setting.keys[0]))


def _unit(setting: Setting, examples: Examples, chunk: int | None) -> Array:
    """The mean size of the difference of the score between the inputs and the baseline, over all examples."""

    def of(part: Examples) -> Array:
        return jnp.abs(difference(setting.f, part.x, setting.what(part), part.baseline, part.args))

    compiled = jax.jit(of)
    unit = np.concatenate([_counted(compiled(part), count) for part, count in examples.chunks(chunk)]).mean()
    return jnp.where(unit > 0, unit, 1.0)


def _counted(values: Any, count: int) -> Any:
    """The first values of a chunk, on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], values)
