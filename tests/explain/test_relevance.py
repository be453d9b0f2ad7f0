"""Relevance propagation by interpretation: conserving, equal to input times gradient where that is its meaning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deeplab.core.errors import UserError
from deeplab.explain.compiler.layers import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, ZPlus
from deeplab.explain.relevance import attn_lrp, lrp
from tests.precision import float64

RNG = np.random.default_rng(1)
W = RNG.normal(size=(6, 6))
W8 = RNG.normal(size=8)
KERNEL = RNG.normal(size=(3, 1, 4))


def pooled(x):
    y = lax.conv_general_dilated(
        x[..., None], KERNEL.astype(x.dtype), (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )
    y = lax.reduce_window(jax.nn.relu(y), -jnp.inf, lax.max, (1, 2, 1), (1, 2, 1), "VALID")
    return y.reshape(len(x), -1) @ W[:, :2].reshape(12)


def attention(x):
    q, k, v = (x[..., None] * row[None, None] for row in W[:3])
    scores = jnp.where(np.tri(6, dtype=bool)[None], jnp.einsum("bid,bjd->bij", q, k), -jnp.inf)
    return jnp.einsum("bij,bjd->b", jax.nn.softmax(scores), v)


def normalized(x):
    y = (x - x.mean(axis=1, keepdims=True)) * lax.rsqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return jax.nn.gelu(x + y @ W + 1) @ W[0]


def deviated(x):
    y = (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-5)
    return y @ W[0]


def recurrent(x):
    def step(h, row):
        h = jax.nn.sigmoid(h @ W) * h + jnp.tanh(h @ W.T + row[:, None])
        return h, h.max(axis=1)

    h, highest = lax.scan(step, jnp.zeros((len(x), 6)), x.T)
    return h.sum(axis=1) + highest.sum(axis=0)


def routed(x):
    _, index = lax.top_k(x @ W[:, :3], 1)
    experts = jnp.asarray([W, W.T, W @ W])
    return jnp.einsum("bi,bij->b", x, experts[index[:, 0]])


def grouped(x):
    """Features of two experts."""
    sizes = jnp.array([2, 4]) * len(x)
    rows = lax.ragged_dot(x.T.reshape(-1, 1), jnp.asarray(W[:2, None], x.dtype), sizes)
    return jax.nn.relu(rows).reshape(6, len(x), 6).sum(axis=(0, 2))


PROGRAMS = {
    "dense": lambda x: jax.nn.relu(jax.nn.relu(x @ W) @ W) @ W[0],
    "pooled convolution": pooled,
    "tied weights": lambda x: jnp.tanh(jnp.tanh(x @ W) @ W) @ W[0],
    "attention": attention,
    "norm": normalized,
    "deviation": deviated,
    "recurrence": recurrent,
    "a route": routed,
    "groups": grouped,
    "log-probability": lambda x: jax.nn.log_softmax(jax.nn.silu(x @ W) + 1)[:, 2],
    "log-sum": lambda x: jax.nn.logsumexp(x @ W + 1, axis=1),
    "a counted loop": lambda x: (
        lax.while_loop(lambda c: c[0] < 4, lambda c: (c[0] + 1, jnp.tanh(c[1] @ W)), (1, x))[1] @ W[0]
    ),
    "choices": lambda x: jnp.median(x, axis=1) * x.max(axis=1) + jnp.where(x > 0, x, jnp.exp(x) - 1) @ W[0],
    "branches": lambda x: jax.vmap(lambda r: lax.cond(r[0] > 0, jnp.sum, lambda r: jnp.sum(jnp.tanh(r)), r))(x),
    "spectrum": lambda x: jnp.abs(jnp.fft.rfft(x, axis=1)).sum(axis=1),
    "joined": lambda x: jnp.concatenate([jnp.ones((len(x), 1)), jnp.pad(x[:, ::-1], ((0, 0), (0, 1)))], axis=1) @ W8,
    "stacked": lambda x: jnp.einsum("bij,ij->b", jnp.stack([x, *jnp.unstack(jnp.sin(x)[None])], axis=1), W[:2]),
    "no input": lambda x: jnp.zeros(len(x)) + W[0, 0],
}
CONSTANT_FREE = (
    "dense",
    "pooled convolution",
    "tied weights",
    "recurrence",
    "a route",
    "groups",
    "spectrum",
    "deviation",
)
RECTIFIED = ("dense", "pooled convolution")
RULES = [Epsilon(0.0), Gamma(0.25, 0.0), AlphaBeta(2, 1, 0.0), ZPlus(0.0), Flat(0.0), WSquare(0.0), ZBox(0.0, -4, 4)]


@pytest.fixture(autouse=True)
def double():
    with float64():
        yield


def inputs(rows=5):
    return jnp.asarray(np.random.default_rng(0).normal(size=(rows, 6)))


@pytest.mark.parametrize(
    "name", [name if i % 2 == 0 else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(PROGRAMS)]
)
def test_relevance_is_conserved(name):
    f, x = PROGRAMS[name], inputs()
    found, score = jax.jit(lambda x: lrp(f, x, Epsilon(0.0)))(x), f(x)
    assert np.abs(found.gap).max() <= 1e-10 * np.abs(found.values).sum(axis=1).max()
    if name in CONSTANT_FREE:
        np.testing.assert_allclose(found.values.sum(axis=1), score, rtol=1e-9)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_conserves(rule):
    """With outputs that have contributions of both signs, without which alpha-beta's shares do not add up to one."""
    weights = np.concatenate([np.abs(W), -np.abs(W)])
    f = lambda x: jax.nn.relu(jnp.concatenate([x, x**2], axis=1) @ weights + 9.0).sum(axis=1)  # noqa: E731
    found = jax.jit(lambda x: lrp(f, x, rule))(inputs())
    assert np.abs(found.gap).max() <= 1e-10


