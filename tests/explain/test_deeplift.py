"""DeepLIFT by interpretation: complete for any program, equal to the definition where it can be written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deeplab.core.errors import UserError
from deeplab.explain import (
    expected_gradients,
    gradient,
    integrated_gradients,
    integrated_hessians,
    kernel_shap,
    occlusion,
    permutation_shapley,
    rise,
    shapley,
    smoothgrad,
)
from deeplab.explain.propagation import deeplift
from tests.precision import float64

KEY = jax.random.key(0)
W = np.random.default_rng(1).normal(size=(6, 6))
KERNEL = np.random.default_rng(2).normal(size=(3, 1, 4))


def routed(x):
    """A mixture of two experts, of which the better scored one answers."""
    _, index = lax.top_k(x @ W[:, :3], 1)
    experts = jnp.asarray([W, W.T, W @ W])
    return jnp.einsum("bi,bij->bj", x, experts[index[:, 0]]).sum(axis=1)


def ragged(x):
    """Rows sorted by the expert that each goes to, without dropped ones."""
    chosen = jnp.argmax(x @ W[:, :3], axis=1)
    order = jnp.argsort(chosen)
    y = lax.ragged_dot(x[order], jnp.asarray([W, W.T, W @ W]), jnp.bincount(chosen, length=3).astype(jnp.int32))
    return jnp.sin(y[jnp.argsort(order)]).sum(axis=1)


def recurrent(x):
    def step(h, row):
        h = jnp.tanh(h @ W + row[:, None])
        return h, h.max(axis=1)

    h, highest = lax.scan(step, jnp.zeros((len(x), 6)), x.T)
    return h.sum(axis=1) + highest.sum(axis=0)


def pooled(x):
    y = lax.conv_general_dilated(
        x[..., None], KERNEL.astype(x.dtype), (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )
    y = lax.reduce_window(jax.nn.relu(y), -jnp.inf, lax.max, (1, 2, 1), (1, 2, 1), "VALID")
    return jnp.sum(jnp.sin(y), axis=(1, 2))


def attention(x):
    q, k, v = (x[..., None] * row[None, None] for row in W[:3])
    weights = jax.nn.softmax(jnp.einsum("bid,bjd->bij", q, k))
    return jnp.einsum("bij,bjd->b", weights, v)


def normalized(x):
    y = (x - x.mean(axis=1, keepdims=True)) * lax.rsqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return jnp.sum(jax.nn.gelu(y @ W), axis=1)


def masked(x):
    """Attention to some, which the input chooses, and to some that never are."""
    scores = jnp.where((x > 0.2) | (jnp.arange(6)[None] == 0), x @ W, -jnp.inf)
    return jax.nn.softmax(jnp.where(jnp.arange(6)[None] < 5, scores, -jnp.inf)) @ W[0]


def masked_by_the_least(x):
    """The same by the least number: what is divided by it is 0."""
    return jax.nn.softmax(jnp.where(x > 0.2, x @ W, jnp.finfo(x.dtype).min).at[:, 0].set(1)) @ W[0]


def counted(x):
    """As often as a counter says, which goes down by two, to a limit in the carry."""
    step = lambda c: (c[0] - 2, jnp.tanh(c[1] @ W) + c[1] * c[0], c[2])  # noqa: E731
    return lax.while_loop(lambda c: c[0] > c[2], step, (9, x, 1))[1].sum(axis=1)


def segments(x):
    rows = lambda r: jax.ops.segment_sum(jnp.sin(r), jnp.array([0, 0, 1, 2, 1, 0]), 3) ** 2  # noqa: E731
    by_order = lambda r: jax.ops.segment_sum(r, jnp.argsort(r) // 2, 3)  # noqa: E731
    return jax.vmap(lambda r: jnp.sum(rows(r) * by_order(r)))(x)


PROGRAMS = {
    "relu": lambda x: jax.nn.relu(jax.nn.relu(x @ W) @ W).sum(axis=1),
    "silu and gelu": lambda x: jnp.sum(jax.nn.silu(x) + jax.nn.gelu(x @ W, approximate=False), axis=1),
    "products": lambda x: x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3] / (2 + x[:, 4] ** 2) + jnp.maximum(x[:, 5], x[:, 0]),
    "pooled convolution": pooled,
    "attention": attention,
    "norm": normalized,
    "recurrence": recurrent,
    "a route to an expert": routed,
    "ragged experts": ragged,
    "sorted": lambda x: jnp.sort(x, axis=1) @ W[0],
    "ranks": lambda x: jnp.argsort(x @ W, axis=1) @ W[0],
    "median and highest": lambda x: jnp.median(x, axis=1) + x.max(axis=1) * x.min(axis=1) + lax.cummax(x, axis=1)[:, 3],
    "looked up": lambda x: jnp.sin(jnp.asarray(W))[jnp.argmax(x, axis=1), jnp.argmin(x, axis=1)],
    "counted": lambda x: jnp.sum(jax.nn.one_hot(jnp.argmax(x @ W, axis=1), 6) * x, axis=1),
    "put": lambda x: jnp.zeros((len(x), 6)).at[jnp.arange(len(x)), jnp.argmax(x, axis=1)].set(x[:, 0]) @ W[1],
    "either": lambda x: jnp.where((x[:, 0] > 0) & (x > -1).any(axis=1), jnp.sin(x[:, 1]), x[:, 2]),
    "branches": lambda x: jax.vmap(lambda r: lax.cond(r[0] > 0, jnp.sum, lambda r: jnp.sum(jnp.sin(r)), r))(x),
    "rounded": lambda x: jnp.floor(3 * x[:, 0]) + jnp.sign(x[:, 1]) + jnp.abs(x[:, 2]) + jnp.clip(x[:, 3], -0.5, 0.5),
    "masked by infinity": masked,
    "masked by the least number": masked_by_the_least,
    "a counted loop": counted,
    "segments": segments,
    "stacked": lambda x: jnp.einsum("bij,ij->b", jnp.stack([x, jnp.sin(x), *jnp.unstack(x[None])], axis=1), W[:3]),
    "running sums of an order": lambda x: jnp.sum(
        jnp.take_along_axis(jnp.cumsum(x, axis=1), jnp.argsort(x @ W, axis=1)[:, :3], axis=1) * W[:1, :3], axis=1
    ),
    "bisected": lambda x: jax.vmap(lambda r: jnp.searchsorted(jnp.sort(r[1:]), r[0]) * r[2])(x),
    "used twice": lambda x: jnp.sum(jnp.tanh(jnp.tanh(x @ W) @ W), axis=1),
    "spectrum": lambda x: (
        (jnp.abs(jnp.fft.rfft(x)) ** 2 * W[0, :4][None]).sum(axis=1) + jnp.exp(1j * x).sum(axis=1).real
    ),
    "no input": lambda x: jnp.zeros(len(x)) + W[0, 0],
}


def inputs(dtype=jnp.float32):
    draw = np.random.default_rng(0).normal(size=(2, 5, 6))
    return jnp.asarray(draw[0], dtype), jnp.asarray(draw[1], dtype)


@pytest.fixture(autouse=True)
def double():
    with float64():
        yield


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_values_add_up_to_the_difference(name):
    f, (x, base) = PROGRAMS[name], inputs(jnp.float64)
    found = jax.jit(lambda x, base: deeplift(f, x, base))(x, base)
    difference = np.asarray(f(x) - f(base))
    np.testing.assert_allclose(found.values.sum(axis=1), difference, rtol=1e-10, atol=1e-12)
    assert np.all(np.abs(found.gap) <= 1e-10 * np.maximum(np.abs(difference), 1e-2))
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize("name", ["relu", "attention", "a route to an expert", "sorted"])
def test_an_example_is_explained_by_itself(name):
    f, (x, base) = PROGRAMS[name], inputs()
    explained = jax.jit(lambda x, base: deeplift(f, x, base).values)
    np.testing.assert_allclose(explained(x, base)[1:2], explained(x[1:2], base[1:2]), rtol=1e-5, atol=1e-6)


def test_a_linear_layer_before_an_activation_by_hand():
    """Rescale: the weights, times the secant of the activation."""
    x, base = inputs()
    z, z0 = x @ W[:, 0], base @ W[:, 0]
    expected = (x - base) * W[None, :, 0] * ((jax.nn.relu(z) - jax.nn.relu(z0)) / (z - z0))[:, None]
    np.testing.assert_allclose(deeplift(lambda x: jax.nn.relu(x @ W[:, 0]), x, base).values, expected, rtol=1e-4)


def test_a_product_is_shared_as_by_two_players():
    x, base = jnp.array([[3.0, 5.0]]), jnp.array([[1.0, 2.0]])
    assert deeplift(lambda x: x[:, 0] * x[:, 1], x, base).values.tolist() == [[7.0, 6.0]]


def test_a_complex_number_is_shared_by_its_parts():
    found = deeplift(lambda x: jnp.abs(x[:, 0] + 1j * x[:, 1]) ** 2, jnp.array([[3.0, 4.0]]), 0.0)
    np.testing.assert_allclose(found.values, [[9.0, 16.0]], rtol=1e-12)


def test_a_choice_belongs_to_the_scores_that_made_it():
    """Of two things by a score: the score's part is what they differ by."""
    f = lambda x: jnp.where(x[:, 0] > 0, 10.0, 2.0) + 0 * x[:, 1]  # noqa: E731
    found = deeplift(f, jnp.array([[1.0, 3.0]]), jnp.array([[-1.0, 1.0]]))
    assert found.values.tolist() == [[8.0, 0.0]]


