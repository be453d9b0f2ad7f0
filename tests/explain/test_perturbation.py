"""Perturbation and Shapley values: equal to their definition, written as loops; drawn ones within their error of it."""

import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from deeplab import explain
from deeplab.core.errors import UserError

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X, BASE = (jnp.asarray(RNG.normal(size=(2, 5)), jnp.float32) for _ in range(2))
W = jnp.asarray(RNG.normal(size=(5, 5)), jnp.float32)
F = lambda x: jnp.sin(x @ W).prod(axis=1) + jnp.tanh(x @ W[0])  # noqa: E731
IMAGES = jnp.asarray(RNG.uniform(size=(2, 5, 6, 2)), jnp.float32)
KERNEL = jnp.asarray(RNG.normal(size=(5, 6, 2)), jnp.float32)
G = lambda x: jnp.tanh(x * KERNEL[None]).sum(axis=(1, 2, 3)) ** 2  # noqa: E731


def worth(x, table):
    """A score of M flags that looks its worth up in a table of 2^M."""
    M = x.shape[1]
    return jnp.take_along_axis(table, ((x > 0.5).astype(int) @ 2 ** jnp.arange(M))[:, None], axis=1)[:, 0]


FLAGS = jnp.ones((1, 4))
SHAPLEY, KERNEL_SHAP = (
    jax.jit(lambda table, method=method: method(worth, FLAGS, 0.0, args=(table[None],)).values[0])
    for method in (explain.shapley, explain.kernel_shap)
)


def by_orders(table, M, orders):
    """The mean of what each player adds over orders."""
    found, orders = np.zeros(M), list(orders)
    for order in orders:
        there = 0
        for player in order:
            found[player] += table[there | 1 << player] - table[there]
            there |= 1 << player
    return found / len(orders)


worths = st.lists(st.floats(-10, 10, width=32), min_size=16, max_size=16)
FOUR = hypothesis.settings(max_examples=15, deadline=None)


@FOUR
@hypothesis.given(worths, worths)
def test_shapley_values_of_any_game(table, other):
    table, other = np.asarray(table, np.float32), np.asarray(other, np.float32)
    values = SHAPLEY(table)
    np.testing.assert_allclose(values, by_orders(table, 4, itertools.permutations(range(4))), atol=1e-4)
    np.testing.assert_allclose(values.sum(), table[-1] - table[0], atol=1e-4)  # efficiency
    np.testing.assert_allclose(SHAPLEY(table + other), values + SHAPLEY(other), atol=1e-4)  # additivity
    np.testing.assert_allclose(KERNEL_SHAP(table), values, atol=1e-4)
    places = np.arange(16)
    swapped = table[places & ~3 | (places & 1) << 1 | (places & 2) >> 1]
    even = SHAPLEY(table + swapped)  # players 0 and 1 do the same
    np.testing.assert_allclose(even[0], even[1], atol=1e-4)
    assert SHAPLEY(table[places & ~4])[2] == 0  # a player that changes nothing


def nested(M, unions):
    """All orders in which the players of a union follow one another."""
    for outer in itertools.permutations(unions):
        for inner in itertools.product(*[list(itertools.permutations(union)) for union in outer]):
            yield [player for union in inner for player in union]


@pytest.mark.parametrize("hierarchy", [[[0, 1], [2, 3]], [0, [1, 2, 3]], [[0], [1], [2], [3]], [3, 1, [2, 0]]])
def test_owen_values_are_the_mean_over_orders_that_keep_unions(hierarchy):
    table = np.asarray(RNG.normal(size=16), np.float32)
    x, M, args = FLAGS, 4, (jnp.asarray(table)[None],)
    unions = [union if isinstance(union, list) else [union] for union in hierarchy]
    found = explain.shapley(worth, x, 0.0, args=args, hierarchy=hierarchy)
    expected = by_orders(table, M, nested(M, unions))
    np.testing.assert_allclose(found.values[0], expected, atol=1e-5)
    np.testing.assert_allclose(found.gap, 0, atol=1e-5)
    drawn = explain.permutation_shapley(worth, x, 0.0, args=args, hierarchy=hierarchy, key=KEY, draws=2000)
    assert np.all(np.abs(drawn.values[0] - expected) <= 4 * drawn.error[0] + 1e-5)


