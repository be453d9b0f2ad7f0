"""MLP: its equation, and dropout in training alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deeplab.models.mlp import MLP
from deeplab.nn.activations import ACTIVATIONS


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
    variables = jax.jit(model.init)(jax.random.key(0), x)
    first, second = (model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(k)}) for k in (1, 2))
    assert not np.allclose(first, second)
    np.testing.assert_allclose(model.apply(variables, x)[0], model.apply(variables, x)[1], rtol=1e-6)


def test_taps_are_the_hidden_activations_and_no_state():
    x = jax.random.normal(jax.random.key(0), (3, 4))
    model = MLP(num_classes=5, features=(7, 6), activation=jnp.tanh, kernel_init=nn.initializers.ones)
    variables = jax.jit(model.init)(jax.random.key(1), x)
    assert set(variables) == {"params"}
    _, taps = model.apply(variables, x, mutable=["intermediates"])
    (first,), (second,) = (taps["intermediates"][f"activation{i}"] for i in (1, 2))
    np.testing.assert_allclose(first, np.tanh(np.repeat(np.sum(x, axis=1)[:, None], 7, axis=1)), rtol=1e-5)
    np.testing.assert_allclose(second, np.tanh(7 * np.asarray(first)[:, :6]), rtol=1e-5)


def test_a_gated_activation_halves_the_features():
    x = jnp.ones((2, 3))
    model = MLP(num_classes=5, features=(8, 8), activation=ACTIVATIONS["swiglu"].function)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    assert params["hidden2"]["kernel"].shape == (4, 8)
    assert params["head"]["kernel"].shape == (4, 5)
