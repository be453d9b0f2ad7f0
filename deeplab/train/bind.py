"""The model with its parameters bound, as a task receives it; the only caller of `model.apply`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flax.linen as nn
import jax

from deeplab.core.errors import UserError, nearest
from deeplab.core.precision import Precision, cast
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.scale import activations
from deeplab.train import dropout
from deeplab.train.state import State, split_params

_OTHER_STREAM = 0x6F746865  # folded into the key of every RNG collection except "dropout"


@dataclasses.dataclass(frozen=True, eq=False)
class BoundApply:
    """Implementation of `deeplab.tasks.contract.apply.Apply`.

    It adds, outside the model, what all models share: dropout keyed by example, the dtypes of the precision, the
    normalization of the first input, and on a mesh the sharding of every layer's output by example.

    Example:
      >>> import jax.numpy as jnp
      >>> import deeplab as dl
      >>> params = {"head": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}}
      >>> apply = BoundApply(dl.models.MLP(3, ()), params, {}, jnp.arange(1), Precision())
      >>> apply(jnp.ones((1, 2)))[0].tolist(), apply(jnp.ones((1, 2)), edits={"head": jnp.negative})[0].tolist()
      ([[2.0, 2.0, 2.0]], [[-2.0, -2.0, -2.0]])
    """

    module: nn.Module
    params: Any
    variables: Any
    ids: jax.Array
    precision: Precision
    normalize: Callable[[Any], Any] | None = None
    task_params: Any = dataclasses.field(default_factory=dict)
    task_state: Any = ()
    trains: bool = True

    def __call__(
        self,
        *inputs: Any,
        train: bool = False,
        key: jax.Array | None = None,
        method: str | None = None,
        params: Any = None,
        mutable: Sequence[str] = (),
        edits: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> tuple[Any, Any]:
        return self._call(inputs, train, key, method, params, mutable, edits, False)

    def taps(self, *inputs: Any, names: Sequence[str], **options: Any) -> tuple[Any, dict[str, Any]]:
        def wanted(module: nn.Module, method: str) -> bool:
            return method == "__call__" and "/".join(module.path) in names

        mutable = (*options.pop("mutable", ()), "intermediates")
        given = {"train": False, "key": None, "method": None, "params": None, "edits": None} | options
        outputs, variables = self._call(inputs, mutable=mutable, capture=wanted, **given)
        found = named_taps(variables.get("intermediates", {}))
        if missing := [name for name in names if name not in found]:
            known = _module_paths(self.module, self.params) | found.keys()
            raise UserError(f"{type(self.module).__name__} has no tap {missing[0]!r}; {nearest(missing[0], known)}")
        return outputs, {name: found[name] for name in names}

    def of(self, module: nn.Module, params: Any, variables: Any = None) -> BoundApply:
        return dataclasses.replace(self, module=module, params=params, variables=variables or {}, normalize=None)

    def evaluating(self) -> BoundApply:
        return dataclasses.replace(self, trains=False)

    def rebound(
        self,
        *,
        params: Any = None,
        variables: Any = None,
        task_params: Any = None,
        task_state: Any = None,
        precision: Precision | None = None,
    ) -> BoundApply:
        given = {"params": params, "variables": variables, "task_params": task_params, "task_state": task_state}
        given |= {"precision": precision}
        return dataclasses.replace(self, **{name: value for name, value in given.items() if value is not None})

    def _call(
        self, inputs: Any, train: bool, key: Any, method: Any, params: Any, mutable: Any, edits: Any, capture: Any
    ) -> tuple[Any, Any]:
        train = train and self.trains
        bound = {"params": cast(self.params if params is None else params, self.precision.computation)}
        if self.normalize is not None and method is None:
            inputs = (self.normalize(inputs[0]), *inputs[1:])
        exact = getattr(self.module, "exact_inputs", ())  # such as times, of which half precision holds 3 digits
        inputs = [x if i in exact else cast(x, self.precision.computation) for i, x in enumerate(inputs)]
        rngs = {} if key is None else {"dropout": key, "params": self._batch_key(key)}
        collections = [*(self.variables if train else ()), *mutable]
        with dropout.by_example(self.ids), activations.by_example(len(self.ids)), _edited(edits):
            out = self.module.apply(
                {**bound, **self.variables},
                *inputs,
                train=train,
                rngs=rngs,
                method=method,
                mutable=collections or False,
                capture_intermediates=capture,
            )
        outputs, updated = out if collections else (out, {})
        return cast(outputs, self.precision.reductions), {**self.variables, **updated}

    def _batch_key(self, key: jax.Array) -> jax.Array:
        """Key of what a model draws for a whole batch; microbatches of a step share `key`, but no example."""
        return jax.random.fold_in(jax.random.fold_in(key, _OTHER_STREAM), self.ids[0])


def bind(
    experiment: Experiment, state: State, batch: Batch, runtime: Runtime, params: Any = None, variables: Any = None
) -> BoundApply:
    """Binds the model to its parameters, as a function of its inputs for a `Task`.

    Args:
      experiment: Experiment whose model is bound.
      state: State that holds the parameters, the other collections and the state of the task.
      batch: Batch whose `id`s key dropout.
      runtime: Precision.
      params: Parameters in place of the state's.
      variables: Collections in place of the state's.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> state, batch = dl.init(exp, jax.random.key(0)), data.transform(next(data.batches("train")))
      >>> outputs, variables = bind(exp, state, batch, dl.Runtime())(batch["image"])
      >>> outputs.shape
      (32, 10)
    """
    model, own = split_params(state.params if params is None else params)
    return BoundApply(
        experiment.model,
        model,
        state.variables if variables is None else variables,
        batch["id"],
        runtime.precision,
        experiment.data.normalize,
        own,
        state.task,
    )


def _edited(edits: Mapping[str, Callable[[Any], Any]] | None) -> AbstractContextManager[Any]:
    """Context in which the outputs of named submodules are edited."""
    if not edits:
        return nullcontext()

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        outputs = call(*args, **kwargs)
        name = "/".join(context.module.path)
        return edits[name](outputs) if context.method_name == "__call__" and name in edits else outputs

    return nn.intercept_methods(intercept)


def named_taps(intermediates: Any) -> dict[str, Any]:
    """Sown values and captured outputs by name, such as "block_0/attention".

    A value that was sown once is not wrapped in a tuple; a module called several times has a tuple of values.

    Example:
      >>> named_taps({"block_0": {"attention": {"__call__": (2.0,)}, "norm": {"__call__": (3.0, 4.0)}, "gate": (5.0,)}})
      {'block_0/attention': 2.0, 'block_0/gate': 5.0, 'block_0/norm': (3.0, 4.0)}
    """
    leaves = jax.tree_util.tree_leaves_with_path(intermediates, is_leaf=lambda x: isinstance(x, tuple))
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): values for path, values in leaves}
    return {
        name.removesuffix("/__call__"): values[0] if isinstance(values, tuple) and len(values) == 1 else values
        for name, values in named.items()
    }


def _module_paths(module: nn.Module, params: Any) -> set[str]:
    """Paths of the submodules that have parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    parts = [jax.tree_util.keystr(path, simple=True, separator="/").split("/")[:-1] for path, _ in leaves]
    return {"/".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)}
