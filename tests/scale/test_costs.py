"""FLOPs: by hand, and beside those that XLA counts in programs without loops."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from deeplab.models import GPT, ResNet
from deeplab.models.text.decoders import gpt, llama
from deeplab.models.text.decoders.llama import Llama
from deeplab.models.vision.convolutional import resnet
from deeplab.scale.plan import costs


def operations(function, *arguments):
    return costs.operations(jax.make_jaxpr(function)(*arguments))


def count(function, *arguments, products=False):
    return costs.flops(operations(function, *arguments), products)


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def convolution(x, w, stride=1, padding="SAME", groups=1, dilation=1):
    return lax.conv_general_dilated(
        x, w, (stride,) * 2, padding, rhs_dilation=(dilation,) * 2, feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def test_products_by_hand():
    assert count(jnp.dot, array(2, 3), array(3, 5)) == 2 * 2 * 3 * 5
    assert count(functools.partial(jnp.einsum, "bij,bjk->bik"), array(7, 2, 3), array(7, 3, 5)) == 7 * 2 * 2 * 3 * 5
    assert count(functools.partial(jnp.einsum, "ijk,jki->"), array(2, 3, 4), array(3, 4, 2)) == 2 * 2 * 3 * 4


def test_convolutions_by_hand():
    # Without padding, each of 6 x 6 positions meets 3 x 3 inputs; with it, the borders meet fewer: 3 x 8 - 2 a side.
    assert count(functools.partial(convolution, padding="VALID"), array(2, 8, 8, 4), array(3, 3, 4, 5)) == (
        2 * 2 * 5 * 4 * 6 * 6 * 3 * 3
    )
    assert count(convolution, array(2, 8, 8, 4), array(3, 3, 4, 5)) == 2 * 2 * 5 * 4 * 22**2
    assert (
        count(functools.partial(convolution, groups=2), array(2, 8, 8, 4), array(3, 3, 2, 6)) == 2 * 2 * 6 * 2 * 22**2
    )


@pytest.mark.parametrize("arguments", [{}, {"stride": 2}, {"padding": "VALID", "stride": 3}, {"dilation": 2}])
def test_gradients_of_a_convolution_cost_what_it_costs(arguments):
    """Each of the two gradients; a strided one is dilated with zeros that nobody multiplies."""
    f = functools.partial(convolution, **arguments)
    x, w = array(2, 9, 9, 4), array(3, 3, 4, 5)

    def both(x, w):
        y, pullback = jax.vjp(f, x, w)
        return pullback(y)

    assert count(both, x, w, products=True) == 3 * count(f, x, w)


def test_loops_count_by_their_length():
    one = 2 * 4 * 4 * 4

    def scan(x, ws):
        return lax.scan(lambda x, w: (x @ w, None), x, ws)[0]

    def nested(x, ws):
        return lax.scan(lambda x, _: (scan(x, ws), None), x, length=3)[0]

    def until(x):
        return lax.while_loop(lambda c: c[0] < 7, lambda c: (c[0] + 1, c[1] @ c[1]), (2, x))[1]

    ws = array(5, 4, 4)
    assert count(scan, array(4, 4), ws, products=True) == 5 * one
    assert count(nested, array(4, 4), ws, products=True) == 15 * one
    assert count(jax.grad(lambda x, ws: scan(x, ws).sum()), array(4, 4), ws, products=True) == 10 * one
    assert count(until, array(4, 4), products=True) == 5 * one
    assert count(lambda x: lax.fori_loop(0, 6, lambda i, x: x @ x, x), array(4, 4), products=True) == 6 * one


def test_a_cond_is_charged_its_most_expensive_branch_and_rematerialization_counts_twice():
    def f(p, x):
        return lax.cond(p, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert count(f, jax.ShapeDtypeStruct((), bool), array(4, 4), products=True) == 2 * 2 * 4**3

    def g(x):
        return (jnp.tanh(x @ x) @ x).sum()

    plain, again = (count(jax.grad(h), array(4, 4), products=True) for h in (g, jax.checkpoint(g)))
    assert again == plain + 2 * 4**3  # the last product is not needed


def test_model_flops_are_a_part_of_the_flops():
    """Layers of 5 x 7 and 7 x 3 on 4 examples: no gradient of the input, so 2 + 3 products, rematerialized or not."""
    first, second = 2 * 4 * 5 * 7, 2 * 4 * 7 * 3

    def loss(params, x):
        return (jnp.tanh(x @ params[0]) @ params[1]).sum()

    def step(loss, params, x):
        grads = jax.grad(loss)(params, x @ jnp.ones((5, 5)))  # augmentation: a product that is not the model's
        return [g @ jnp.ones((g.shape[1],) * 2) for g in grads]  # an optimizer that multiplies

    for chosen in (loss, jax.checkpoint(loss)):
        found = operations(functools.partial(step, chosen), [array(5, 7), array(7, 3)], array(4, 5))
        assert costs.model_flops(found) == 2 * first + 3 * second
        recomputed = 0 if chosen is loss else first  # the last product is not needed
        assert costs.recomputed_flops(found) == recomputed
        others = 2 * 4 * 5 * 5 + 2 * 5 * 7 * 7 + 2 * 7 * 3 * 3
        assert costs.flops(found, products_only=True) == costs.model_flops(found) + recomputed + others


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (GPT(vocab_size=11, **gpt.VARIANTS["test"]), jax.ShapeDtypeStruct((2, 16), jnp.int32)),
        (ResNet(num_classes=3, **resnet.VARIANTS["test"]), array(2, 16, 16, 3)),
    ],
    ids=["gpt", "resnet"],
)
def test_xla_counts_alike_without_loops(model, inputs):
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)

    def loss(params, x):
        return jnp.sum(model.apply({**variables_of(variables), "params": params}, x) ** 2)

    def variables_of(tree):
        return {name: jax.tree.map(lambda s: jnp.ones(s.shape), v) for name, v in tree.items() if name != "params"}

    gradient = jax.grad(loss)
    xla = jax.jit(gradient).lower(variables["params"], inputs).cost_analysis()["flops"]
    assert count(gradient, variables["params"], inputs) == pytest.approx(xla, rel=0.05)


@pytest.mark.parametrize(("variant", "vocab_size"), [("7b", 32_000), ("llama3_8b", 128_256)])
def test_a_step_of_llama_is_6nd_and_attention(variant, vocab_size):
    """Within 5 %: N weights that multiply, D tokens; attention 12 L T (H d) a token."""
    sizes = llama.VARIANTS[variant]
    model, tokens = Llama(vocab_size, **sizes), jax.ShapeDtypeStruct((2, sizes["context"]), jnp.int32)
    variables = jax.eval_shape(model.init, jax.random.key(0), tokens)

    def loss(variables, tokens):
        return -jax.nn.log_softmax(model.apply(variables, tokens))[..., 0].mean()

    paths = jax.tree_util.tree_leaves_with_path(variables)
    n = sum(x.size for path, x in paths if "kernel" in jax.tree_util.keystr(path))
    expected = (6 * n + 12 * sizes["num_layers"] * sizes["context"] * sizes["width"]) * tokens.size
    assert count(jax.value_and_grad(loss), variables, tokens, products=True) == expected
    assert count(jax.value_and_grad(loss), variables, tokens) == pytest.approx(expected, rel=0.05)
