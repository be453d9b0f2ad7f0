"""Models whose parameters pass through a function before the model reads them.

They are called as Linen modules are, by `init` and `apply`, and have all attributes of the model within, whose modules
keep their paths.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from deeplab.optim.paths import check_found, name, names
from deeplab.tuning.lora import ADAPTERS, Lora

_KEY = 0x6C6F7261  # folded into the key of the parameters, so that the model's own are the same without adapters


@dataclasses.dataclass(frozen=True)
class Adapted:
    """A model with adapters, which stand beside its parameters as "adapters".

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
        return self.model.apply({**variables, "params": self.lora.merged(variables["params"])}, *inputs, **options)

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


def _of_model(wrapper: Any, attribute: str) -> Any:
    """An attribute of the model within; a copy that is being made has none yet."""
    if attribute.startswith("__") or "model" not in vars(wrapper):
        raise AttributeError(attribute)
    return getattr(wrapper.model, attribute)
