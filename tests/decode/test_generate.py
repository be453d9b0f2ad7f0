"""Sampling: with the cache as without, the most likely tokens at temperature 0, the right frequencies above it."""

from __future__ import annotations

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.decode import generate as generation
from deeplab.decode import logits as chain
from deeplab.decode.generate import generate
from deeplab.decode.protocol import plain
from deeplab.models.text import decoder
from deeplab.models.text.decoders import gpt, llama
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head
from deeplab.nn.parts.wiring import PreNorm, attended

MODELS = {
    "gpt": gpt.GPT(vocab_size=11, **gpt.VARIANTS["test"]),  # contexts of 16
    "llama": llama.Llama(vocab_size=11, **llama.VARIANTS["test"]),
}


class Uncached(nn.Module):
    """A model with a context, and without the methods that fill a cache."""

    model: nn.Module
    context: int = 16

    def __call__(self, tokens, train=False):
        return self.model(tokens, train=train)


class Bigram(nn.Module):
    """The logits of the next token are a row of a table: neither a cache nor a context."""

    vocab_size: int

    @nn.compact
    def __call__(self, tokens, train=False):
        return nn.Embed(self.vocab_size, self.vocab_size, name="table")(tokens)


def table(logits):
    """The variables of a `Bigram`."""
    return {"params": {"table": {"embedding": jnp.asarray(logits, jnp.float32)}}}


