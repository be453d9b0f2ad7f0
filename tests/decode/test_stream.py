"""Streamed tokens are those of `generate`; text stops where it is told to, and never shows half of a thing."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deeplab as dl
from deeplab.decode import stream
from deeplab.decode.generate import generate
from deeplab.models.text.decoders import llama
from deeplab.models.text.recurrent import mamba

MODEL = dl.models.Llama(23, **llama.VARIANTS["test"])
PARAMS = MODEL.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
PARAMS = jax.tree.map(lambda x: 3 * x, PARAMS)  # so that tokens differ in probability
KEY = jax.random.key(7)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"temperature": 0.8, "top_k": 5},
        {"top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.5},
    ],
)
def test_streamed_is_generated(settings):
    for prompt in ([3, 4, 5], [8]):
        expected = generate(MODEL, PARAMS, jnp.array([prompt]), 9, KEY, **settings)[0].tolist()
        assert list(stream.tokens(MODEL, PARAMS, prompt, 9, KEY, **settings, room=8)) == expected


def test_a_state_reads_the_prompt_alone():
    """What fills up a prompt would change a state, as it does not a cache of keys."""
    model = dl.models.Mamba(23, **mamba.VARIANTS["test"])
    params = jax.tree.map(lambda x: 3 * x, model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))
    expected = generate(model, params, jnp.array([[3, 4, 5]]), 9, KEY, temperature=0.0)[0].tolist()
    assert list(stream.tokens(model, params, [3, 4, 5], 9, KEY, temperature=0.0, room=8)) == expected


def test_the_context_is_the_end():
    context = MODEL.context
    found = list(stream.tokens(MODEL, PARAMS, [1] * (context - 2), 9, KEY))
    assert found == generate(MODEL, PARAMS, jnp.ones((1, context - 2), int), 3, KEY)[0].tolist()
    with pytest.raises(dl.UserError, match=f"the prompt has {context} tokens, expected 1 to {context - 1}"):
        next(stream.tokens(MODEL, PARAMS, [1] * context, 9, KEY))


def decode(ids):
    return bytes(ids).decode("utf-8", "replace")


@given(
    st.text(alphabet="ab!\u00e9\u4e2d", max_size=12),
    st.lists(st.text(alphabet="ab!", min_size=1, max_size=3), max_size=2),
)
def test_pieces_are_the_text_up_to_a_stop_string(whole, stop):
    pieces = list(stream.text(whole.encode(), decode, stop=stop))
    # The first that is complete ends it, where a shorter one may begin later.
    complete = min((whole.find(word) + len(word) for word in stop if word in whole), default=None)
    kept = whole if complete is None else whole[: min(whole.find(word) for word in stop if word in whole[:complete])]
    assert "".join(pieces) == kept
    assert all(pieces)
    assert "\ufffd" not in "".join(pieces)


def test_pieces_come_as_soon_as_they_are_sure():
    assert list(stream.text(b"ab!a!!", decode, stop=["!!"])) == ["a", "b", "!a"]
    assert list(stream.text("\u00e9!".encode(), decode)) == ["\u00e9", "!"]
    assert list(stream.text(b"abc", decode, end=[ord("c")])) == ["a", "b"]
    assert list(stream.text([], decode)) == []