def test_a_deep_hierarchy_has_many_players():
    """A binary tree over 64: 2^6 coalitions for each, where Shapley values would need 2^64."""
    tree = list(range(64))
    while len(tree) > 2:
        tree = [tree[i : i + 2] for i in range(0, len(tree), 2)]
    x = jnp.asarray(RNG.normal(size=(1, 64)), jnp.float32)
    f = lambda x: x[:, :2].prod(axis=1) + x[:, 2:].sum(axis=1)  # noqa: E731
    found = explain.shapley(f, x, 0.0, hierarchy=tree).values[0]
    np.testing.assert_allclose(found[:2], jnp.full(2, x[0, :2].prod() / 2), rtol=1e-5)
    np.testing.assert_allclose(found[2:], x[0, 2:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "method", [pytest.param(explain.permutation_shapley, marks=pytest.mark.slow), explain.kernel_shap]
)
def test_drawn_values_are_within_their_error(method):
    exact = explain.shapley(F, X, BASE).values
    draws = {explain.permutation_shapley: 200, explain.kernel_shap: 28}[method]
    keys = jax.random.split(KEY, 60)
    found = jax.jit(jax.vmap(lambda key: method(F, X, BASE, key=key, draws=draws)))(keys)
    np.testing.assert_allclose(found.gap, 0, atol=1e-5)
    if method is explain.permutation_shapley:
        assert np.all(np.abs(found.values[0] - exact) < 4 * found.error[0] + 1e-6)
        spread = found.values.std(axis=0, ddof=1)
        np.testing.assert_allclose(spread, found.error.mean(axis=0), rtol=0.5)


@pytest.mark.slow
def test_the_error_of_kernel_shap_is_the_spread_of_its_values():
    x, base, w = (jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((1, 12), (1, 12), (12, 4)))
    f = lambda x: jnp.sin(x @ w).prod(axis=1)  # noqa: E731
    run = jax.jit(jax.vmap(lambda key: explain.kernel_shap(f, x, base, key=key, draws=400)))
    found, exact = run(jax.random.split(KEY, 40)), explain.shapley(f, x, base).values
    np.testing.assert_allclose(found.values.std(axis=0, ddof=1), found.error.mean(axis=0), rtol=0.5)
    assert np.all(np.abs(found.values[0] - exact) < 4 * found.error[0])


def test_occlusion_by_a_loop():
    lost, times = np.zeros(IMAGES.shape), np.zeros(IMAGES.shape)
    for top, left in itertools.product([0, 2], [0, 2, 4]):
        hidden = np.zeros(IMAGES.shape, bool)
        hidden[:, top : top + 3, left : left + 3] = True
        drop = np.asarray(G(IMAGES) - G(jnp.where(hidden, 0.5, IMAGES)))
        lost += drop[:, None, None, None] * hidden
        times += hidden
    found = explain.occlusion(G, IMAGES, 0.5, window=(3, 3), stride=2).values
    np.testing.assert_allclose(found, lost / np.maximum(times, 1), rtol=1e-4, atol=1e-5)


def test_groups_are_tiles_columns_and_what_stays():
    tiles = explain.superpixels((5, 6), (3, 3))
    found = explain.ablation(G, IMAGES, 0.0, groups=tiles).values
    assert found.shape == (2, 4)
    np.testing.assert_allclose(found[:, 1], G(IMAGES) - G(IMAGES.at[:, :3, 3:].set(0)), rtol=1e-4, atol=1e-5)
    shown = explain.spread(found, tiles, IMAGES)
    np.testing.assert_allclose(shown[:, 4, 1, 1], found[:, 2], rtol=1e-6)
    own = np.stack([np.zeros((5, 6, 1), int), np.arange(5)[:, None, None] + np.zeros((5, 6, 1), int)])  # by example
    by_example = explain.ablation(G, IMAGES, 0.0, groups=own).values
    np.testing.assert_allclose(by_example[0, 1:], 0)
    np.testing.assert_allclose(by_example[1, 4], (G(IMAGES) - G(IMAGES.at[:, 4].set(0)))[1], rtol=1e-4, atol=1e-5)
    some = explain.shapley(F, X, BASE, groups=np.array([0, -1, 1, 1, -1])).values
    kept = jnp.where(jnp.array([[True, False, True, True, False]]), BASE, X)
    np.testing.assert_allclose(some.sum(axis=1), F(X) - F(kept), atol=1e-5)


def test_tokens_need_no_direction():
    table = jnp.arange(10.0) ** 2
    f = lambda ids: table[ids].sum(axis=1)  # noqa: E731
    ids = jnp.array([[3, 1, 4]])
    assert explain.shapley(f, ids, 0).values.tolist() == [[9.0, 1.0, 16.0]]


def test_lime_by_weighted_least_squares():
    masks = jax.random.bernoulli(KEY, 0.5, (40, 5))
    found = explain.lime(F, X, BASE, masks=masks, penalty=0.0)
    rows = np.concatenate([masks, np.ones((40, 1))], axis=1)
    scores = np.stack([F(jnp.where(mask[None], X, BASE)) for mask in masks])
    root = np.sqrt(np.exp(-((1 - np.sqrt(np.mean(masks, axis=1))) ** 2) / (2 * 0.25**2)))[:, None]
    expected = np.linalg.lstsq(rows * root, scores * root, rcond=None)[0]
    np.testing.assert_allclose(found.values, expected[:5].T, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.intercept, expected[5], rtol=1e-3, atol=1e-4)
    left = (scores - rows @ expected) ** 2 * root**2
    apart = (scores - (root**2 * scores).sum(axis=0) / (root**2).sum()) ** 2 * root**2
    np.testing.assert_allclose(found.r2, 1 - left.sum(axis=0) / apart.sum(axis=0), rtol=1e-3)


@pytest.mark.slow
def test_rise_has_the_mean_score_where_a_place_is_seen():
    """Masks of one cell per place without smoothing have a mean that can be enumerated: of a linear score, by hand."""
    f = lambda x: x.sum(axis=(1, 2))  # noqa: E731
    found = explain.rise(f, jnp.ones((1, 6, 6)), 0.0, key=KEY, cells=(3, 3), draws=3000)
    again = explain.rise(f, jnp.ones((1, 6, 6)), 0.0, key=jax.random.key(5), cells=(3, 3), draws=20000)
    assert np.all(np.abs(found.values - again.values) < 4.5 * np.hypot(found.error, again.error))
    np.testing.assert_allclose(
        explain.rise(lambda x: 1 + 0 * f(x), IMAGES[..., 0], 0.0, key=KEY, draws=3000, cells=(3, 3)).values,
        1,
        atol=0.05,
    )


def test_importance_of_a_column_by_permutation():
    """Of a squared error with independent columns, twice the variance of what the column adds."""
    x = jnp.asarray(RNG.normal(size=(4000, 3)), jnp.float32)
    f = lambda x, y: -jnp.square(2 * x[:, 0] + x[:, 1] - y)  # noqa: E731
    found = explain.permutation_importance(f, x, args=(2 * x[:, 0] + x[:, 1],), key=KEY, draws=4)
    assert np.all(np.abs(found.values - jnp.array([8.0, 2.0, 0.0])) <= 4 * found.error)
    assert found.values[2] == found.error[2] == 0


def test_one_player_has_the_whole_difference():
    """A division by zero."""
    groups = np.zeros(5, int)
    found = explain.kernel_shap(F, X, BASE, groups=groups).values
    np.testing.assert_allclose(found, (F(X) - F(BASE))[:, None], rtol=1e-6)
    np.testing.assert_array_equal(found, explain.shapley(F, X, BASE, groups=groups).values)
    x = jnp.ones((2, 1))
    np.testing.assert_allclose(explain.kernel_shap(lambda x: 3 * x[:, 0], x, 0.0).values, 3 * x)


def test_partial_dependence_is_the_mean_curve():
    grid = jnp.linspace(-1, 1, 3)
    mean, error = explain.partial_dependence(F, X, grid, group=1)
    curves = np.stack([F(X.at[:, 1].set(value)) for value in grid], axis=1)
    np.testing.assert_allclose(mean, curves.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(error, np.abs(curves[0] - curves[1]) / 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: explain.shapley(lambda x: x.sum(axis=1), jnp.ones((1, 17)), 0.0),
            "17 players have 131072 coalitions, more than 65536; take permutation_shapley or kernel_shap",
        ),
        (lambda: explain.shapley(F, X, BASE, hierarchy=[[0, 1], [1, 2]]), "give each of 0 to 4 once"),
        (lambda: explain.kernel_shap(F, X, BASE, draws=6, key=KEY), "draws=6 is too few, or odd, for 5 players"),
        (lambda: explain.ablation(F, X, jnp.zeros((2, 4))), r"the baseline has the shape \(2, 4\)"),
        (lambda: explain.ablation(F, X, 0.0, groups=np.zeros(4, int)), r"groups have the shape \(1, 4\), the inputs"),
        (lambda: explain.ablation(F, X, 0.0, groups=np.full(5, -1)), "labels from -1 to -1; number the groups from 0"),
        (lambda: explain.shapley(F, X, 0.0, groups=np.array([0, 0, 1, 1, -2])), "has labels from -2 to 1; number"),
        (lambda: explain.partial_dependence(F, X, BASE[0], group=5), "group=5 is none of the groups 0 to 4"),
        (lambda: explain.individual_expectation(F, X, BASE[0], group=-1), "group=-1 is none of the groups 0 to 4"),
        (lambda: explain.partial_dependence(F, X[:1], BASE[0], group=1), "over examples, and x has one; give two"),
        (lambda: explain.permutation_importance(F, X[:1], key=KEY), "among examples, and x has one; give two"),
        (lambda: explain.ablation(F, X, 0.0, groups=np.zeros(5)), "an array of integer labels for each"),
        (lambda: jax.jit(lambda g: explain.ablation(F, X, 0.0, groups=g))(jnp.zeros(5, int)), "the groups are traced"),
        (lambda: explain.occlusion(F, X, 0.0, window=(6,)), r"window \(6,\) with strides \(1,\) does not fit"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(UserError, match=said):
        call()