def test_what_is_equal_or_unused_gets_nothing():
    x, base = inputs()
    base = base.at[:, 2].set(x[:, 2])
    values = jax.jit(lambda x, base: deeplift(lambda x: attention(x[:, :5]), x, base).values)(x, base)
    assert not np.any(values[:, 2])
    assert not np.any(values[:, 5])


def test_its_gradient_is_the_programs():
    """Explanations can be trained and attacked: they are differentiable."""
    x, base = inputs(jnp.float64)

    @jax.jit
    def first(x):
        return deeplift(normalized, x, base).values[0, 0]

    step = 1e-6 * jnp.zeros_like(x).at[0, 1].set(1)
    expected = (first(x + step) - first(x - step)) / 2e-6
    np.testing.assert_allclose(jax.grad(first)(x)[0, 1], expected, rtol=1e-5)


UNKNOWN = {
    "cumlogsumexp": lambda x: lax.cumlogsumexp(x, axis=1)[:, 3],
    "approx_top_k": lambda x: jnp.sum(jnp.asarray(W[0])[lax.approx_max_k(x, 3)[1]], axis=1),  # whole numbers
    "scatter-mul": lambda x: jnp.ones((len(x), 3)).at[:, jnp.array([0, 0, 1, 2, 1, 0])].multiply(x).sum(axis=1),
}  # the last has no derivative in JAX


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_primitive_is_named(name):
    f, (x, base) = UNKNOWN[name], inputs(jnp.float64)
    with pytest.warns(UserWarning, match=f"`{name}` in the program has no rule"):
        found = jax.jit(lambda x, base: deeplift(f, x, base))(x, base)
    np.testing.assert_allclose(found.values.sum(axis=1), f(x) - f(base), rtol=1e-12, atol=1e-12)


