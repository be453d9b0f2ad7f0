"""Gradients, paths, layers and maps: equal to their definition where it can be written down."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import explain
from deeplab.core.errors import UserError

RNG = np.random.default_rng(0)
W = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
X, BASE = (jnp.asarray(RNG.normal(size=(3, 6)), jnp.float32) for _ in range(2))
KEY = jax.random.key(0)
F = lambda x: jnp.tanh(x @ W)  # noqa: E731
LINEAR = lambda x: x @ W  # noqa: E731
IMAGES = jnp.asarray(RNG.uniform(size=(2, 8, 8, 1)), jnp.float32)
TARGET = jnp.array([1, 3, 0])


class Small(nn.Module):
    """Convolutions, a mean over all places, a linear layer."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), name="first", bias_init=nn.initializers.normal(0.3))(x))
        x = nn.Conv(5, (3, 3), name="second", bias_init=nn.initializers.normal(0.3))(x)
        return nn.Dense(3, name="head", bias_init=nn.initializers.normal(0.3))(x.mean(axis=(1, 2)))


VARIABLES = jax.jit(Small().init)(jax.random.key(1), IMAGES)
G = lambda x: Small().apply(VARIABLES, x)  # noqa: E731

LINEARLY = {
    "input_x_gradient": lambda: explain.input_x_gradient(LINEAR, X, 2).values + 0 * BASE,
    "integrated_gradients": lambda: explain.integrated_gradients(LINEAR, X, 0.0, 2, nodes=1).values,
    "expected_gradients": lambda: explain.expected_gradients(LINEAR, X, BASE[:1] * 0, 2, key=KEY, draws=2).values,
    "the diagonal of pairs": lambda: jnp.einsum(
        "bii->bi", explain.integrated_hessians(LINEAR, X, 0.0, 2, nodes=1).values
    ),
    "shapley": lambda: explain.shapley(LINEAR, X, 0.0, 2).values,
    "permutation_shapley": lambda: explain.permutation_shapley(LINEAR, X, 0.0, 2, key=KEY, draws=2).values,
    "kernel_shap": lambda: explain.kernel_shap(LINEAR, X, 0.0, 2).values,
    "kernel_shap, drawn": lambda: explain.kernel_shap(LINEAR, X, 0.0, 2, key=KEY, draws=40).values,
    "ablation": lambda: explain.ablation(LINEAR, X, 0.0, 2).values,
    "occlusion": lambda: explain.occlusion(LINEAR, X, 0.0, 2, window=(1,)).values,
    "lime": lambda: explain.lime(LINEAR, X, 0.0, 2, key=KEY, draws=64, penalty=0.0, width=1.0).values,
}


@pytest.mark.parametrize("name", LINEARLY)
def test_a_linear_score_is_shared_by_its_weights(name):
    np.testing.assert_allclose(LINEARLY[name](), X * W[None, :, 2], rtol=1e-4, atol=2e-5)


CHUNKED = {
    "smoothgrad": lambda chunk: explain.smoothgrad(F, X, TARGET, key=KEY, draws=7, chunk=chunk),
    "integrated_gradients": lambda chunk: explain.integrated_gradients(F, X, BASE, TARGET, nodes=7, chunk=chunk),
    "expected_gradients": lambda chunk: explain.expected_gradients(F, X, BASE, TARGET, key=KEY, draws=7, chunk=chunk),
    "integrated_hessians": lambda chunk: explain.integrated_hessians(F, X, BASE, TARGET, nodes=5, chunk=chunk),
    "occlusion": lambda chunk: explain.occlusion(F, X, BASE, TARGET, window=(2,), chunk=chunk),
    "rise": lambda chunk: explain.rise(F, X, BASE, TARGET, key=KEY, draws=7, cells=(3,), chunk=chunk),
    "ablation": lambda chunk: explain.ablation(F, X, BASE, TARGET, chunk=chunk),
    "shapley": lambda chunk: explain.shapley(F, X, BASE, TARGET, chunk=chunk),
    "permutation_shapley": lambda chunk: explain.permutation_shapley(F, X, BASE, TARGET, key=KEY, draws=3, chunk=chunk),
    "kernel_shap": lambda chunk: explain.kernel_shap(F, X, BASE, TARGET, key=KEY, draws=30, chunk=chunk),
    "lime": lambda chunk: explain.lime(F, X, BASE, TARGET, key=KEY, draws=9, chunk=chunk),
    "conductance": lambda chunk: explain.conductance(G, IMAGES, 0.0, "first", 1, nodes=5, chunk=chunk),
}


@pytest.mark.parametrize(
    "name", [name if i % 3 == 0 else pytest.param(name, marks=pytest.mark.slow) for i, name in enumerate(CHUNKED)]
)
def test_chunked_is_whole(name):
    run = lambda chunk: jax.jit(lambda: CHUNKED[name](chunk))()  # noqa: E731
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=3e-6), run(3), run(100))


