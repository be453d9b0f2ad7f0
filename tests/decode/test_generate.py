"""Sampling: with the cache as without, the likeliest tokens at temperature 0, the right frequencies above it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.decode.generate import generate
from deeplab.models.text.decoders.gpt import GPT, VARIANTS

MODEL = GPT(vocab_size=11, **VARIANTS["test"])  # a context of 16


@pytest.fixture(scope="module")
def variables():
    variables = jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    return jax.tree.map(lambda p: p * 6 if p.ndim > 1 else p, variables)


@jax.jit
def _likeliest_next(variables, text, length):
    """After the last 16 of `length` tokens; what follows them in the buffer is not seen."""
    start = jnp.maximum(length - 16, 0)
    window = jax.lax.dynamic_slice(text, (0, start), (2, 16))
    return MODEL.apply(variables, window)[:, length - start - 1].argmax(-1)


def _likeliest(variables, prompt, num_tokens):
    """By hand: the whole window read for each token."""
    text = jnp.zeros((2, 40), jnp.int32).at[:, : prompt.shape[1]].set(prompt)
    for length in range(prompt.shape[1], prompt.shape[1] + num_tokens):
        text = text.at[:, length].set(_likeliest_next(variables, text, length))
    return text[:, prompt.shape[1] : prompt.shape[1] + num_tokens]


@pytest.mark.parametrize(
    ("length", "num_tokens"), [(3, 5), (3, 14), (3, 15), (16, 3), (20, 2)]
)  # inside the context, to its border, over it, from its end, from beyond
def test_temperature_zero_is_the_likeliest_token_every_time(variables, length, num_tokens):
    prompt = jax.random.randint(jax.random.key(length), (2, length), 0, 11)
    drawn = generate(MODEL, variables, prompt, num_tokens, jax.random.key(0), temperature=0.0)
    np.testing.assert_array_equal(drawn, _likeliest(variables, prompt, num_tokens))


@dataclasses.dataclass(frozen=True)
class Frequencies:
    """A decoder without memory: the same logits everywhere."""

    context: int = 4

    def apply(self, variables: Any, tokens: Any, position: Any = None, mutable: Any = None) -> Any:
        logits = jnp.broadcast_to(variables["logits"], (*tokens.shape, len(variables["logits"])))
        return logits if mutable is None else (logits, {})


PROBABILITIES = np.array([0.5, 0.3, 0.15, 0.05])


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (1.0, 2), (2.0, 4)])
def test_frequencies_are_those_of_the_distribution(temperature, top_k):
    logits = {"logits": jnp.log(jnp.asarray(PROBABILITIES))}
    prompt = jnp.zeros((500, 1), jnp.int32)
    drawn = generate(Frequencies(), logits, prompt, 12, jax.random.key(3), temperature=temperature, top_k=top_k)
    expected = PROBABILITIES ** (1 / temperature) * (np.arange(4) < (top_k or 4))
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=4) / 6000, expected / expected.sum(), atol=0.02)


def test_draws_differ_by_row_and_place_and_repeat_by_key():
    logits = {"logits": jnp.zeros(100)}
    prompt = jnp.zeros((3, 1), jnp.int32)
    drawn = generate(Frequencies(), logits, prompt, 10, jax.random.key(0))
    assert len(np.unique(drawn)) > 20
    np.testing.assert_array_equal(drawn, generate(Frequencies(), logits, prompt, 10, jax.random.key(0)))
    np.testing.assert_array_equal(drawn[:, :6], generate(Frequencies(), logits, prompt, 6, jax.random.key(0)))
    assert (drawn != generate(Frequencies(), logits, prompt, 10, jax.random.key(1))).any()


def test_a_change_of_temperature_does_not_recompile(variables):
    prompt = jnp.array([[1, 2]])
    generate(MODEL, variables, prompt, 3, jax.random.key(0), temperature=0.7)
    before = generate._cache_size()
    generate(MODEL, variables, prompt, 3, jax.random.key(0), temperature=0.9)
    assert generate._cache_size() == before
