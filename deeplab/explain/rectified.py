"""Backward passes through rectifiers that are not their derivative, and programs without kinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.abstract.intervals import bounds as bounds  # under this name in `deeplab.explain`, too
from deeplab.core.interpret import traced
from deeplab.explain.attribution import Attribution, Target, checked
from deeplab.explain.compiler.rectifiers import Live, backwards, run, smooth
from deeplab.explain.relevance import one_by_one


def guided_backpropagation(
    f: Callable[..., Any], x: Any, target: Target = None, args: Sequence[Any] = ()
) -> Attribution:
    """The gradient, of which every ReLU hands back only what is positive, and only where it is active.

    It is sharp, and says little of the model: **it fails the test of randomized weights**, since it partly restores the
    input. With all weights of a network of two convolutions lost, the rank correlation with its map of before is 0.52,
    and 0.85 with the weights of the last layer lost; that of `deeplift` is -0.01 and 0.04. `Report.assert_sane` refuses
    it. Take it as a picture, not as an explanation.

    A ReLU is max(x, 0), wherever it is in the program: in a function, a module, a loop.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs; its examples are explained one by one.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.

    Raises:
      UserError: an input is not floating-point, or the result is not finite.
      NotImplementedError: a loop of unknown length depends on the input.

    Example:
      >>> f = lambda x: jax.nn.relu(x) @ jnp.array([1.0, -1.0, 1.0])
      >>> guided_backpropagation(f, jnp.array([[2.0, 2.0, -2.0]])).values.tolist()
      [[1.0, 0.0, 0.0]]

    Source: Springenberg et al. 2015, https://arxiv.org/abs/1412.6806; the test: Adebayo et al. 2018,
    https://arxiv.org/abs/1810.03292.
    """
    return _pulled(f, x, target, args, lambda x, g: jnp.where((x > 0) & (g > 0), g, 0))


def deconvolution(f: Callable[..., Any], x: Any, target: Target = None, args: Sequence[Any] = ()) -> Attribution:
    """The gradient, of which every ReLU hands back only what is positive, whether it is active or not.

    Like `guided_backpropagation`, it says little of the model: the rank correlation with all weights lost is 0.47.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs; its examples are explained one by one.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.

    Raises:
      UserError: an input is not floating-point, or the result is not finite.
      NotImplementedError: a loop of unknown length depends on the input.

    Example:
      >>> f = lambda x: jax.nn.relu(x) @ jnp.array([1.0, -1.0, 1.0])
      >>> deconvolution(f, jnp.array([[2.0, 2.0, -2.0]])).values.tolist()
      [[1.0, 0.0, 1.0]]

    Source: Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901.
    """
    return _pulled(f, x, target, args, lambda x, g: jnp.where(g > 0, g, 0))


def _pulled(
    f: Callable[..., Any], x: Any, target: Target, args: Sequence[Any], pull: Callable[..., jax.Array]
) -> Attribution:
    def explain(score: Callable[..., jax.Array], x: Any, args: Sequence[Any]) -> Any:
        program, _ = traced(score, x, *args)

        def of(x: Any) -> jax.Array:
            return run(program, [*map(Live, jax.tree.leaves(x)), *jax.tree.leaves(args)], backwards(pull))[0][0]

        return jax.grad(of)(x)

    return checked(Attribution(one_by_one(f, x, target, args, explain)))


def softened(f: Callable[..., Any], beta: Any) -> Callable[..., Any]:
    """The function with a smooth maximum of two numbers for the maximum, so that its gradient has a gradient.

    max(a, b) becomes log(exp(beta a) + exp(beta b)) / beta, in a ReLU softplus(beta x) / beta, and `min` and `clip`
    likewise; values change by at most log(2) / beta at each. A maximum over an axis or a window stays what it is. So
    attacks on explanations can follow the gradient of a gradient, which in a network of ReLU is 0 almost everywhere.

    Args:
      f: Function of arrays; what it is called with counts as its input.
      beta: Sharpness; the limit is the function itself.

    Example:
      >>> soft = softened(jax.nn.relu, beta=10.0)
      >>> round(float(soft(0.0)), 4), round(float(jax.grad(jax.grad(soft))(0.0)), 4)
      (0.0693, 2.5)

    Source: Dombrowski et al. 2019, https://arxiv.org/abs/1906.07983.
    """

    def soft(*inputs: Any) -> Any:
        program, shape = traced(f, *inputs)
        leaves = [Live(jnp.asarray(leaf)) for leaf in jax.tree.leaves(inputs)]
        return jax.tree.unflatten(jax.tree.structure(shape), run(program, leaves, smooth(beta)))

    return soft
