"""`Apply`: the model with its parameters bound, as a task receives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax

from deeplab.core.precision import Precision


class Apply(Protocol):
    """A model with its parameters bound: `outputs, variables = apply(*inputs, train=True, key=key)`.

    Attributes:
      module: The model.
      params: Parameters of the model; those of the task are in `task_params`.
      task_params: Parameters that `Task.init_params` made.
      task_state: Current state of the task, initialized by `Task.init_state`.

    Example:
      >>> import jax.numpy as jnp
      >>> scores = lambda x, train=False, **_: (2 * x, {})  # in a test of a task, a function may stand for it
      >>> outputs, variables = scores(jnp.ones(2), train=True, key=None)
      >>> outputs.tolist()
      [2.0, 2.0]
    """

    @property
    def module(self) -> nn.Module: ...

    @property
    def params(self) -> Any: ...

    @property
    def task_params(self) -> Any: ...

    @property
    def task_state(self) -> Any: ...

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
        """Returns the model's outputs and its other collections (such as `batch_stats`), updated if `train` is True.

        Args:
          *inputs: Arguments of the model; the first is normalized by `data.normalize`.
          train: Whether the model behaves as in training.
          key: Key of all randomness in the model; the key of each RNG collection is derived from it.
          method: Method of the model to call; `__call__` when None.
          params: Parameters that replace the bound ones.
          mutable: Further collections to return, such as "intermediates" or the model's own "losses".
          edits: Functions of the outputs of named submodules, such as `{"block_0/attention": jnp.zeros_like}`.
        """
        ...

    def taps(self, *inputs: Any, names: Sequence[str], **options: Any) -> tuple[Any, dict[str, Any]]:
        """Returns the model's outputs, and the outputs of submodules or sown values with these names."""
        ...

    def of(self, module: nn.Module, params: Any, variables: Any = None) -> Apply:
        """Binds another network, such as a task's own, with the same precision, dropout and sharding constraints."""
        ...

    def evaluating(self) -> Apply:
        """Returns an equal `Apply` that ignores `train=True`."""
        ...

    def rebound(
        self,
        *,
        params: Any = None,
        variables: Any = None,
        task_params: Any = None,
        task_state: Any = None,
        precision: Precision | None = None,
    ) -> Apply:
        """Returns an equal `Apply` with other parameters or variables, or with others of the task, or that computes in
        another precision; None ones stay."""
        ...