def test_the_nodes_are_doubled_until_the_gap_is_met():
    f = lambda x: jnp.sin(9 * x).sum(axis=1)  # noqa: E731
    assert np.abs(explain.integrated_gradients(f, X, BASE, nodes=2).gap).max() > 0.1
    assert np.abs(explain.integrated_gradients(f, X, BASE, nodes=2, tol=1e-4).gap).max() <= 1e-4
    with pytest.raises(UserError, match="give nodes= there"):
        jax.jit(lambda x: explain.integrated_gradients(f, x, BASE, tol=1e-4))(X)


def test_many_images_under_one_compilation():
    traced = []
    run = jax.jit(lambda x: traced.append(1) or explain.integrated_gradients(F, x, 0.0, 1, nodes=4).values)
    found = jnp.concatenate([run(part) for part in jnp.split(jnp.tile(X, (100, 1)), 10)])
    assert len(traced) == 1
    np.testing.assert_allclose(found[::3], jnp.broadcast_to(found[:1], (100, 6)), rtol=1e-5, atol=1e-7)


def test_memory_is_flat_in_the_nodes():
    def size(nodes):
        f = jax.jit(lambda x: explain.integrated_gradients(F, x, 0.0, 1, nodes=nodes, chunk=8).values)
        return f.lower(jnp.ones((256, 6))).compile().memory_analysis().temp_size_in_bytes

    assert size(256) <= 1.1 * size(64)


def test_a_path_of_blur_adds_up_to_the_difference_from_the_blurred_image():
    f, path = lambda x: jnp.tanh(x * IMAGES[:1, ::-1]).sum(axis=(1, 2, 3)), explain.blurred(4.0)
    found = explain.integrated_gradients(f, IMAGES, 0.0, nodes=128, path=path)
    blurred = path(IMAGES, None)(0.0)
    np.testing.assert_allclose(found.values.sum(axis=(1, 2, 3)), f(IMAGES) - f(blurred), atol=1e-3)
    np.testing.assert_allclose(path(IMAGES, None)(1.0), IMAGES, rtol=1e-6)
    np.testing.assert_allclose(path(jnp.ones((1, 8, 8, 1)), None)(0.3), 1, rtol=1e-5)
    assert blurred.std() < IMAGES.std() / 3


@pytest.mark.slow
def test_expected_gradients_are_within_their_error_of_the_mean_over_baselines():
    every = [explain.integrated_gradients(F, X, BASE[i], 1).values for i in range(3)]
    found = explain.expected_gradients(F, X, BASE, 1, key=KEY, draws=4000)
    assert np.all(np.abs(found.values - sum(every) / 3) < 4 * found.error)
    few = explain.expected_gradients(F, X, lambda key: jax.random.choice(key, BASE), 1, key=KEY, draws=250)
    assert 0.4 < np.mean(np.log(few.error / found.error)) / np.log(4000 / 250) < 0.6


def test_moments_over_noise_of_a_square_by_hand():
    """Its gradient 2 (x + e) has the mean 2 x, the variance 4 s^2, and the mean square that follows."""
    f, s = lambda x: (x**2).sum(axis=1), 0.5
    expected = {"mean": 2 * X, "square": 4 * X**2 + 4 * s**2, "variance": jnp.full_like(X, 4 * s**2)}
    for moment, value in expected.items():
        found = explain.smoothgrad(f, X, key=KEY, draws=2000, deviation=s, moment=moment)
        assert np.all(np.abs(found.values - value) < 4.5 * found.error), moment
    np.testing.assert_allclose(
        explain.smoothgrad(F, X, 1, key=KEY, deviation=0.0).values,
        explain.gradient(F, X, 1).values,
        rtol=1e-4,
        atol=1e-6,
    )


def test_constants_and_inputs_add_up_to_the_score_of_a_relu_network():
    found = explain.fullgrad(Small().apply, IMAGES, VARIABLES, jnp.array([1, 2]))
    assert {name: value.shape for name, value in found.values["constants"].items()} == {
        "params/first/bias": (2, 4),
        "params/second/bias": (2, 5),
        "params/head/bias": (2, 3),
    }
    np.testing.assert_allclose(found.gap, 0, atol=1e-6)
    total = sum(leaf.reshape(2, -1).sum(axis=1) for leaf in jax.tree.leaves(found.values))
    np.testing.assert_allclose(total, G(IMAGES)[jnp.arange(2), jnp.array([1, 2])], rtol=1e-4)


@pytest.mark.parametrize(
    "tap", [pytest.param("first", marks=pytest.mark.slow), "second", pytest.param("head", marks=pytest.mark.slow)]
)
def test_every_layer_conducts_the_whole_difference(tap):
    found = explain.conductance(G, IMAGES, 0.0, tap, 1, nodes=64)
    np.testing.assert_allclose(
        found.values.reshape(2, -1).sum(axis=1), G(IMAGES)[:, 1] - G(IMAGES * 0)[:, 1], atol=1e-3
    )
    np.testing.assert_allclose(found.gap, 0, atol=1e-3)


