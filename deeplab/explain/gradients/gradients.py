"""The gradient of a score, times the input, over noise, and with the constants of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.core import Tracer

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.explain.attribution import Attribution, Target, check_floating, checked, drawn, scored, summed
from deeplab.explain.chunks import averaged


def gradient(f: Callable[..., Any], x: Any, target: Target = None, args: Sequence[Any] = ()) -> Attribution:
    """How fast the score changes with each entry of the input, with its sign.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.

    Raises:
      UserError: an input is not floating-point, the examples are mixed, or the result is not finite.

    Example:
      >>> gradient(lambda x: x[:, 0] - 2 * x[:, 1], jnp.array([[3.0, 1.0]])).values.tolist()
      [[1.0, -2.0]]

    Source: Simonyan, Vedaldi and Zisserman 2014, https://arxiv.org/abs/1312.6034 (who show its size).
    """
    check_floating(x)
    score, args = scored(f, target, args)
    out, pull = jax.vjp(lambda x: score(x, *args), x)
    checked(Attribution(out))  # the derivative of a score that is not finite may be
    _check_apart(pull, out)
    return checked(Attribution(pull(jnp.ones_like(out))[0]))


def input_x_gradient(f: Callable[..., Any], x: Any, target: Target = None, args: Sequence[Any] = ()) -> Attribution:
    """The gradient times the input: what each entry adds to a linear score.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.

    Raises:
      UserError: an input is not floating-point, or the result is not finite.

    Example:
      >>> input_x_gradient(lambda x: x[:, 0] - 2 * x[:, 1], jnp.array([[3.0, 1.0]])).values.tolist()
      [[3.0, -2.0]]

    Source: Shrikumar et al. 2016, https://arxiv.org/abs/1605.01713
    """
    return checked(Attribution(jax.tree.map(jnp.multiply, x, gradient(f, x, target, args).values)))


Moment = Literal["mean", "square", "variance"]


@ranges.checked(moment=ranges.OneOf(Moment))
def smoothgrad(
    f: Callable[..., Any],
    x: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    key: jax.Array | None = None,
    deviation: float | jax.Array = 0.1,
    draws: int = 32,
    moment: Moment = "mean",
    method: Callable[..., Attribution] = gradient,
    chunk: int | None = None,
) -> Attribution:
    """The mean of an explanation over noisy copies of the input; or its mean square, or its variance.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      key: Key of the noise, which all examples share.
      deviation: Standard deviation of the noise, in units of the input.
      draws: Number of noisy copies.
      moment: Mean, mean square (SmoothGrad-Squared), or variance (VarGrad, which evaluates all copies twice).
      method: Function `method(f, x, target, args)` to an explanation, such as `gradient`.
      chunk: Number of copies at a time; by the size of what f computes when None.

    Raises:
      UserError: there is no key, an input is not floating-point, or the result is not finite.

    Example:
      >>> found = smoothgrad(lambda x: (x**2).sum(axis=1), jnp.array([[1.0]]), key=jax.random.key(0), draws=256)
      >>> abs(float(found.values[0, 0]) - 2) < 4 * float(found.error[0, 0])
      True

    Source: Smilkov et al. 2017, https://arxiv.org/abs/1706.03825; Hooker et al. 2019,
    https://arxiv.org/abs/1806.10758; Adebayo et al. 2018, https://arxiv.org/abs/1810.03292
    """
    check_floating(x)
    keys = drawn(key, draws)

    def one(key: jax.Array) -> Any:
        leaves, tree = jax.tree.flatten(x)
        noise = [jax.random.normal(k, a.shape[1:], a.dtype) for k, a in zip(_keys(key, leaves), leaves, strict=True)]
        noisy = [leaf + deviation * eps[None] for leaf, eps in zip(leaves, noise, strict=True)]
        return method(f, jax.tree.unflatten(tree, noisy), target, args).values

    values, error = averaged(one, keys, chunk) if moment != "square" else (None, None)
    if moment != "mean":
        center = values if moment == "variance" else jax.tree.map(jnp.zeros_like, x)
        values, error = averaged(lambda key: jax.tree.map(lambda g, m: (g - m) ** 2, one(key), center), keys, chunk)
    return checked(Attribution(values, error=error))


def fullgrad(
    f: Callable[..., Any],
    x: Any,
    variables: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    constants: Sequence[str] = ("bias", "mean"),
) -> Attribution:
    """The gradient times the input, and times each constant that the model adds.

    The parts add up to the score itself where the model scales with them together: layers that are linear but for
    their biases, batch normalization by fixed statistics, ReLU and the largest of a window. `gap` tells elsewhere.

    Args:
      f: Function `f(variables, x, *args)` from inputs [B, ...] to outputs, as a module's `apply`.
      x: Inputs, an array [B, ...] or a pytree of arrays.
      variables: Variables of the model, nested dicts.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      constants: Names of the variables that are added to what depends on the input: biases and running means.

    Returns:
      Values {"input": ..., "constants": {path: [B, ...]}}.

    Raises:
      UserError: an input is not floating-point, or the result is not finite.

    Example:
      >>> f = lambda variables, x: jax.nn.relu(x @ jnp.ones((2, 1)) + variables["bias"][None])[:, 0]
      >>> found = fullgrad(f, jnp.array([[1.0, 2.0]]), {"bias": jnp.array([0.5])})
      >>> found.values["input"].tolist(), found.values["constants"]["bias"].tolist(), found.gap.tolist()
      ([[1.0, 2.0]], [[0.5]], [0.0])

    Source: Srinivas and Fleuret 2019, https://arxiv.org/abs/1905.00780
    """
    check_floating(x)
    leaves, tree = jax.tree_util.tree_flatten_with_path(variables)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    added = {name: leaf for name, leaf in named.items() if name.rpartition("/")[2] in constants}

    def run(x: Any, parts: Any, *more: Any) -> Any:
        return f(jax.tree.unflatten(tree, [*(named | parts).values()]), x, *more)

    score, args = scored(run, target, args)

    def of_one(x: Any, args: Any) -> tuple[Any, jax.Array]:
        x, args = jax.tree.map(lambda leaf: leaf[None], (x, args))
        out, grads = jax.value_and_grad(lambda x, parts: score(x, parts, *args)[0], (0, 1))(x, added)
        values, shares = jax.tree.map(jnp.multiply, (x, added), grads)
        return {"input": jax.tree.map(lambda leaf: leaf[0], values), "constants": shares}, out

    values, out = jax.vmap(of_one)(x, args)
    return checked(Attribution(values, summed(values) - out))


def _check_apart(pull: Callable[..., Any], out: jax.Array) -> None:
    """Refuses a function that mixes examples, as one by statistics of its batch does; not looked at under a trace.

    Raises:
      UserError: the score of the first example depends on others.
    """
    if isinstance(out, Tracer) or len(out) < 2:
        return
    others = [leaf[1:] for leaf in jax.tree.leaves(pull(jnp.zeros_like(out).at[0].set(1))[0])]
    if any(bool((jnp.abs(leaf) > 0).any()) for leaf in others):
        raise UserError(
            "the score of the first example depends on the others; give a function that treats each by itself, such as "
            "a model with train=False"
        )


def _keys(key: jax.Array, leaves: Sequence[Any]) -> jax.Array:
    """A key for each leaf."""
    return jax.random.split(key, len(leaves))
