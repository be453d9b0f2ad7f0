"""Which optimizers a training step can use, checked before training."""

from __future__ import annotations

import inspect
import math
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.optim.evaluation import NAMES, SlowState, eval_params
from deeplab.optim.transforms import Bfloat16State

# Wrappers that apply an inner transformation's updates as they are, or not at all and with an unchanged state. The
# parameters that an inner transformation computes are then those that training has.
_TRANSPARENT = (
    dict,  # of `optax.PartitionState`
    optax.MaskedState,
    optax.PartitionState,
    optax.MultiStepsState,
    optax.ApplyIfFiniteState,
    optax.ConditionallyMaskState,
    optax.InjectStatefulHyperparamsState,
)

_MENDS = """\
A step calls update(grads, state, params, value=loss, grad=grads, value_fn=loss_of_params) on an
optax.GradientTransformationExtraArgs, and update(grads, state, params) on any other transformation.
- If it takes none of these arguments: optax.GradientTransformation(tx.init, tx.update) does not get them.
- If it needs others: write an update that computes them and calls the transformation's.
- If it is optax.contrib.sam: the task dl.robust.training.SAM(task) does it at every step, with any plain optimizer.
- If it is an optax.MultiSteps: optax.MultiSteps(...).gradient_transformation() passes them on.
- If it searches along a line for a part of the parameters: use dl.optim.groups, not optax.masked or optax.partition."""


_RANGES = {
    **dict.fromkeys(("b1", "b2", "b3"), ranges.RATE),
    **dict.fromkeys(("decay", "momentum"), ranges.FRACTION),
    **dict.fromkeys(("weight_decay", "eps", "eps_root"), ranges.NATURAL),
}
_MOST = 5_000  # values of an optimizer that are looked at


def check_hyperparameters(optimizer: Any) -> None:
    """Checks the numbers of an optimizer, which Optax keeps as they are given, in the closures of its functions.

    Args:
      optimizer: Optimizer of an experiment; numbers that are tracers pass.

    Raises:
      UserError: A decay, a weight decay or an epsilon is out of its range, or a number is NaN.

    Example:
      >>> check_hyperparameters(optax.adamw(1e-3, weight_decay=-0.1))
      Traceback (most recent call last):
      deeplab.core.ranges.OutOfRange: weight_decay is -0.1, expected 0 or more (an argument of add_decayed_weights)
    """
    left, seen = [("", "", optimizer)], set()
    while left and len(seen) < _MOST:
        owner, name, value = left.pop()
        if isinstance(value, float | int) and not isinstance(value, bool):
            if name in _RANGES or math.isnan(value):
                _RANGES.get(name, ranges.Range()).check(name or "a number", value, owner or "the optimizer")
        elif id(value) not in seen:
            seen.add(id(value))
            left += [(of or owner, key, part) for of, key, part in _parts(value)]


def _parts(value: Any) -> Iterator[tuple[str, str, Any]]:
    """What a function, a bound method or a container of them holds: the owner, the name and the value of each."""
    if inspect.isfunction(value):
        owner = value.__qualname__.partition(".")[0]
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
        yield from ((owner, name, part) for name, cell in cells for part in _contents(cell))
    elif inspect.ismethod(value):
        yield from (("", name, part) for name, part in getattr(value.__self__, "__dict__", {}).items())
    elif isinstance(value, Mapping):
        yield from (("", str(name), part) for name, part in value.items())
    elif isinstance(value, tuple | list):
        yield from (("", "", part) for part in value)


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # a name that has no value yet
        return ()


