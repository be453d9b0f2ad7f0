"""Where an attack acts: a field of the batch, before the normalization, or the outputs of a module of the model."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from deeplab.core.errors import UserError
from deeplab.robust.attacks.norms import LINF, Norm, by_row
from deeplab.robust.inputs import refuse_missing, refuse_wide

Batch = dict[str, Any]
_CHOICES = 0x61747461  # folded into an attack's key, beside the draws of the model
_MOST = 255.0  # the unit of images of bytes


class Model(Protocol):
    """A model with its parameters bound; `deeplab.tasks.Apply` is one."""

    def __call__(self, *inputs: Any, key: Any = None, edits: Any = None) -> tuple[Any, Any]: ...

    def taps(self, *inputs: Any, names: Any, **options: Any) -> tuple[Any, dict[str, Any]]: ...


class Attack(Protocol):
    """From a batch to one that looks the same and is predicted otherwise; pure, and jitted by the caller.

    Example:
      >>> unchanged: Attack = lambda apply, batch, key: batch  # the weakest
      >>> unchanged(None, {"image": 0.5}, None)
      {'image': 0.5}
    """

    def __call__(self, apply: Any, batch: Batch, key: PRNGKeyArray) -> Batch: ...


class Problem(NamedTuple):
    """What an attack sees of a batch.

    Attributes:
      x: What is moved, as it is.
      outputs: Function `outputs(x, key)` to the outputs of the model.
      batch: The batch.
      keys: Key of the choices of each example, which depends on its `id` alone.
      key: Key of the draws of a model that is random itself.
      low: Least value.
      high: Largest value.
    """

    x: Float[Array, "B ..."]
    outputs: Callable[[Array, PRNGKeyArray], Any]
    batch: Batch
    keys: PRNGKeyArray
    key: PRNGKeyArray
    low: Any
    high: Any


@dataclasses.dataclass(frozen=True)
class Seam:
    """Where an attack acts, and within which bounds.

    Images are moved in [0, 1], before the normalization that the model's first input passes. Anything else that has a
    direction is moved likewise: spectrograms, the columns of a table, or, for tokens, the outputs of an embedding.

    Args:
      fields: Names of the batch's fields that the model reads, in order: `task.fields`.
      field: Name of the field that is moved; the first of `fields` when empty.
      tap: Name of the module whose outputs are moved instead, such as "token_embedding"; none when empty.
      low: Least value, a number or an array that broadcasts; 0 of fields and no bound of taps when None.
      high: Largest value, likewise; 1 of fields when None.
      movable: What may be moved, a mask that broadcasts to an example, such as some columns of a table; all when None.

    Example:
      >>> Seam(fields=("numeric", "categorical"), low=-3.0, high=3.0).name
      'numeric'
    """

    fields: tuple[str, ...] = ("image",)
    field: str = ""
    tap: str = ""
    low: Any = None
    high: Any = None
    movable: Any = None

    @property
    def name(self) -> str:
        """Field of the batch that holds what is moved."""
        return f"attacked:{self.tap}" if self.tap else self.field or self.fields[0]

    @property
    def box(self) -> tuple[Any, Any]:
        """The least and the largest value."""
        low, high = (-jnp.inf, jnp.inf) if self.tap else (0.0, 1.0)
        return (low if self.low is None else self.low), (high if self.high is None else self.high)

    def check(self, radius: Any, norm: Norm = LINF) -> None:
        """Refuses what is no norm, and a radius below 0 or of bytes, which is not looked at under a trace.

        Raises:
          UserError: it is.
        """
        if not isinstance(norm, Norm):
            raise UserError(f"norm={norm!r} was given, expected attacks.LINF, attacks.L2 or attacks.L1")
        if not isinstance(radius, Tracer) and not np.all(np.asarray(radius) >= 0):
            raise UserError(f"radius={radius!r} was given, expected a number, 0 or more")
        if norm.name == "linf":
            refuse_wide(radius, *self.box)

    def problem(self, apply: Any, batch: Batch, key: PRNGKeyArray) -> Problem:
        """What an attack sees of a batch.

        Raises:
          UserError: the field is missing, is of integers, or its values are out of the box.
        """
        inputs = self._inputs(batch)
        _check_call(apply, inputs)
        low, high = self.box
        if self.tap:
            x = batch[self.name] if self.name in batch else apply.taps(*inputs, names=[self.tap])[1][self.tap]
        else:
            x = batch[self.name]
        x = self._checked(x, low, high)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, _CHOICES), batch["id"])

        def outputs(z: Array, key: PRNGKeyArray) -> Any:
            return self.outputs(apply, batch | {self.name: self._moved(x, z)}, key)

        return Problem(x, outputs, batch, keys, key, low, high)

    def outputs(self, apply: Any, batch: Batch, key: PRNGKeyArray | None = None) -> Any:
        """Outputs of the model for a batch, which may be an attacked one."""
        edits = {self.tap: lambda _: batch[self.name]} if self.tap and self.name in batch else None
        return apply(*self._inputs(batch), key=key, edits=edits)[0]

    def moved(self, problem: Problem, x: Array) -> Batch:
        """The batch with x in place; examples of weight 0 stay as they are."""
        x = jnp.where(by_row(problem.batch["weight"] > 0, x), self._moved(problem.x, x), problem.x)
        return problem.batch | {self.name: x}

    def _moved(self, x: Array, z: Array) -> Array:
        if self.movable is None:
            return z
        mask = jnp.broadcast_to(jnp.asarray(self.movable, bool), x.shape[1:])
        return jnp.where(mask[None], z, x)

    def _inputs(self, batch: Batch) -> tuple[Any, ...]:
        if missing := [name for name in {*self.fields, *([] if self.tap else [self.name])} if name not in batch]:
            raise UserError(
                f"the batch has no field {missing[0]!r} but {sorted(batch)}; give attacks.Seam(fields=task.fields)"
            )
        refuse_missing(batch, ("id", "weight"))
        return tuple(batch[name] for name in self.fields)

    def _checked(self, x: Any, low: Any, high: Any) -> Array:
        kind = jnp.result_type(x)
        if jnp.issubdtype(kind, jnp.integer) and kind != jnp.uint8:
            raise UserError(
                f"{self.name!r} is of {kind}, which has no direction; give attacks.Seam(tap=...) the name of a module "
                "that embeds it, such as 'token_embedding' (`dl.explain.embedding_tap` finds it), or use "
                "attacks.hotflip, which exchanges tokens"
            )
        if not jnp.issubdtype(kind, jnp.floating):
            raise UserError(f"{self.name!r} is of {kind}; expected real numbers, such as pixels / 255 of an image")
        if not any(isinstance(value, Tracer) for value in (x, low, high)):
            values = np.asarray(x)
            if not (np.all(values >= np.asarray(low)) and np.all(values <= np.asarray(high))):
                least, most = values.min(), values.max()
                if np.isnan(values).any():
                    raise UserError(f"{self.name!r} holds NaN; leave such examples out")
                do = "divide it by 255" if most <= _MOST and least >= 0 else "give attacks.Seam its low= and high="
                raise UserError(f"{self.name!r} has values from {least:g} to {most:g}, out of {low} to {high}; {do}")
        # Half as many bits do not tell the ends of a small ball apart, nor a point within from one without.
        return jnp.asarray(x, jnp.promote_types(kind, jnp.float32))


def _check_call(apply: Any, inputs: tuple[Any, ...]) -> None:
    """Refuses a model that cannot be called as an attack calls it, such as a function from inputs to logits."""
    try:
        inspect.signature(apply).bind(*inputs, key=None, edits=None)
    except TypeError as error:
        raise UserError(
            "an attack calls apply(*inputs, key=..., edits=...) for (outputs, variables); give run.bound(B), or wrap a "
            "function f of the inputs alone as lambda *x, **_: (f(*x), {})"
        ) from error


IMAGES = Seam()
"""The batch's field "image", in [0, 1]."""
