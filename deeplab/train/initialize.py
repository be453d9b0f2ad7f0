"""The initial state: made from a key, and optionally from trained weights."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError, nearest
from deeplab.core.precision import cast, scaled
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment, Weights
from deeplab.optim import check_optimizer
from deeplab.optim.paths import check_found, names
from deeplab.train import dropout
from deeplab.train.bind import bind
from deeplab.train.state import TASK, State

# Values that a model sows or caches during initialization are outputs, not state.
_TRANSIENT = ("intermediates", "perturbations", "losses", "cache")


def init(experiment: Experiment, key: jax.Array, runtime: Runtime = Runtime()) -> State:
    """Makes the initial state; pure, so that `jax.eval_shape` gives its shapes and `jax.vmap` a population.

    Args:
      experiment: Experiment to train.
      key: Typed key, such as `jax.random.key(seed)`.
      runtime: Precision of the parameters and of the optimizer state.

    Raises:
      UserError: The task has parameters of its own, and the model has a submodule named "task"; or a step cannot use
        the optimizer (see `deeplab.optim.check_optimizer`).

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> state = dl.init(experiment(), jax.random.key(0))
      >>> int(state.step)
      0
    """
    params_key, train_key = jax.random.split(key)
    blank = {name: jnp.zeros(s.shape, s.dtype) for name, s in experiment.data.spec().items()}
    with dropout.by_example(blank["id"]):
        variables = dict(experiment.model.init(params_key, *experiment.task.inputs(blank), train=False))
    params = variables.pop("params", {})
    variables = {name: tree for name, tree in variables.items() if name not in _TRANSIENT}
    state = State(jnp.zeros((), jnp.int32), params, variables, (), train_key)
    own_key, task_key = (jax.random.fold_in(params_key, i) for i in range(2))
    own = experiment.task.init_params(bind(experiment, state, blank, runtime), blank, own_key)
    if own:
        if TASK in params:
            raise UserError(f"{type(experiment.model).__name__} has a submodule named {TASK!r}; give it another name")
        state = dataclasses.replace(state, params={**params, TASK: own})
    first = experiment.task.init_state(bind(experiment, state, blank, runtime), blank, task_key)
    params = cast(state.params, runtime.precision.parameters)
    check_optimizer(experiment.optimizer, params)
    opt_state = scaled(experiment.optimizer.init(params), runtime.precision)
    return _unshared(dataclasses.replace(state, params=params, opt_state=opt_state, task=first))


def _unshared(state: State) -> State:
    """Copies arrays that occur twice in the state, such as parameters that are also the initial teacher.

    A buffer that occurs twice cannot be donated to a step.
    """
    seen: set[int] = set()

    def once(leaf: Any) -> Any:
        if id(leaf) in seen:
            return jnp.copy(leaf)
        seen.add(id(leaf))
        return leaf

    return jax.tree.map(once, state)


def with_weights(state: State, weights: Weights | tuple[Weights, ...] | Any) -> State:
    """Replaces initial values of a state by trained ones.

    Args:
      state: State whose arrays give the shapes, dtypes and shardings of the values.
      weights: Trained values for parts of the state.

    Raises:
      UserError: A path names no part of the state, loaded values do not fit it, or what is skipped is no parameter.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state = dl.init(exp, jax.random.key(0))
      >>> zeros = dl.Weights("zeros", lambda tree: jax.tree.map(lambda s: jnp.zeros(s.shape), tree), "params/head")
      >>> with_weights(state, zeros).params["head"]["kernel"].sum().item()
      0.0
    """
    for part in (weights,) if isinstance(weights, Weights) else weights:
        name, *path = part.path.split("/")
        if name not in ("params", "variables", "task"):
            raise UserError(f"weights from {part.source}: path {part.path!r} begins neither with params nor with task")
        tree = getattr(state, name)
        state = dataclasses.replace(state, **{name: _replaced(tree, path, part)})
    return state


def _replaced(tree: Any, path: list[str], weights: Weights) -> Any:
    if path:
        if not isinstance(tree, dict) or path[0] not in tree:
            known = tree if isinstance(tree, dict) else {}
            raise UserError(
                f"weights from {weights.source}: the state has no {weights.path}; {nearest(path[0], known)}"
            )
        return {**tree, path[0]: _replaced(tree[path[0]], path[1:], weights)}
    if weights.path.startswith("params"):  # statistics are fewer than what a pattern of parameters means
        check_found(weights.skip, names(tree))
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
    loaded = weights.load(abstract)
    if jax.tree.structure(loaded) != jax.tree.structure(tree):
        raise UserError(
            f"weights from {weights.source} for {weights.path} have another structure than the model: given "
            f"{_names(loaded)}, expected {_names(tree)}"
        )

    def chosen(path: Any, old: jax.Array, new: Any) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if any(re.search(pattern, name) for pattern in weights.skip):
            return old
        if new.shape != old.shape:
            raise UserError(
                f"weights from {weights.source}: {name} is {list(new.shape)}, expected {list(old.shape)}; skip it "
                f"(skip=({name!r},)) to start it anew"
            )
        return jax.device_put(jnp.asarray(new, old.dtype), old.sharding)

    return jax.tree_util.tree_map_with_path(chosen, tree, loaded)


def _names(tree: Any) -> str:
    every = names(tree)
    return ", ".join(every[:20]) + (", ..." if len(every) > 20 else "")
