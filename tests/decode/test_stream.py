"""Streamed tokens are those of `generate`; text stops where it is told to, and never shows half of a thing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.decode import stream
from deeplab.decode.generate import generate
from deeplab.models.text.decoders import llama
from deeplab.models.text.recurrent import mamba

# What several layers keep is tested in test_protocol.py.
MODEL = dl.models.Llama(23, **(llama.VARIANTS["test"] | {"num_layers": 1}))
KEY = jax.random.key(7)


@functools.cache
def weights(model=MODEL):
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    return jax.tree.map(lambda x: 3 * x, params)  # so that tokens differ in probability


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
        expected = generate(MODEL, weights(), jnp.array([prompt]), 9, KEY, **settings)[0].tolist()
        assert list(stream.tokens(MODEL, weights(), prompt, 9, KEY, **settings, room=8)) == expected


@pytest.mark.parametrize("token", [23, -1])
def test_a_token_that_the_model_does_not_know(token):
    """A table of 23 rows would give its last one."""
    with pytest.raises(UserError, match=rf"a prompt has token {token}, and the model knows 0 to 22; is the tokenizer"):
        list(stream.tokens(MODEL, weights(), [3, token], 2, KEY))
    with pytest.raises(UserError, match=f"a prompt has token {token}, and the model knows 0 to 22"):
        generate(MODEL, weights(), jnp.array([[3, token]]), 2, KEY)
    generate(MODEL, weights(), jnp.array([[3, token]]), 2, KEY, lengths=jnp.array([1]))  # what fills it up is not read


@pytest.mark.slow
def test_a_state_reads_the_prompt_alone():
    """What fills up a prompt would change a state, as it does not a cache of keys."""
    model = dl.models.Mamba(23, **(mamba.VARIANTS["test"] | {"num_layers": 1}))
    params = weights(model)
    expected = generate(model, params, jnp.array([[3, 4, 5]]), 9, KEY, temperature=0.0)[0].tolist()
    assert list(stream.tokens(model, params, [3, 4, 5], 9, KEY, temperature=0.0, room=8)) == expected


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_a_batch_of_prompts_of_several_lengths_is_what_each_is_alone(family):
    """With keys, and with a state that must not read what fills up the shorter prompts."""
    model, params = MODEL, weights()
    if family == "mamba":
        model = dl.models.Mamba(23, **(mamba.VARIANTS["test"] | {"num_layers": 1}))
        params = weights(model)
    prompts, settings = [[3, 4, 5], [8], [1, 2]], {"temperature": 0.0, "repetition_penalty": 1.3}
    steps = np.stack(list(stream.batch(model, params, prompts, 7, KEY, **settings, room=8)), axis=1)
    for row, prompt in zip(steps, prompts, strict=True):
        alone = list(stream.tokens(model, params, prompt, 7, KEY, **settings, room=8))
        assert row.tolist() == alone
    padded, lengths = jnp.array([[3, 4, 5], [8, 0, 0], [1, 2, 0]]), jnp.array([3, 1, 2])
    draw = {"temperature": 0.9, "top_k": 7}
    drawn = np.stack(list(stream.batch(model, params, prompts, 5, KEY, **draw)), axis=1)
    np.testing.assert_array_equal(drawn, generate(model, params, padded, 5, KEY, lengths=lengths, **draw))


def test_a_batch_stops_row_by_row_and_is_read_no_further():
    """A stop string over three tokens; an end token; a row that goes on; and then all have stopped."""
    rows = ["ab\u00e9!!!wxyz", "a.bcdefghi", "abcdefg!!z"]
    steps = np.array([list(row.encode("latin-1")) for row in rows]).T

    def spelt(ids):
        return bytes(ids).decode("latin-1")

    read = iter(steps)
    found = stream.texts(read, spelt, stop=["!!!", "g!!"], end=[ord(".")])
    assert found == ["ab\u00e9", "a", "abcdef"]
    assert len(list(read)) == len(steps) - len("abcdefg!!")
    assert stream.texts(steps[:4], spelt, stop=["!!!"]) == ["ab\u00e9!", "a.bc", "abcd"]
    assert stream.texts([], lambda _: "", stop=["!"]) == []


@given(
    st.lists(st.text(alphabet="ab!", min_size=9, max_size=9), min_size=1, max_size=4),
    st.lists(st.text(alphabet="ab!", min_size=1, max_size=3), max_size=2),
)
def test_a_batch_is_cut_as_each_row_alone(rows, stop):
    """Tokens of three characters each, so that a stop string lies in them in every way."""
    steps = [[row[n : n + 3] for row in rows] for n in (0, 3, 6)]
    words = sorted({word for step in steps for word in step})
    numbers = np.array([[words.index(word) for word in step] for step in steps])

    def spelt(ids):
        return "".join(words[i] for i in ids)

    alone = ["".join(stream.text(column.tolist(), spelt, stop=stop)) for column in numbers.T]
    assert stream.texts(numbers, spelt, stop=stop) == alone


def test_no_prompt_is_refused():
    with pytest.raises(dl.UserError, match="no prompts were given, expected one at least"):
        next(stream.batch(MODEL, weights(), [], 3, KEY))


def test_the_context_is_the_end():
    context = MODEL.context
    found = list(stream.tokens(MODEL, weights(), [1] * (context - 2), 9, KEY))
    assert found == generate(MODEL, weights(), jnp.ones((1, context - 2), int), 3, KEY)[0].tolist()
    with pytest.raises(dl.UserError, match=f"the prompt has {context} tokens, expected 1 to {context - 1}"):
        next(stream.tokens(MODEL, weights(), [1] * context, 9, KEY))


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


def test_what_stops_may_be_given_alone():
    """Not the letters of a string, of which the first would end a text in silence."""
    steps = np.array([[0], [1], [2], [3]])
    decode = lambda ids: "".join("ab!c"[i] for i in ids)  # noqa: E731
    for stop in ("!c", ["!c"]):
        assert "".join(stream.text(steps[:, 0], decode, stop=stop)) == "ab"
        assert stream.texts(steps, decode, stop=stop) == ["ab"]
    for end in (2, np.int64(2)):
        assert "".join(stream.text(steps[:, 0], decode, end=end)) == "ab"
        assert stream.texts(steps, decode, end=end) == ["ab"]
    with pytest.raises(UserError, match="a stop string is empty"):
        stream.texts(steps, decode, stop=[""])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0, expected 0 or more"),
        ({"top_k": 0}, "top_k is 0, expected 1 or more"),
        ({"num_tokens": 0}, "num_tokens is 0, expected 1 or more"),
    ],
)
def test_a_setting_out_of_its_range_is_an_error(setting, message):
    with pytest.raises(UserError, match=message):
        stream.tokens(MODEL, weights(), [1], **{"num_tokens": 2, "key": KEY, **setting})


def test_a_text_is_no_prompt():
    with pytest.raises(UserError, match=r"a prompt is a text, expected its tokens"):
        next(stream.tokens(MODEL, weights(), "hello", 2, KEY))