def test_influence_of_a_linear_head_is_its_weights():
    found = explain.internal_influence(G, IMAGES, 0.0, "second", 1, nodes=3).values
    weights = VARIABLES["params"]["head"]["kernel"][:, 1] / 64
    np.testing.assert_allclose(found, jnp.broadcast_to(weights, found.shape), rtol=1e-5)


@pytest.mark.slow
def test_maps_before_a_mean_and_a_linear_head_by_hand():
    """The gradient of a channel is its weight over the number of places, everywhere."""
    y = explain.split(G, "second")[0](IMAGES)
    g = VARIABLES["params"]["head"]["kernel"][:, 1][None, None, None] / 64
    expected = (y * g).sum(axis=-1)
    for method in explain.grad_cam, explain.hires_cam:
        np.testing.assert_allclose(
            method(G, IMAGES, "second", 1, positive=False).values, expected, rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(method(G, IMAGES, "second", 1).values, jax.nn.relu(expected), rtol=1e-4, atol=1e-6)
    layer = (jax.nn.relu(g) * y).sum(axis=-1)
    np.testing.assert_allclose(
        explain.layer_cam(G, IMAGES, "second", 1).values, jax.nn.relu(layer), rtol=1e-4, atol=1e-6
    )
    alpha = 64 / (2 + g * y.sum(axis=(1, 2), keepdims=True))
    plus = jax.nn.relu((jax.nn.relu(g) * alpha * y).sum(axis=-1))
    np.testing.assert_allclose(explain.grad_cam_plus_plus(G, IMAGES, "second", 1).values, plus, rtol=1e-3, atol=1e-6)
    half = lambda x: G(jax.image.resize(x, (2, 4, 4, 1), "linear"))  # noqa: E731
    assert explain.grad_cam(half, IMAGES, "second", 1, resize=True).values.shape == (2, 8, 8)


def test_a_product_is_one_half_on_the_pair():
    """Definition: the integrated gradient of x1, which is x1 x2 / 2, has again equal parts for x1 and x2."""
    f, x, base = lambda x: x[:, 0] * x[:, 1] + x[:, 2] ** 3, jnp.array([[2.0, 3.0, 1.0]]), jnp.zeros((1, 3))
    values = explain.integrated_hessians(f, x, base, nodes=4).values[0]
    np.testing.assert_allclose(values, [[1.5, 1.5, 0], [1.5, 1.5, 0], [0, 0, 1]], atol=1e-5)


def test_pairs_add_up_to_integrated_gradients():
    pairs = explain.integrated_hessians(F, X, BASE, 1).values
    np.testing.assert_allclose(pairs, pairs.transpose(0, 2, 1), atol=1e-5)
    np.testing.assert_allclose(pairs.sum(axis=2), explain.integrated_gradients(F, X, BASE, 1).values, atol=1e-4)


def test_trees_of_inputs_and_further_inputs():
    f = lambda x, scale: (x["a"] * x["b"] * scale).sum(axis=1)  # noqa: E731
    x = {"a": X, "b": BASE}
    found = explain.integrated_gradients(f, x, 0.0, args=(X[:, :1],))
    np.testing.assert_allclose(found.values["a"], X * BASE * X[:, :1] / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.gap, 0, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: explain.integrated_gradients(F, X, jnp.zeros(5), 1), r"the baseline has the shape \(5,\)"),
        (lambda: explain.integrated_gradients(F, X, 0.0, 4), "target=4 is out of range: the model has 4 outputs"),
        (lambda: explain.integrated_gradients(F, X, 0.0, 1, nodes=0), "nodes=0 was given, expected a whole number"),
        (lambda: explain.integrated_gradients(F, X, 0.0, 1, chunk=0), "chunk=0 was given, expected a whole number"),
        (lambda: explain.integrated_gradients(F, X, 0.0, 1, nodes=(X[0], X[0, :2])), "one weight for each point"),
        (lambda: explain.gradient(F, X.astype(int), 1), "explain the output of its embedding"),
        (lambda: explain.expected_gradients(F, X.astype(int), X, 1, key=KEY), "explain the output of its embedding"),
        (lambda: explain.smoothgrad(F, X, 1), r"draws at random; give key=jax.random.key\(0\)"),
        (lambda: explain.rise(F, X, 0.0, 1, cells=(2,)), "draws at random"),
        (lambda: explain.permutation_shapley(F, X, 0.0, 1), "draws at random"),
        (lambda: explain.kernel_shap(F, X, 0.0, 1, draws=40), "draws at random"),
        (lambda: explain.lime(F, X, 0.0, 1), "draws at random"),
        (lambda: explain.grad_cam(G, IMAGES, "secnd", 1), "did you mean 'second'"),
        (lambda: explain.grad_cam(G, IMAGES, "head", 1), r"has the shape \(2, 3\), expected \[B, places..., C\]"),
        (lambda: explain.gradient(lambda x: jnp.sqrt(x).sum(axis=1), X * 0), "example 0 is not finite"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(UserError, match=said):
        call()