def check_optimizer(optimizer: optax.GradientTransformation, params: Any) -> None:
    """Checks that a training step can use an optimizer; computes shapes only.

    The step calls `update(grads, state, params, value=..., grad=..., value_fn=...)`: `value` is the loss of the batch,
    `grad` its gradient, and `value_fn(params)` the loss of the same batch with the same randomness. Optimizers that
    need none of them are called without.

    Args:
      optimizer: Optimizer of an experiment.
      params: Parameters, as arrays or `jax.ShapeDtypeStruct`s.

    Raises:
      UserError: The optimizer needs other arguments or another structure of the parameters, its state changes its
        shapes, or its evaluation weights (see `eval_params`) are not those of the parameters that training has.

    Example:
      >>> from deeplab.optim import with_ema
      >>> try:
      ...     check_optimizer(optax.chain(with_ema(optax.sgd(0.1)), optax.scale(0.5)), {"w": jnp.ones(2)})
      ... except UserError as error:
      ...     print(str(error).split(",")[0])
      dl.optim.with_ema is followed by another transformation in an optax.chain
    """
    params = jax.eval_shape(lambda tree: tree, params)
    state = _shapes("init", optimizer.init, params)
    _check_evaluation_weights(state)

    def value_fn(p: Any) -> jax.Array:
        if jax.tree.structure(p) != jax.tree.structure(params):
            raise ValueError("value_fn is called with a part of the parameters or with another structure of them")
        return sum((jnp.sum(x).astype(jnp.float32) for x in jax.tree.leaves(p)), jnp.float32(0))

    def update(grads: Any, state: Any, params: Any, value: jax.Array) -> tuple[Any, Any, Any]:
        tx = optax.with_extra_args_support(optimizer)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=value_fn)
        return optax.apply_updates(params, updates), state, eval_params(state, params)

    value = jax.ShapeDtypeStruct((), jnp.float32)
    new_params, new_state, evaluated = _shapes("update", update, params, state, params, value)
    _check_same("parameters", params, new_params)
    _check_same("state", state, new_state)
    _check_same("evaluation weights", params, evaluated)


def _shapes(name: str, function: Any, *args: Any) -> Any:
    try:
        return jax.eval_shape(function, *args)
    except UserError:
        raise
    except Exception as error:  # whatever a transformation raises when it is given what it does not expect
        raise UserError(f"the optimizer's {name} fails: {type(error).__name__}: {error}\n{_MENDS}") from error


def _check_same(what: str, old: Any, new: Any) -> None:
    a, b = (jax.tree.map(lambda x: f"{x.dtype.name}{list(x.shape)}", tree) for tree in (old, new))
    if a == b:
        return
    named = [{jax.tree_util.keystr(k): v for k, v in jax.tree_util.tree_leaves_with_path(t)} for t in (a, b)]
    changes = [f"{k} {v} -> {named[1].get(k, 'absent')}" for k, v in named[0].items() if named[1].get(k) != v]
    raise UserError(
        f"the optimizer's update changes the shapes or dtypes of its {what}, which a compiled step cannot: "
        f"{'; '.join(changes[:3]) or 'leaves are added'}"
    )


def _check_evaluation_weights(state: Any) -> None:
    for found, containers in _find(state):
        name = NAMES.get(type(found), "optax.lookahead")
        if isinstance(found, optax.LookaheadState):
            if containers and isinstance(containers[-1][0], SlowState):
                continue
            raise UserError(
                "optax.lookahead needs parameters of the type optax.LookaheadParams, which a model does not have; use "
                "dl.optim.lookahead, with the same arguments"
            )
        for container, is_last in containers:
            if reason := _reason(container, is_last):
                raise UserError(
                    f"{name} {reason}, so that its evaluation weights are not those of the parameters that training "
                    f"has; make {name}(...) the outermost transformation, the last of its chain, or a member of "
                    "dl.optim.groups"
                )


def _reason(container: Any, is_last: bool) -> str | None:
    """Why evaluation weights within a container are wrong; None if they are right."""
    if type(container) in NAMES:
        return f"is within {NAMES[type(container)]}, which has evaluation weights of its own"
    if type(container) is tuple or isinstance(container, OrderedDict):  # of a chain, and of a named chain
        return None if is_last else "is followed by another transformation in an optax.chain, which changes its updates"
    if isinstance(container, Bfloat16State):
        return "is within dl.optim.with_bfloat16_state, which would round the evaluation weights"
    if isinstance(container, _TRANSPARENT):
        return None
    return f"is within a transformation with the state {type(container).__name__}, which may change its updates"


def _find(node: Any, containers: tuple[tuple[Any, bool], ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """States with evaluation weights, each with its containers: (container, whether it is the last child)."""
    if isinstance(node, (*NAMES, optax.LookaheadState)):
        yield node, containers
    if isinstance(node, type(None)) or jax.tree_util.all_leaves([node]):
        return
    children = jax.tree.leaves(node, is_leaf=lambda x: x is not node)
    for i, child in enumerate(children):
        yield from _find(child, (*containers, (node, i == len(children) - 1)))
