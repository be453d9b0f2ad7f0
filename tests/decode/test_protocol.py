"""The protocol: reading through a cache, or through a window, is reading at once; for decoders and encoder-decoders."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.decode.beam import beam_search
from deeplab.decode.generate import generate
from deeplab.decode.protocol import cached, has_cache, plain, windowed
from deeplab.models.text.decoders import deepseek, gemma, gpt, llama
from deeplab.models.text.seq2seq import attention_rnn, bart, t5, transformer

V, T = 11, 16
DECODERS = {
    "gpt": gpt.GPT(vocab_size=V, **gpt.VARIANTS["test"]),
    "llama": llama.Llama(vocab_size=V, **llama.VARIANTS["test"]),
    "gemma": gemma.SandwichGemma(vocab_size=V, **gemma.VARIANTS["test"]),  # layers of two kinds
    "deepseek": deepseek.DeepSeekV3(vocab_size=V, **deepseek.VARIANTS["test"]),  # a cache of another kind
}
TRANSLATORS = {
    "transformer": transformer.Transformer(vocab_size=V, **transformer.VARIANTS["test"]),
    "attention_rnn": attention_rnn.AttentionRNN(vocab_size=V, **attention_rnn.VARIANTS["test"]),
    "t5": t5.T5(vocab_size=V, **t5.VARIANTS["test"]),
    "bart": bart.Bart(vocab_size=V, **bart.VARIANTS["test"]),  # norms after the branches
}
MODELS = DECODERS | TRANSLATORS
SLOW = ("gemma", "deepseek", "bart")


def chosen(models):
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in models]


TOKENS = jax.random.randint(jax.random.key(1), (2, T), 0, V)
SOURCE = jnp.array([[3, 4, 5, 6, 2, 0], [7, 8, 2, 0, 0, 0]])
SEGMENTS = (SOURCE > 0).astype(jnp.int32)


def inputs(name):
    """What the whole model reads."""
    return (TOKENS,) if name in DECODERS else (SOURCE, SEGMENTS, TOKENS, jnp.ones_like(TOKENS))


@functools.cache
def bound(name):
    """The model with weights large enough for its outputs to differ, and its logits of all tokens at once."""
    model = MODELS[name]
    variables = jax.jit(model.init)(jax.random.key(0), *inputs(name))
    variables = jax.tree.map(lambda p: p * (6 if name in DECODERS else 3) if p.ndim > 1 else p, variables)
    return variables, jax.jit(model.apply)(variables, *inputs(name))


def source_of(name):
    return (2,) if name in DECODERS else (SOURCE, SEGMENTS)


def decoder(name, length=T, sequences=1):
    return cached(plain(MODELS[name], bound(name)[0]), *source_of(name), length=length, sequences=sequences)


def read(decoder, pieces, index=0):
    """The logits of all tokens, read in pieces."""
    step, cache, outs = jax.jit(decoder.step), decoder.cache, []
    for size in pieces:
        out, cache = step(TOKENS[:, index : index + size], cache, index)
        outs.append(out)
        index += size
    return jnp.concatenate(outs, axis=1)


@pytest.mark.parametrize("pieces", [(1,) * T, (5, 1, 10)])
@pytest.mark.parametrize("name", chosen(MODELS))
def test_a_cache_is_reading_at_once(name, pieces):
    """So logits depend on the past alone, and on their positions."""
    np.testing.assert_allclose(read(decoder(name), pieces), bound(name)[1], atol=1e-4)


@pytest.mark.parametrize("pieces", [(1,) * T, (5, 1, 10)])
@pytest.mark.parametrize("name", chosen(DECODERS))
def test_a_window_is_reading_at_once_within_the_context(name, pieces):
    variables, expected = bound(name)
    window = windowed(plain(MODELS[name], variables), 2, length=T, context=T)
    np.testing.assert_allclose(read(window, pieces), expected, atol=1e-4)


def test_a_window_beyond_the_context_holds_the_last_tokens():
    variables, _ = bound("gpt")
    apply = plain(MODELS["gpt"], variables)
    last = read(windowed(apply, 2, length=T, context=5), (4,) + (1,) * 12)[:, -1]
    np.testing.assert_allclose(last, apply(TOKENS[:, -5:])[0][:, -1], atol=1e-4)


@pytest.mark.parametrize("name", chosen(MODELS))
def test_jit_changes_nothing(name):
    start = decoder(name)
    eager, _ = start.step(TOKENS[:, :3], start.cache, 0)
    compiled, _ = jax.jit(start.step)(TOKENS[:, :3], start.cache, 0)
    np.testing.assert_allclose(eager, compiled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", chosen(MODELS))
def test_every_leaf_of_a_cache_has_the_batch_first(name):
    assert {len(leaf) for leaf in jax.tree.leaves(decoder(name).cache)} == {2}


@pytest.mark.parametrize("name", chosen(DECODERS))
def test_a_beam_of_one_is_sampling_at_temperature_zero(name):
    """After a prompt; no token ends a sequence."""
    variables, _ = bound(name)
    greedy = generate(MODELS[name], variables, TOKENS[:, :4], 6, jax.random.key(0), temperature=0.0)
    for start in (decoder(name), windowed(plain(MODELS[name], variables), 2, length=T)):
        _, cache = start.step(TOKENS[:, :3], start.cache, 0)
        begin = {"begin": TOKENS[:, 3], "cache_index": 3, "end": -1}
        tokens, _, _ = beam_search(start._replace(cache=cache), beam=1, length=6, **begin)
        np.testing.assert_array_equal(tokens[:, 0], greedy)


@pytest.mark.parametrize("name", chosen(TRANSLATORS))
def test_a_beam_of_one_takes_the_most_likely_token_every_time(name):
    start = decoder(name)
    tokens, _, _ = beam_search(start, beam=1, length=6, begin=1, end=-1)
    token, cache = jnp.full((2, 1), 1), start.cache
    for n in range(6):
        logits, cache = start.step(token, cache, n)
        token = logits.argmax(-1)
        np.testing.assert_array_equal(tokens[:, 0, n], token[:, 0])
    variables, begin = bound(name)[0], jnp.full((2, 1), 1)
    source = {"source": source_of(name)}
    greedy = generate(MODELS[name], variables, begin, 6, jax.random.key(0), **source, temperature=0.0)
    np.testing.assert_array_equal(tokens[:, 0], greedy)


@pytest.mark.parametrize("name", chosen(MODELS))
def test_beams_carry_their_caches_with_them(name):
    """The log probability of each sequence found is that of reading it from its beginning."""
    search = jax.jit(lambda cache: beam_search(start._replace(cache=cache), beam=3, length=5, begin=1, end=-1))
    start = decoder(name, sequences=3)
    tokens, _, log_probs = search(start.cache)
    for beam in range(3):
        one = decoder(name)
        written = jnp.concatenate([jnp.ones((2, 1), jnp.int32), tokens[:, beam]], axis=1)
        logits, _ = one.step(written[:, :-1], one.cache, 0)
        steps = jnp.take_along_axis(jax.nn.log_softmax(logits), written[:, 1:, None], axis=-1)
        np.testing.assert_allclose(log_probs[:, beam], steps[..., 0].sum(axis=1), rtol=1e-4)


def test_a_target_beyond_the_context_is_refused():
    """A window of it would lose its beginning, and the positions that the encoder's reader knows."""
    model, begin, source = MODELS["bart"], jnp.ones((2, 3), jnp.int32), (SOURCE, SEGMENTS)
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs("bart"))
    how = {"source": source, "temperature": 0.0}
    with pytest.raises(UserError, match=r"15 tokens after 3 do not fit the context of 16.* ask for 14"):
        generate(model, variables, begin, 15, jax.random.key(0), **how)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), variables)
    assert generate(model, zeros, begin, 14, jax.random.key(0), **how).shape == (2, 14)


def test_a_model_without_the_methods_has_no_cache():
    assert all(has_cache(model) for model in MODELS.values())
    assert not has_cache(object())


@pytest.mark.parametrize("name", chosen([*DECODERS, "t5", "bart"]))
def test_a_cache_has_the_dtype_of_the_parameters(name):
    """So 16-bit parameters need 16-bit caches, and a step gives back what it was given."""
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), bound(name)[0])
    start = cached(plain(MODELS[name], half), *source_of(name), length=T)
    _, cache = jax.eval_shape(start.step, TOKENS[:, :3], start.cache, 0)
    assert {leaf.dtype for leaf in jax.tree.leaves((start.cache, cache))} == {jnp.dtype("bfloat16")}
