"""What a model reads and returns: whether it is what a task gives and reads, and what it is, in messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError

_TABLE = re.compile(r"(?:^|/)(?:tokens|token_embedding)/embedding$")
"""Path of the table of tokens in the models of this library."""


def named_outputs(class_names: Sequence[str], outputs: int) -> int:
    """The number of outputs, each of which must have a name.

    Raises:
      UserError: There are more or fewer names than outputs.
    """
    if len(class_names) != outputs:
        raise UserError(
            f"the model has {outputs} outputs, and the task {len(class_names)} class names; give both the same number "
            "(class_names of the task, or the number of outputs of the model)"
        )
    return outputs


def each_class(name: str, values: Any, count: int, dtype: Any) -> jax.Array:
    """Numbers of the classes, which may be tracers, as an array [K].

    Args:
      name: What they are, for the message.
      values: The numbers, a sequence or an array.
      count: Number K of classes.
      dtype: Type of the result.

    Raises:
      UserError: There are more or fewer of them than classes; one would count for all.

    Example:
      >>> each_class("class_weights", (1, 2.5), 2, "float32").tolist()
      [1.0, 2.5]
    """
    if len(values) != count:
        raise UserError(f"{len(values)} {name} for {count} classes; give one for each")
    return jnp.stack([jnp.asarray(value, dtype) for value in values])


def described(value: Any) -> str:
    """What a value is, for messages: dtypes and shapes of arrays, and what holds them.

    Example:
      >>> import numpy as np
      >>> described((np.zeros((4, 3), np.float32), None)), described({"loss": "a"})
      ('a tuple (float32[4, 3], None)', "a dict {'loss': str}")
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array {value.dtype}{list(value.shape)}"
    kind = type(value).__name__
    if isinstance(value, Mapping):
        return f"a {kind} {{{', '.join(f'{name!r}: {_brief(part)}' for name, part in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"a {kind} ({', '.join(map(_brief, value))})"
    return "None" if value is None else f"a {kind}"


def _brief(value: Any) -> str:
    return described(value).removeprefix("an array ").removeprefix("a ")


def one_array(outputs: Any, *shape: int | str) -> jax.Array:
    """The outputs of a model, where they are one array of the shape that a task reads.

    Args:
      outputs: Outputs of the model.
      *shape: Expected sizes; a text is the name of one that may be any.

    Raises:
      UserError: The outputs are several, none, or of another shape.

    Example:
      >>> import numpy as np
      >>> one_array(np.zeros((4, 3)), 4, "K").shape
      (4, 3)
      >>> one_array(np.zeros((4, 1)), 4)
      Traceback (most recent call last):
      deeplab.core.errors.UserError: the model returns an array float64[4, 1], expected one array [4]
    """
    given = getattr(outputs, "shape", ())
    if len(given) != len(shape) or any(b not in (a, str(b)) for a, b in zip(given, shape, strict=True)):
        raise UserError(f"the model returns {described(outputs)}, expected one array [{', '.join(map(str, shape))}]")
    return outputs


def check_token(apply: Any, token: int, argument: str, advice: str) -> None:
    """Checks that the model has a row for a token that the task itself writes: a table reads its last row instead.

    A model whose table of tokens has another name than those of this library is let through.

    Args:
      apply: The model, see `Apply`.
      token: Largest token that the task writes.
      argument: What sets it, for the message.
      advice: What to give, for the message.

    Raises:
      UserError: The model has no row for the token.

    Example:
      >>> import types
      >>> import numpy as np
      >>> apply = types.SimpleNamespace(params={"embed": {"tokens": {"embedding": np.zeros((9, 4))}}})
      >>> check_token(apply, 8, "mask_token", "give more")
      >>> check_token(apply, 9, "mask_token", "give more")
      Traceback (most recent call last):
      deeplab.core.errors.UserError: mask_token is 9, and the model has rows for the tokens 0 to 8 only; give more
    """
    leaves = jax.tree_util.tree_leaves_with_path(getattr(apply, "params", None))
    paths = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    sizes = {leaf.shape[0] for path, leaf in paths if _TABLE.search(path)}
    if len(sizes) == 1 and token >= (size := sizes.pop()):
        raise UserError(f"{argument} is {token}, and the model has rows for the tokens 0 to {size - 1} only; {advice}")
