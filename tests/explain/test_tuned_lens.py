"""The tuned lens predicts what a model will say from its earlier layers, better than the logit lens does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplab import explain
from deeplab.core.errors import UserError
from deeplab.models.text.decoders import gpt

VOCABULARY, LENGTH = 12, 8
MODEL = gpt.GPT(vocab_size=VOCABULARY, num_layers=2, num_heads=2, width=16, context=LENGTH)


def texts(seed, count=64):
    """Each token is the one before it plus one or two, by whether the text began with an even one."""
    first = np.random.default_rng(seed).integers(0, VOCABULARY, (count, 1))
    return jnp.asarray((first + np.arange(LENGTH) * (1 + first % 2)) % VOCABULARY)


@functools.cache
def trained():
    adam, tokens = optax.adam(1e-2), texts(0)

    def loss(params):
        logits = MODEL.apply({"params": params}, tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    def step(carry, _):
        updates, moments = adam.update(jax.grad(loss)(carry[0]), carry[1])
        return (optax.apply_updates(carry[0], updates), moments), None

    params = jax.jit(MODEL.init)(jax.random.key(0), tokens)["params"]
    return jax.jit(lambda p: jax.lax.scan(step, (p, adam.init(p)), length=60)[0][0])(params)


def model(tokens):
    return MODEL.apply({"params": trained()}, tokens)


def divergence(logits, found):
    p, q = jax.nn.log_softmax(logits)[None], jax.nn.log_softmax(found)
    return jnp.mean(jnp.sum(jnp.exp(p) * (p - q), axis=-1), axis=(1, 2))


@pytest.mark.slow
def test_it_is_nearer_to_the_outputs_at_each_layer_also_of_other_texts():
    trained()
    other = texts(1)

    @jax.jit
    def found(tokens):
        lens = explain.tuned_lens(model, tokens, steps=60, learning_rate=1e-2)
        each = [(explain.logit_lens(model, x), explain.logit_lens(model, x, translators=lens)) for x in (tokens, other)]
        return lens, [[divergence(model(x), y) for y in pair] for x, pair in zip((tokens, other), each, strict=True)]

    lens, ((plain, tuned), (plain_of_others, tuned_of_others)) = found(texts(0))
    np.testing.assert_allclose(tuned, lens.loss, rtol=1e-3, atol=1e-5)
    assert (tuned <= plain + 1e-6).all()
    assert (tuned_of_others[:-1] < 0.5 * plain_of_others[:-1]).all()
    np.testing.assert_allclose((lens.loss[-1], tuned_of_others[-1]), 0, atol=1e-6)
    assert float(jnp.abs(lens.weight[-1]).max()) == float(jnp.abs(lens.bias[-1]).max()) == 0
    assert float(jnp.abs(lens.weight[0]).max()) > 1e-3


@pytest.mark.slow
def test_without_a_step_it_is_the_logit_lens():
    trained()

    @jax.jit
    def found(tokens):
        lens = explain.tuned_lens(model, tokens, steps=0)
        return lens, explain.logit_lens(model, tokens), explain.logit_lens(model, tokens, translators=lens)

    tokens = texts(2, 4)
    lens, plain, tuned = found(tokens)
    np.testing.assert_array_equal(lens.weight, 0)
    np.testing.assert_allclose(tuned, plain, atol=1e-6)
    np.testing.assert_allclose(lens.loss, divergence(model(tokens), plain), rtol=1e-4, atol=1e-6)


def test_one_layer_has_nothing_to_translate():
    trained()  # first outside of a trace
    with pytest.raises(UserError, match="two layers or more"):
        explain.tuned_lens(model, texts(0), ["block1.0"])