@functools.cache
def variables(name):
    made = jax.jit(MODELS[name].init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    return jax.tree.map(lambda p: p * 6 if p.ndim > 1 else p, made)


def prompts(length):
    return jax.random.randint(jax.random.key(length), (2, length), 0, 11)


@functools.partial(jax.jit, static_argnums=0)
def _likeliest_next(name, variables, text, length):
    """After the last 16 of `length` tokens; what follows them in the buffer is not read."""
    start = jnp.maximum(length - 16, 0)
    window = jax.lax.dynamic_slice(text, (0, start), (2, 16))
    return MODELS[name].apply(variables, window)[:, length - start - 1].argmax(-1)


def _likeliest(name, prompt, num_tokens):
    """By hand: the whole window read for each token."""
    text = jnp.zeros((2, 40), jnp.int32).at[:, : prompt.shape[1]].set(prompt)
    for length in range(prompt.shape[1], prompt.shape[1] + num_tokens):
        text = text.at[:, length].set(_likeliest_next(name, variables(name), text, length))
    return text[:, prompt.shape[1] : prompt.shape[1] + num_tokens]


# Inside the context, to its border, over it, from its end, from beyond.
LENGTHS = [(3, 5), (3, 14), (3, 15), (16, 3), (20, 2)]


@pytest.mark.parametrize(("length", "num_tokens"), LENGTHS)
@pytest.mark.parametrize("name", MODELS)
def test_temperature_zero_is_the_most_likely_token_every_time(name, length, num_tokens):
    prompt = prompts(length)
    drawn = generate(MODELS[name], variables(name), prompt, num_tokens, jax.random.key(0), temperature=0.0)
    np.testing.assert_array_equal(drawn, _likeliest(name, prompt, num_tokens))


@pytest.mark.parametrize(("length", "num_tokens"), LENGTHS)
def test_a_model_without_a_cache_draws_the_same_tokens(length, num_tokens):
    prompt, key = prompts(length), jax.random.key(7)
    nested = {"params": {"model": variables("gpt")["params"]}}
    expected = generate(MODELS["gpt"], variables("gpt"), prompt, num_tokens, key)
    np.testing.assert_array_equal(generate(Uncached(MODELS["gpt"]), nested, prompt, num_tokens, key), expected)


@pytest.mark.parametrize("name", ["gpt", "uncached", "bigram"])
@pytest.mark.parametrize("num_tokens", [5, 14])  # within the context of 16; the longer prompts reach beyond it
def test_prompts_of_several_lengths_are_continued_as_if_alone(name, num_tokens):
    model, given = {
        "gpt": (MODELS["gpt"], variables("gpt")),
        "uncached": (Uncached(MODELS["gpt"]), {"params": {"model": variables("gpt")["params"]}}),
        "bigram": (Bigram(11), table(jax.random.normal(jax.random.key(0), (11, 11)))),
    }[name]
    prompt, lengths = jax.random.randint(jax.random.key(1), (3, 7), 0, 11), jnp.array([7, 2, 4])
    settings = {"temperature": 0.0, "repetition_penalty": 1.3}
    together = generate(model, given, prompt, num_tokens, jax.random.key(0), lengths=lengths, **settings)
    for row, length in enumerate(lengths.tolist()):
        alone = generate(model, given, prompt[row : row + 1, :length], num_tokens, jax.random.key(0), **settings)
        np.testing.assert_array_equal(together[row : row + 1], alone)


@pytest.mark.slow
def test_prompts_of_several_lengths_may_be_longer_than_the_context():
    prompt, lengths = prompts(20), jnp.array([20, 3])
    draw = functools.partial(generate, MODELS["gpt"], variables("gpt"), temperature=0.0)
    together = draw(prompt, 4, jax.random.key(0), lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = draw(prompt[row : row + 1, :length], 4, jax.random.key(0))
        np.testing.assert_array_equal(together[row : row + 1], alone)


@pytest.mark.parametrize(("length", "num_tokens"), [(3, 5), (3, 20)])
def test_a_bound_model_draws_what_its_variables_draw(length, num_tokens):
    """As a task is given it: under the caller's `jit`, which decides the precision."""
    prompt, key = prompts(length), jax.random.key(2)

    @jax.jit
    def bound(variables, prompt):
        return generate(MODELS["gpt"], plain(MODELS["gpt"], variables), prompt, num_tokens, key)

    expected = generate(MODELS["gpt"], variables("gpt"), prompt, num_tokens, key)
    np.testing.assert_array_equal(bound(variables("gpt"), prompt), expected)


@pytest.mark.slow
def test_jit_changes_no_token():
    prompt, key = prompts(3), jax.random.key(2)
    eager = generate(MODELS["gpt"], plain(MODELS["gpt"], variables("gpt")), prompt, 6, key)
    np.testing.assert_array_equal(eager, generate(MODELS["gpt"], variables("gpt"), prompt, 6, key))


def test_a_bigram_model_follows_its_table():
    follows = jnp.roll(jnp.eye(5), 2, axis=1)  # after token t comes t + 2
    drawn = generate(Bigram(5), table(follows), jnp.array([[4, 0], [3, 1]]), 4, jax.random.key(0), temperature=0.0)
    assert drawn.tolist() == [[2, 4, 1, 3], [3, 0, 2, 4]]


PROBABILITIES = np.array([0.5, 0.3, 0.15, 0.05])


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"temperature": 1.0}, 4),
        ({"temperature": 0.5}, 4),
        ({"top_k": 2}, 2),
        ({"temperature": 2.0, "top_k": 4}, 4),
        ({"top_p": 0.7}, 2),
        ({"top_p": 0.0}, 1),
        ({"min_p": 0.25}, 3),
        ({"top_p": 0.97, "top_k": 3, "min_p": 0.5}, 2),
    ],
)
def test_frequencies_are_those_of_the_distribution(settings, kept):
    logits = table(np.tile(np.log(PROBABILITIES), (4, 1)))
    prompt = jnp.zeros((500, 1), jnp.int32)
    drawn = generate(Bigram(4), logits, prompt, 12, jax.random.key(3), **settings)
    expected = PROBABILITIES ** (1 / settings.get("temperature", 1.0)) * (np.arange(4) < kept)
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=4) / 6000, expected / expected.sum(), atol=0.02)


def test_a_penalty_makes_what_the_text_holds_less_likely():
    """Tokens 1 and 3 of the prompt, then the one drawn: until all are penalized alike."""
    logits = table(np.tile([1.0, 1.8, 1.5, 1.9], (4, 1)))
    drawn = generate(
        Bigram(4), logits, jnp.array([[3, 1]]), 3, jax.random.key(0), temperature=0.0, repetition_penalty=2.0
    )
    assert drawn.tolist() == [[2, 0, 3]]


def test_the_probabilities_that_top_p_keeps_are_the_fewest_that_suffice():
    logits = jnp.log(jnp.array([[0.1, 0.4, 0.3, 0.2], [0.97, 0.01, 0.01, 0.01]]))
    kept = jnp.isfinite(chain.top_p(logits, 0.75))
    assert kept.astype(int).tolist() == [[0, 1, 1, 1], [1, 0, 0, 0]]


def test_draws_differ_by_row_and_position_and_repeat_by_key():
    logits = table(np.zeros((100, 100)))
    draw = functools.partial(generate, Bigram(100), logits, jnp.zeros((3, 1), jnp.int32))
    drawn = draw(10, jax.random.key(0))
    assert len(np.unique(drawn)) > 20
    np.testing.assert_array_equal(drawn, draw(10, jax.random.key(0)))
    np.testing.assert_array_equal(drawn[:, :6], draw(6, jax.random.key(0)))
    assert (drawn != draw(10, jax.random.key(1))).any()