def test_a_target_that_is_traced_and_out_of_range_is_told():
    x, _ = inputs(jnp.float64)
    found = jax.jit(lambda x, target: deeplift(jnp.sin, x, 0.0, target))(x, jnp.array([0, 7, 1, 2, 3]))
    assert np.isnan(found.gap).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: deeplift(lambda x: x, x, 0.0), "expected one number for each of the 1 examples"),
        (
            lambda x: deeplift(lambda x: x, x, 0.0, target=6),
            "target=6 is out of range: the model has 6 outputs, 0 to 5",
        ),
        (lambda x: deeplift(lambda x: jnp.argmax(x, axis=1), x, 0.0), "the score is of int64, expected real numbers"),
        (lambda x: deeplift(lambda x: x, x, 0.0, target=1.5), "target=1.5 is no output: give the number of one"),
        (
            lambda x: deeplift(lambda x, a: x, x, 0.0, 1, args=(x[:2],)),
            r"shapes \(5, 6\), \(2, 6\); expected a leading",
        ),
        (lambda x: gradient(lambda x: jnp.log(-jnp.abs(x)), x, 1), "the explanation of example 0 is not finite"),
        (lambda x: expected_gradients(lambda x: x, x, x[0], 1, key=jax.random.key(0)), "references have the shapes"),
        (
            lambda x: smoothgrad(lambda x: x, x, 1, key=jax.random.key(0), draws=1),
            "draws=1 was given, expected a whole number, 2 or more",
        ),
        (
            lambda x: smoothgrad(lambda x: x, x, 1, key=KEY, draws=4.5),
            "draws=4.5 was given, expected a whole number",
        ),
        (
            lambda x: integrated_gradients(lambda x: x, x, 0.0, 1, nodes=8.0),
            "nodes=8.0 was given, expected a whole number",
        ),
        (lambda x: integrated_hessians(lambda x: x, x, 0.0, 1, nodes=0), "nodes=0 was given, expected a whole number"),
        (
            lambda x: integrated_gradients(lambda x: x, x, 0.0, 1, chunk="2"),
            "chunk='2' was given, expected a whole number",
        ),
        (lambda x: permutation_shapley(lambda x: x, x, 0.0, 1, key=KEY, chunk=0.5), "chunk=0.5 was given, expected"),
        (
            lambda x: kernel_shap(lambda x: x, x, 0.0, 1, key=KEY, draws="64"),
            "draws='64' was given, expected a whole number",
        ),
        (lambda x: gradient(lambda x, a: x * a, x, 1, (x[:1],)), r"shapes \(5, 6\), \(1, 6\); expected a leading"),
        (
            lambda x: integrated_gradients(lambda x, a: x * a.sum(), x, 0.0, 1, (x[:2],)),
            r"shapes \(5, 6\), \(2, 6\); expected a leading",
        ),
        (lambda x: gradient(lambda x: x, x[:0], 1), r"nothing to explain: x has the shape \(0, 6\)"),
        (lambda x: deeplift(lambda x: x, x[:0], 0.0, 1), r"nothing to explain: x has the shape \(0, 6\)"),
        (lambda x: shapley(lambda x: x, x[:0], 0.0, 1), r"nothing to explain: x has the shape \(0, 6\)"),
        (lambda x: occlusion(lambda x: x, x, 0.0, 1, window=2), r"window=2 has no sizes; give one for each axis"),
        (lambda x: rise(lambda x: x, x, 0.0, 1, key=KEY), r"cells=\(7, 7\) do not fit examples of \(6,\)"),
        (lambda x: gradient(lambda x: x - x.mean(axis=0)[None], x, 1), "of the first example depends on the others"),
        (lambda x: shapley(lambda x: x, x, 0.0, 1, groups=jnp.array([9, 0, 1, 1, 1, 1])), "number the groups from 0"),
        (lambda x: deeplift(PROGRAMS["relu"], x, jnp.zeros((4, 6))), r"the baseline has the shape \(4, 6\)"),
        (
            lambda x: deeplift(PROGRAMS["relu"], x.astype(int), 0),
            "has no direction; explain the output of its embedding",
        ),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(UserError, match=said):
        call(inputs()[0])


def test_a_baseline_of_all_examples_is_evaluated_once():
    """XLA evaluates what is constant while it compiles; copies for hundreds of images took minutes."""
    weights, x = jax.random.normal(jax.random.key(1), (16, 16)), jax.random.normal(jax.random.key(0), (64, 16))
    explain = jax.jit(lambda x, base: deeplift(lambda x: jnp.tanh(jnp.tanh(x @ weights) @ weights), x, base, 1))
    one, each = x.mean(axis=0), jnp.tile(x.mean(axis=0), (64, 1))
    np.testing.assert_allclose(explain(x, one).values, explain(x, each).values, atol=1e-5)
    flops = [explain.lower(x, base).compile().cost_analysis()["flops"] for base in (one, one[None], each)]
    assert max(flops[:2]) < 0.85 * flops[2]
