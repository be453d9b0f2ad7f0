"""The last layer of a classifier: what it reads, and its weights; without a change of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from deeplab.core.errors import UserError, nearest
from deeplab.robust.inputs import refuse_unbound


class Head(NamedTuple):
    """A linear layer, features @ kernel + bias.

    Attributes:
      kernel: Weights [D, K].
      bias: Summands [K].

    Example:
      >>> Head(kernel=np.eye(2), bias=np.array([0.0, 1.0]))(np.array([[2.0, 3.0]])).tolist()
      [[2.0, 4.0]]
    """

    kernel: Any
    bias: Any

    def __call__(self, features: Float[ndarray, "N D"]) -> Float[ndarray, "N K"]:
        """The logits, on the host in float64.

        Raises:
          UserError: the features are not [N, D].
        """
        kernel, bias = (np.asarray(x, np.float64) for x in self)
        features = np.asarray(features, np.float64)
        if features.ndim < 2 or features.shape[-1] != len(kernel):
            raise UserError(f"features have the shape {list(features.shape)}, expected [N, {len(kernel)}]")
        return features @ kernel + bias[None]


class Tapped(NamedTuple):
    """What a model computes at its last linear layer.

    Attributes:
      outputs: Outputs of the model.
      features: Input of the layer [B, ..., D].
      head: Its weights.
      name: Its path in the model, such as "head".

    Example:
      >>> head = Head(np.eye(2), np.array([0.0, 1.0]))
      >>> found = Tapped(outputs=np.array([[2.0, 4.0]]), features=np.array([[2.0, 3.0]]), head=head, name="head")
      >>> np.array_equal(found.head(found.features), found.outputs)
      True
    """

    outputs: Any
    features: Float[Array, "B ... D"]
    head: Head
    name: str


def tap_head(apply: Any, *inputs: Any, name: str | None = None) -> Tapped:
    """Runs a model and reads the input and the weights of its last `nn.Dense`, or of the one with this path.

    Args:
      apply: Model with its parameters bound.
      *inputs: Arguments of the model.
      name: Path of the layer, such as "head"; the one that is called last when None.

    Raises:
      UserError: the model is not bound, or no such layer is called.

    Example:
      >>> import jax
      >>> import deeplab as dl
      >>> from deeplab.train.bind import bind
      >>> from experiments.image_digits import experiment
      >>> exp = experiment(width=4)
      >>> batch = exp.data.transform(next(exp.data.batches("test")))
      >>> found = tap_head(bind(exp, dl.init(exp, jax.random.key(0)), batch, dl.Runtime()), batch["image"])
      >>> found.features.shape, np.allclose(found.head(found.features), found.outputs, atol=1e-4)
      ((128, 256), True)
    """
    refuse_unbound(apply)
    called: dict[str, Any] = {}

    def record(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, nn.Dense) and context.method_name == "__call__":
            path = "/".join(context.module.path)
            called.pop(path, None)  # so that the last call is the last key
            called[path] = args[0] if args else kwargs["inputs"]
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        outputs, _ = apply(*inputs)
    if not called or (name is not None and name not in called):
        known = nearest(name, called) if name and called else "name its features yourself, by `apply.taps`"
        raise UserError(f"{type(apply.module).__name__} calls no nn.Dense{f' {name!r}' if name else ''}; {known}")
    found = name if name is not None else next(reversed(called))
    weights = apply.params
    for part in found.split("/"):
        weights = weights[part]
    kernel = weights["kernel"]
    return Tapped(outputs, called[found], Head(kernel, weights.get("bias", jnp.zeros(kernel.shape[1]))), found)
