"""Models whose parameters pass through a function before the model reads them.

They are called as Linen modules are, by `init` and `apply`, and have all attributes of the model within, whose modules
keep their paths.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.optim.paths import check_found, name, names
from deeplab.tuning.lora import ADAPTERS, LOW_RANK, Lora, base

_KEY = 0x6C6F7261  # folded into the key of the parameters, so that the model's own are the same without adapters


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A model with adapters, which stand beside its parameters as "adapters".

    A layer `nn.Dense` computes x W + (x A) B, so that W has no gradient and none is computed; other kernels, such as
    those of convolutions and experts, are summed with their adapters first.

    Args:
      model: Model, a Linen module.
      lora: Adapters.
      also: Regular expression of the paths of parameters that are trained besides, if any, for a check.

    Example:
      >>> model = Adapted(nn.Dense(4), Lora(where="kernel"))
      >>> variables = model.init(jax.random.key(0), jax.numpy.ones((1, 3)))
      >>> sorted(variables["params"]), model.apply(variables, jax.numpy.ones((1, 3))).shape
      (['adapters', 'bias', 'kernel'], (1, 4))
    """

    model: nn.Module
    lora: Lora
    also: str = ""

    def init(self, rngs: Any, *inputs: Any, **options: Any) -> dict[str, Any]:
        """Collections as `nn.Module.init` makes them, with adapters."""
        variables = dict(self.model.init(rngs, *inputs, **options))
        key = jax.random.fold_in(rngs["params"] if isinstance(rngs, Mapping) else rngs, _KEY)
        params = variables["params"]
        check_found([self.also], names(params))
        return {**variables, "params": {**params, ADAPTERS: self.lora.init(key, params)}}

    def apply(self, variables: Mapping[str, Any], *inputs: Any, **options: Any) -> Any:
        """As `nn.Module.apply`."""
        params = variables["params"]
        apart = self._dense({**variables, "params": base(params)}, inputs, options)
        with nn.intercept_methods(_low_rank):
            return self.model.apply({**variables, "params": self.lora.placed(params, apart)}, *inputs, **options)

    def _dense(self, variables: Any, inputs: Any, options: Any) -> set[str]:
        """The paths of the kernels of `nn.Dense`, found by a call that computes nothing."""
        found = set()

        def note(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
            if type(context.module) is nn.Dense:
                found.add("/".join((*context.module.path, "kernel")))
            return call(*args, **kwargs)

        def silent() -> None:
            self.model.apply(variables, *inputs, **options)

        with nn.intercept_methods(note):
            jax.eval_shape(silent)
        return found

    @property
    def rules(self) -> tuple[Any, ...]:
        """Sharding of the adapters, and of the model's own parameters."""
        own = tuple(getattr(self.model, "rules", ()))
        return (*self.lora.rules(own), *own)

    def __getattr__(self, attribute: str) -> Any:
        return _of_model(self, attribute)


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A model whose parameters have no gradient where a pattern is found in their path; none is computed.

    Args:
      model: Model, a Linen module or what is called as one.
      pattern: Regular expression.

    Example:
      >>> model, x = Frozen(nn.Dense(2), "kernel"), jax.numpy.ones((1, 3))
      >>> variables = model.init(jax.random.key(0), x)
      >>> grads = jax.grad(lambda v: model.apply(v, x).sum())(variables)["params"]
      >>> grads["kernel"].sum().item(), grads["bias"].tolist()
      (0.0, [1.0, 1.0])
    """

    model: Any
    pattern: str

    def init(self, rngs: Any, *inputs: Any, **options: Any) -> dict[str, Any]:
        """As `nn.Module.init`; a pattern that is found in no path is a `UserError`."""
        variables = self.model.init(rngs, *inputs, **options)
        check_found([self.pattern], names(variables["params"]))
        return variables

    def apply(self, variables: Mapping[str, Any], *inputs: Any, **options: Any) -> Any:
        """As `nn.Module.apply`."""

        def held(path: Any, leaf: Any) -> Any:
            return jax.lax.stop_gradient(leaf) if re.search(self.pattern, name(path)) else leaf

        params = jax.tree_util.tree_map_with_path(held, variables["params"])
        return self.model.apply({**variables, "params": params}, *inputs, **options)

    def __getattr__(self, attribute: str) -> Any:
        return _of_model(self, attribute)


def _low_rank(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    """The outputs of a layer `nn.Dense` whose kernel has adapters beside it."""
    y, layer = call(*args, **kwargs), context.module
    if (
        type(layer) is not nn.Dense
        or context.method_name != "__call__"
        or not layer.has_variable("params", LOW_RANK[0])
    ):
        return y
    x = args[0] if args else kwargs["inputs"]
    a, b, factor = (layer.get_variable("params", name) for name in LOW_RANK)
    low = jnp.dot(jnp.dot(x.astype(y.dtype), a.astype(y.dtype)), b.astype(y.dtype))
    if factor is None:
        return y + low
    factor = _of_columns(factor, y)
    bias = _of_columns(layer.get_variable("params", "bias"), y) if layer.use_bias else 0.0
    return (y + low) * factor + bias * (1 - factor)


def _of_columns(x: jax.Array, y: jax.Array) -> jax.Array:
    return x.astype(y.dtype).reshape(*[1] * (y.ndim - 1), -1)


def _of_model(wrapper: Any, attribute: str) -> Any:
    """An attribute of the model within; a copy that is being made has none yet."""
    if attribute.startswith("__") or "model" not in vars(wrapper):
        raise AttributeError(attribute)
    return getattr(wrapper.model, attribute)