def test_a_change_of_temperature_does_not_recompile():
    draw = functools.partial(generate, MODELS["gpt"], variables("gpt"), jnp.array([[1, 2]]), 3, jax.random.key(0))
    draw(temperature=0.7, top_p=0.9)
    before = generation._generate_compiled._cache_size()
    draw(temperature=0.9, top_p=0.8)
    assert generation._generate_compiled._cache_size() == before


@pytest.mark.parametrize(
    ("prompt", "lengths", "message"),
    [
        ([1, 2], None, r"the prompt is int32 \[2\], expected integers \[B, T\]"),
        ([[1.0]], None, r"the prompt is float32 \[1, 1\], expected integers \[B, T\]"),
        (np.zeros((1, 0), np.int32), None, r"the prompt is int32 \[1, 0\], expected .* 1 token or more"),
        ([[1, 2]], [3], r"lengths are \[3\], expected 1 to 2"),
        ([[1, 2]], [0], r"lengths are \[0\], expected 1 to 2"),
        ([[1, 2], [3, 4]], [2], r"lengths are \[1\], expected one for each of 2 prompts"),
    ],
)
def test_a_prompt_that_is_none_is_an_error(prompt, lengths, message):
    with pytest.raises(UserError, match=message):
        generate(Bigram(5), {"params": {}}, prompt, 2, jax.random.key(0), lengths=lengths)


def test_parameters_alone_are_no_variables():
    with pytest.raises(UserError, match=r'the variables hold table, expected \{"params": ...\}'):
        generate(Bigram(5), {"table": jnp.zeros((5, 5))}, [[1]], 2, jax.random.key(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_a_prompt_has_integers_of_any_width(dtype):
    """A vocabulary of bytes gives uint8, which the window of a model without a cache refused."""
    prompt = np.array([[1, 2, 3]])
    for model, made in ((MODELS["gpt"], variables("gpt")), (Bigram(5), table(np.eye(5)))):
        given = prompt.astype(dtype), prompt.astype(np.int32)
        drawn = [generate(model, made, tokens, 20, jax.random.key(0)) for tokens in given]
        np.testing.assert_array_equal(*drawn)


class Forgets(nn.Module):
    """A block that drops the cache of its attention."""

    attention: nn.Module

    def __call__(self, x, train, reading, cache):
        y, _ = attended(self.attention, x, train, reading, cache)
        return x + y, None


class Renamed(nn.Module):
    """A block whose attention goes by another name."""

    reader: nn.Module

    def __call__(self, x, train, reading, cache):
        y, cache = attended(self.reader, x, train, reading, cache)
        return x + y, cache


class Mean(nn.Module):
    """An attention without a cache."""

    def __call__(self, x, reading, cache, train):
        return x


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ([Forgets] * 2, r"the Forgets of 'blocks' was given a cache and gave none .* expected \(x, cache\)"),
        ([Forgets, PreNorm] * 2, "the Period of 'blocks' was given a cache"),
        ([Renamed], r"a Renamed tells no cache.*give it a field `attention` that has empty_cache"),
        ([lambda _: PreNorm(Mean(), *[nn.LayerNorm()] * 3)], "a PreNorm tells no cache"),
    ],
)
def test_blocks_of_ones_own_that_lose_the_cache_are_told(kinds, told):
    """One that gave (x, None) wrote other tokens than the model's, since it read the last token alone."""
    sizes = Sizes(vocab_size=11, num_layers=2, num_heads=2, num_kv_heads=2, width=8, hidden=8, context=16)

    def block(kind):
        attention = sizes.attention(rotary=Rotary(4))
        return PreNorm(attention, nn.Dense(8), nn.LayerNorm(), nn.LayerNorm()) if kind is PreNorm else kind(attention)

    model = decoder.Decoder(sizes.embedding(), stacks(kinds, block), nn.LayerNorm(), Head(11), 16)
    prompt = jnp.zeros((1, 4), jnp.int32)
    variables = jax.eval_shape(model.init, jax.random.key(0), prompt)

    def step(variables):
        cache, _ = model.apply(variables, 1, 16, method="start")
        return model.apply(variables, prompt, cache, 0, method="step")

    with pytest.raises(UserError, match=re.compile(told, re.DOTALL)):
        jax.eval_shape(step, variables)
