"""Models of tables against equations of their papers, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models import FTTransformer, TabularResNet
from deeplab.nn.norm import no_norm
from deeplab.nn.tabular import Categories, Columns, LinearNumbers, PeriodicNumbers

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def test_periodic_numbers_are_waves_of_each_number_by_itself():
    layer = PeriodicNumbers(width=5, frequencies=2, sigma=0.7)
    vectors, variables = layer.init_with_output(KEY, jnp.asarray(X))
    c, kernel, bias = (np.asarray(variables["params"][name]) for name in ("frequencies", "kernel", "bias"))
    for j in range(3):
        angle = 2 * np.pi * X[:, j : j + 1] * c[j]
        waves = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
        np.testing.assert_allclose(vectors[:, j], np.maximum(waves @ kernel[j] + bias[j], 0), rtol=1e-4, atol=1e-5)
    drawn = PeriodicNumbers(4, 999, 0.7).init(KEY, X)["params"]["frequencies"]
    assert np.std(drawn) == pytest.approx(0.7, rel=0.05)


def test_linear_numbers():
    vectors, variables = LinearNumbers(2).init_with_output(KEY, jnp.asarray(X))
    w, b = (np.asarray(variables["params"][name]) for name in ("scale", "bias"))
    np.testing.assert_allclose(vectors, X[:, :, None] * w + b, rtol=1e-5, atol=1e-6)


def test_columns_have_vectors_of_their_own_and_an_unheard_class_is_the_unknown_one():
    layer = Categories((2, 3), width=4)
    codes = jnp.array([[0, 0], [1, 1], [0, 2], [2, 3], [-1, 9]])
    vectors, _ = layer.init_with_output(KEY, codes)
    rows = {tuple(vector.tolist()) for row in vectors[:3] for vector in row}
    assert len(rows) == 5
    np.testing.assert_array_equal(vectors[3], vectors[0])
    np.testing.assert_array_equal(vectors[4], vectors[0])


def test_the_residual_network_written_out():
    sizes = {"width": 4, "hidden": 5, "column_width": 2, "frequencies": 0}
    model = TabularResNet(outputs=2, num_blocks=1, norm=no_norm, **sizes)
    out, variables = model.init_with_output(KEY, jnp.asarray(X))
    p = jax.tree.map(np.asarray, variables["params"])
    dense = lambda layer, x: x @ layer["kernel"] + layer["bias"]  # noqa: E731
    numbers = p["columns"]["numbers"]
    x = dense(p["stem"], (X[:, :, None] * numbers["scale"] + numbers["bias"]).reshape(4, -1))
    x = x + dense(p["block1"]["down"], np.maximum(dense(p["block1"]["up"], x), 0))
    np.testing.assert_allclose(out, dense(p["head"], np.maximum(x, 0)), rtol=1e-4, atol=1e-5)


def test_the_transformer_does_not_depend_on_the_order_of_the_columns():
    """Columns are a set: with their vectors they may trade places."""
    model = FTTransformer(outputs=2, num_layers=1, num_heads=2, width=8, hidden=6)
    out, variables = jax.jit(model.init_with_output)(KEY, jnp.asarray(X))
    order = np.array([2, 0, 1])
    moved = jax.tree.map(lambda x: x, variables)
    moved["params"]["columns"]["numbers"] = {k: v[order] for k, v in variables["params"]["columns"]["numbers"].items()}
    np.testing.assert_allclose(jax.jit(model.apply)(moved, X[:, order]), out, rtol=1e-4, atol=1e-5)
    assert not np.allclose(jax.jit(model.apply)(variables, X[:, order]), out, rtol=1e-2)


def test_a_table_of_categories_alone_and_one_of_other_columns():
    table = jnp.zeros((2, 0)), jnp.zeros((2, 1), jnp.int32)
    assert Columns((3,), 4, frequencies=2).init_with_output(KEY, *table)[0].shape == (2, 1, 4)
    with pytest.raises(ValueError, match="1 categories, and the model cardinalities of 0; give cardinalities=data"):
        Columns((), 4).init(KEY, *table)
    with pytest.raises(ValueError, match="without columns"):
        Columns((), 4).init(KEY, jnp.zeros((2, 0)))