@pytest.mark.parametrize("name", RECTIFIED)
def test_lrp_0_is_input_times_gradient(name):
    f, x = PROGRAMS[name], inputs()
    expected = x * jax.grad(lambda x: f(x).sum())(x)
    found = jax.jit(lambda x: lrp(f, x, Epsilon(0.0)).values)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["attention", "recurrence"])
def test_an_example_is_explained_by_itself(name):
    f, x = PROGRAMS[name], inputs()
    alone, whole = (jax.jit(lambda x, f=f: lrp(f, x).values) for f in (jax.jit(f), f))
    np.testing.assert_allclose(whole(x)[1:2], alone(x[1:2]), rtol=1e-9)


def z(x, w):
    return x[:, :, None] * w[None]


def by_hand(x, w, b, rule):
    """Shares [B, i, j] of the outputs of one layer."""
    parts, whole = z(x, w), x @ w + b
    up, down = np.maximum(parts, 0), np.minimum(parts, 0)
    above, below = up.sum(1) + np.maximum(b, 0), down.sum(1) + np.minimum(b, 0)
    if isinstance(rule, Gamma):
        part = np.where(whole[:, None] > 0, up, down)
        return (parts + 0.5 * part) / (whole + 0.5 * np.where(whole > 0, above, below))[:, None]
    if isinstance(rule, AlphaBeta):
        above, below = np.where(above == 0, 1, above), np.where(below == 0, 1, below)
        return 2 * up / above[:, None] - down / below[:, None]
    return parts / (whole + 0.1 * np.sign(whole))[:, None]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    "rule", [Epsilon(0.1), Gamma(0.5, 0.0), AlphaBeta(epsilon=0.0)], ids=lambda r: type(r).__name__
)
def test_a_layer_by_hand(rule, norm):
    """The bias is a part of the sum, and a scale after the layer, of either sign, one of its weights."""
    x, scale, b = np.asarray(inputs()), np.where(np.arange(6) % 2, -1.5, 0.5), W[1] * 3

    def f(x):
        y = (x @ W - 0.3) / scale[None] + b[None] if norm else x @ W + b[None]
        return jnp.tanh(y) @ W[0]

    w, bias = (W / scale, b - 0.3 / scale) if norm else (W, b)
    out = np.tanh(x @ w + bias)
    last = by_hand(out, W[0][:, None], 0, rule)[..., 0] * (out @ W[0])[:, None]
    expected = (by_hand(x, w, bias, rule) * last[:, None]).sum(axis=2)
    found = jax.jit(lambda x: lrp(f, x, rule).values)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_composite_chooses_by_place():
    seen = []

    def rule(place):
        seen.append(place)
        return Flat() if place.depth == 0 else Epsilon(0.0)

    def f(x):
        with jax.named_scope("first"):
            y = jax.nn.relu(x @ W)
        return y @ W[0]

    found = lrp(f, inputs(), rule)
    assert [(p.primitive, p.scope, p.depth) for p in seen if p.primitive == "dot_general"] == [
        ("dot_general", "first", 0),
        ("dot_general", "", 1),
    ]
    np.testing.assert_allclose(found.values, np.repeat(f(inputs())[:, None] / 6, 6, axis=1), rtol=1e-5)


def test_attention_by_hand():
    """A softmax hands on its derivative times its logits; of each product, the factors have half."""
    x = inputs()
    weights = jax.nn.softmax(x)
    given = weights * x * x / 2
    expected = given + x * (given - weights * given.sum(axis=1, keepdims=True))
    found = attn_lrp(lambda x, v: jnp.sum(jax.nn.softmax(x) * (x * v), axis=1), x, args=(x,))
    np.testing.assert_allclose(found.values, expected, rtol=1e-4)


def test_a_norm_only_scales():
    x = inputs()
    f = lambda x: (x * lax.rsqrt((x**2).mean(axis=1, keepdims=True)) * 3) @ W[0]  # noqa: E731
    expected = 3 * x * W[:1] / jnp.sqrt((x**2).mean(axis=1, keepdims=True))
    found = jax.jit(lambda x: lrp(f, x, Epsilon(0.0)).values)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_it_is_differentiable():
    x, step = inputs(), np.zeros((5, 6))
    step[0, 1] = 1e-6
    first = jax.jit(lambda x: lrp(normalized, x, Gamma()).values[0, 0])
    np.testing.assert_allclose(jax.jit(jax.grad(first))(x)[0, 1], (first(x + step) - first(x - step)) / 2e-6, rtol=1e-5)


def test_an_unknown_primitive_is_named():
    with pytest.warns(UserWarning, match="`cumlogsumexp` in the program has no rule; its gradient is used"):
        found = lrp(lambda x: lax.cumlogsumexp(x, axis=1)[:, 3], inputs(), Epsilon(0.0))
    assert np.abs(found.gap).max() < 1e-12


def test_bad_input():
    with pytest.raises(UserError, match="has no direction"):
        lrp(PROGRAMS["dense"], jnp.ones((1, 6), int))
    for rule in ("epsilon", Epsilon, lambda place: Epsilon):
        with pytest.raises(UserError, match=r"the rule of `dot_general` is .*, expected one such as Epsilon"):
            lrp(PROGRAMS["dense"], inputs(), rule)
    with pytest.raises(UserError, match=r"epsilon is -0\.1, expected 0 or more"):
        ZPlus(-0.1)
    with pytest.raises(NotImplementedError, match="the length of a `while` loop in the program depends"):
        lrp(lambda x: lax.while_loop(lambda c: jnp.all(c < 9), lambda c: 2 * c, jnp.abs(x))[:, 0], inputs())
