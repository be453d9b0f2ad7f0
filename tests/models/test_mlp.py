"""MLP: its equation, and dropout in training alone."""

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.models.mlp import MLP


def test_is_its_equation():
    x = jax.random.normal(jax.random.key(0), (3, 4, 4, 2))
    logits, variables = MLP(num_classes=5, features=(7, 6)).init_with_output(jax.random.key(1), x)
    h = np.asarray(x).reshape(3, 32)
    for name in ("hidden1", "hidden2"):
        layer = variables["params"][name]
        h = np.maximum(h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    head = variables["params"]["head"]
    np.testing.assert_allclose(logits, h @ np.asarray(head["kernel"]) + np.asarray(head["bias"]), rtol=1e-5, atol=1e-5)


def test_no_hidden_layer_is_a_linear_model():
    x = jnp.ones((2, 3))
    assert set(MLP(num_classes=5, features=()).init(jax.random.key(0), x)["params"]) == {"head"}


def test_dropout_acts_in_training_alone():
    model, x = MLP(num_classes=5, features=(64,), dropout=0.5), jnp.ones((2, 8))
    variables = model.init(jax.random.key(0), x)
    first, second = (model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(k)}) for k in (1, 2))
    assert not np.allclose(first, second)
    np.testing.assert_allclose(model.apply(variables, x)[0], model.apply(variables, x)[1], rtol=1e-6)
