"""Taps: every value that has a name is read, edited and explained, whatever calls its module."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import explain
from deeplab.core.errors import UserError
from deeplab.explain.taps import taps
from deeplab.models.text.decoders.llama import VARIANTS, Llama


class Shared(nn.Module):
    @nn.compact
    def __call__(self, x):
        twice = nn.Dense(4, name="shared")
        return nn.relu(twice(nn.relu(twice(x)))).sum(axis=1)


class Stacked(nn.Module):
    """Three layers of one module under a scan, recomputed for the gradient."""

    @nn.compact
    def __call__(self, x):
        layers = nn.scan(
            nn.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, length=3, in_axes=nn.broadcast
        )
        return layers(name="layers")(x, None)[0].sum(axis=1)


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.tanh(nn.Dense(4, name="dense")(x)), None


def function(model, x):
    variables = jax.jit(model.init)(jax.random.key(0), x)
    return lambda x: model.apply(variables, x)


X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)), jnp.float32)
MODELS = {"shared": (Shared(), "shared", 2), "stacked": (Stacked(), "layers/dense", 3)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("jitted", [False, True])
def test_a_call_is_a_tap_of_its_own(name, jitted):
    model, path, calls = MODELS[name]
    f = function(model, X)
    f = jax.jit(f) if jitted else f
    expected = f(X)  # traced before: under `jit`, JAX would not call the modules again
    assert [tap for tap in explain.taps(f, X) if tap.startswith(path)] == [f"{path}[{i}]" for i in range(calls)]
    for i in range(calls):
        upto, rest = explain.split(f, f"{path}[{i}]")
        np.testing.assert_allclose(rest(upto(X), X), expected, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(lambda x, r=rest, u=upto: r(u(x), x))(X), expected, rtol=1e-6)
        assert np.abs(rest(jnp.zeros_like(upto(X)), X) - expected).max() > 1e-3


def test_layers_of_a_scan_by_hand():
    model = Stacked()
    params = model.init(jax.random.key(0), X)["params"]["layers"]["dense"]
    found = explain.read(lambda x: model.apply({"params": {"layers": {"dense": params}}}, x), ["layers/dense"])(X)[1]
    x = X
    for i, value in enumerate(found["layers/dense"]):
        np.testing.assert_allclose(value, x @ params["kernel"][i] + params["bias"][i][None], rtol=1e-5)
        x = x + jnp.tanh(value)


def test_a_rest_has_taps_of_its_own():
    """Functions that were made by taps are functions: what comes later in them is found once."""
    f = function(Stacked(), X)
    _, rest = explain.split(f, "layers/dense[0]")
    assert list(explain.taps(rest, X, X)) == list(explain.taps(f, X))
    zero = explain.edited(rest, {"layers/dense[2]": jnp.zeros_like})(X, X)
    both = explain.edited(f, {"layers/dense[0]": lambda _: X, "layers/dense[2]": jnp.zeros_like})(X)
    np.testing.assert_allclose(zero, both, rtol=1e-6)


def test_gradients_flow_through_an_edit():
    """The rest has the derivative of the whole, as seen from the tap."""
    f = function(Stacked(), X)
    upto, rest = explain.split(f, "layers/dense[1]")
    through = jax.grad(lambda x: rest(upto(x), jax.lax.stop_gradient(x)).sum())(X)
    direct = jax.grad(lambda x: (f(x) - rest(jax.lax.stop_gradient(upto(x)), x)).sum())(X)
    np.testing.assert_allclose(through, direct, rtol=1e-4, atol=1e-5)


def test_the_name_of_the_function_is_not_its_module():
    assert explain.taps is taps


def test_edits_of_edits():
    """A function that is edited is a function: its taps are those of the one within, each of them once."""
    f = function(Stacked(), X)
    zero = explain.edited(f, {"layers/dense[1]": jnp.zeros_like})
    twice = explain.edited(
        explain.edited(zero, {"layers/dense": lambda h: 2 * h}), {"layers/dense[1]": lambda h: h + 1}
    )
    once = explain.edited(f, {f"layers/dense[{i}]": lambda h, i=i: 2 * h if i != 1 else h * 0 + 1 for i in range(3)})
    np.testing.assert_allclose(twice(X), once(X), rtol=1e-6)
    assert list(explain.taps(zero, X)) == list(explain.taps(f, X))


def test_what_a_module_reads():
    """Its edit is seen by no other module that reads the same value."""
    f = function(Stacked(), X)
    read = explain.read(f, ["layers/dense:in", "layers.0"])(X)[1]
    np.testing.assert_array_equal(read["layers/dense:in"][1], read["layers.0"][0])
    skipped = explain.edited(f, {"layers/dense:in[2]": jnp.zeros_like})(X)
    np.testing.assert_allclose(skipped, read["layers.0"][1].sum(axis=1), rtol=1e-5)  # the biases are zero


def test_attention_weights_are_a_tap_of_every_layer():
    model, tokens = Llama(vocab_size=65, **VARIANTS["test"]), jnp.arange(8)[None]
    f = function(model, tokens)
    weights = jax.jit(explain.read(f, ["attention_weights"]))(tokens)[1]["attention_weights"]
    assert len(weights) == 2
    for layer in weights:
        assert layer.shape == (1, 4, 8, 8)  # of four heads, though two share their keys
        np.testing.assert_allclose(layer.sum(axis=-1), 1, rtol=1e-5)


def test_explained_at_a_tap():
    """Complete at every layer: DeepLIFT of the rest explains the difference between two hidden values."""
    f = function(Shared(), X)
    upto, rest = explain.split(f, "shared[0]")
    h, h0 = upto(X), upto(jnp.zeros_like(X))
    found = explain.deeplift(rest, h, h0, args=(X,))
    np.testing.assert_allclose(found.values.sum(axis=1), rest(h, X) - rest(h0, X), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: explain.split(f, "shared")[0](X), r"called 2 times; name one call: shared\[0\] to \[1\]"),
        (lambda f: explain.split(f, "shred[1]")[0](X), r"no tap 'shred\[1\]'; did you mean 'shared\[1\]'"),
        (lambda f: explain.read(f, ["shared[2]"])(X), r"no tap 'shared\[2\]'"),
        (lambda f: explain.edited(f, {"shared": lambda h: h[:1]})(X), r"gives the shape \(1, 4\), and \(2, 4\)"),
        (lambda f: explain.edited(f, {"other": jnp.sin})(X), "no tap 'other'; known are"),
        (
            lambda f: explain.taps(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: explain.mark(x, "h"), jnp.sin, x), X),
            "a tap is within a `cond` that the input decides",
        ),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(UserError, match=said):
        call(function(Shared(), X))
