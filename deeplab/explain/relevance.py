"""Layer-wise relevance propagation through any program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.interpret import Interpretation, interpret, traced
from deeplab.explain.attribution import Attribution, Target, check_examples, check_floating, checked, scored
from deeplab.explain.compiler.layers import Epsilon
from deeplab.explain.compiler.relevance import Relevance, Rules
from deeplab.explain.compiler.signals import Signal

_EPSILON = Epsilon()


def lrp(
    f: Callable[..., Any], x: Any, rule: Rules = _EPSILON, target: Target = None, args: Sequence[Any] = ()
) -> Attribution:
    """Relevance: the score, handed back layer by layer, each of which shares its outputs' among its inputs.

    A rule is for products with weights, dense or convolutional: `Epsilon`, `Gamma`, `AlphaBeta`, `ZPlus`, and for the
    first layer `ZBox`, `WSquare`, `Flat`. A function of a `Place` (primitive, scope, depth) chooses one for each. All
    else has one rule. A sum, such as a residual one or a mean, is shared by its summands, with the rule's epsilon. A
    function of one number hands on what it gets. A maximum gives all to the winner; indices and truth values are given.
    Of a product of two things that depend on the input, each gets half; of a quotient, the numerator gets all, so that
    a normalization only scales. A softmax is its derivative times the logits, and a bias.

    What is conserved: what an output has, its inputs and its constants (biases, tokens that are learned) have together,
    but for what epsilon absorbs, and for `AlphaBeta` where an output has contributions of one sign only. With
    `Epsilon(0.0)` that is exact; without constants, all is the inputs', and in a network of ReLU, input times gradient.
    `gap` is the sum of the values and of what constants absorb, minus the score.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs; its examples are explained one by one.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      rule: Rule of layers with weights, or a function from a place to a rule.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.

    Raises:
      UserError: an input is not floating-point, the rule is none, or the result is not finite.
      NotImplementedError: a loop of unknown length depends on the input.

    Example (the bias has a third of the sum):
      >>> found = lrp(lambda x: x @ jnp.array([1.0, 2.0]) + 3.0, jnp.array([[2.0, 2.0]]), Epsilon(0.0))
      >>> found.values.tolist(), found.gap.tolist()
      ([[2.0, 4.0]], [0.0])

    Example (z+ for convolutions, and epsilon for dense layers):
      >>> from deeplab.explain.compiler.layers import ZPlus
      >>> rule = lambda place: ZPlus() if place.primitive == "conv_general_dilated" else Epsilon(1e-6)

    Source: Bach et al. 2015, https://doi.org/10.1371/journal.pone.0130140.
    """

    def explain(score: Callable[..., jax.Array], x: Any, args: Sequence[Any]) -> tuple[Any, jax.Array]:
        (program, _), leaves = traced(score, x, *args), jax.tree.leaves(x)

        def part(ratios: list[jax.Array], constant: jax.Array) -> tuple[jax.Array, jax.Array]:
            values = [*map(Signal, leaves, ratios), *jax.tree.leaves(args)]
            (out,) = interpret(program, values, Interpretation(Relevance(rule, constant)))
            return (out.part[0], out.at[0]) if isinstance(out, Signal) else (out[0] * constant, out[0])

        ones = jax.tree.map(jnp.ones_like, leaves)
        whole, pull, at = jax.vjp(part, ones, jnp.ones((), leaves[0].dtype), has_aux=True)
        values, absorbed = pull(jnp.ones_like(whole))
        gap = sum((jnp.sum(value) for value in values), absorbed) - at
        return jax.tree.unflatten(jax.tree.structure(x), values), gap

    return checked(Attribution(*one_by_one(f, x, target, args, explain)))


def attn_lrp(f: Callable[..., Any], x: Any, target: Target = None, args: Sequence[Any] = ()) -> Attribution:
    """AttnLRP, relevance propagation for attention: epsilon for all layers, and the rules of `lrp` for all else.

    Softmax by its derivative times the logits, products of queries and keys or of weights and values by halves,
    normalizations as scales: they are in `lrp`, which conserves as it says there.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...], such as embeddings, to outputs.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.

    Raises:
      UserError: an input is not floating-point, or the result is not finite.
      NotImplementedError: a loop of unknown length depends on the input.

    Example (a product of two is shared by halves):
      >>> attn_lrp(lambda x: x[:, 0] * x[:, 1], jnp.array([[3.0, 5.0]])).values.tolist()
      [[7.5, 7.5]]

    Source: Achtibat et al. 2024, https://arxiv.org/abs/2402.05602.
    """
    return lrp(f, x, Epsilon(1e-6), target, args)


def one_by_one(
    f: Callable[..., Any],
    x: Any,
    target: Target,
    args: Sequence[Any],
    explain: Callable[[Callable[..., jax.Array], Any, Sequence[Any]], Any],
) -> Any:
    """What `explain(score, x, args)` gives for each example, which it gets as a batch of one.

    Raises:
      UserError: an input is not floating-point.
    """
    check_floating(x)
    score, args = scored(f, target, args)
    check_examples(x, *args)

    def of_one(x: Any, args: Any) -> Any:
        x, args = jax.tree.map(lambda leaf: leaf[None], (x, args))
        return jax.tree.map(lambda leaf: leaf[0] if jnp.ndim(leaf) else leaf, explain(score, x, args))

    return jax.vmap(of_one)(x, args)
