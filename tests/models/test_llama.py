"""Llama: published sizes, shared keys, rematerialized layers, taps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.text.decoders.llama import VARIANTS, Llama
from deeplab.nn.remat import POLICIES

MODEL = Llama(vocab_size=11, **VARIANTS["test"])  # a context of 16


@pytest.fixture(scope="module")
def tokens():
    return jax.random.randint(jax.random.key(1), (2, 16), 0, 11)


@pytest.fixture(scope="module")
def variables(tokens):
    """Weights large enough for the outputs to differ."""
    variables = jax.jit(MODEL.init)(jax.random.key(0), tokens)
    return jax.tree.map(lambda p: p * 6 if p.ndim > 1 else p, variables)


@functools.partial(jax.jit, static_argnums=0)
def logits(model, variables, tokens):
    return model.apply(variables, tokens)


@pytest.mark.parametrize(
    ("variant", "vocab_size", "published"),
    [("7b", 32_000, 6_738_415_616), ("13b", 32_000, 13_015_864_320), ("llama3_8b", 128_256, 8_030_261_248)],
)
def test_parameters_are_as_many_as_published(variant, vocab_size, published):
    model = Llama(vocab_size, **VARIANTS[variant])
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == published


def test_shared_keys_are_copies_of_them(variables, tokens):
    """Grouped-query attention is multi-head attention whose heads of keys and values repeat."""
    many = Llama(vocab_size=11, **{**VARIANTS["test"], "num_kv_heads": 4})
    attention = variables["params"]["blocks"]["attention"]

    def repeated(kernel):  # L D (K d) -> L D (K G d)
        heads = kernel.reshape(2, 32, 2, 8)
        return {"kernel": jnp.repeat(heads, 2, axis=2).reshape(2, 32, 32)}

    copies = {name: repeated(attention[name]["kernel"]) for name in ("key", "value")}
    params = variables["params"]
    blocks = {**params["blocks"], "attention": {**attention, **copies}}
    np.testing.assert_allclose(
        logits(many, {"params": {**params, "blocks": blocks}}, tokens), logits(MODEL, variables, tokens), atol=1e-5
    )


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(name, marks=() if name == "full" else pytest.mark.slow)
        for name in POLICIES
        if name not in ("none", "offload")
    ],
)
def test_computing_again_changes_no_gradient(variables, tokens, policy):
    def gradient(model):
        return jax.jit(jax.grad(lambda v: jax.nn.log_softmax(model.apply(v, tokens, train=True))[..., 0].mean()))

    for a, b in zip(*(jax.tree.leaves(gradient(m)(variables)) for m in (MODEL, MODEL.copy(remat=policy))), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_layers_can_be_tapped_by_name(variables, tokens):
    apply = functools.partial(MODEL.apply, capture_intermediates=True, mutable=["intermediates"])
    taps = jax.eval_shape(apply, variables, tokens)[1]["intermediates"]["blocks"]
    for layer in ("attention", "feed_forward"):
        assert taps[layer]["__call__"][0].shape == (2, 2, 16, 32)  # L B T D


def test_a_sequence_beyond_the_context_is_refused():
    with pytest.raises(ValueError, match="17 tokens, the model's context is 16"):
        MODEL.init(jax.random.key(0), jnp.zeros((1, 17), jnp.int32))


def test_heads_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(ValueError, match="num_heads 4 is not a multiple of num_kv_heads 3"):
        Llama(11, **{**VARIANTS["test"], "num_kv_heads": 3}).init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))


def test_models_of_equal_sizes_are_equal():
    """So that what is compiled for one serves the other."""
    again = Llama(vocab_size=11, **VARIANTS["test"])
    assert again == MODEL
    assert hash(again) == hash(MODEL)
    assert again != Llama(vocab_size=11, **VARIANTS["test"], epsilon=1e-6)
