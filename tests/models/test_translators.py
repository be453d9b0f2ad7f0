"""Models of translation: decoding with a cache is reading at once; neither padding nor neighbours change a thing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.text.seq2seq import attention_rnn, transformer

V = 11
MODELS = {
    "transformer": transformer.Transformer(vocab_size=V, **transformer.VARIANTS["test"]),
    "attention_rnn": attention_rnn.AttentionRNN(vocab_size=V, **attention_rnn.VARIANTS["test"]),
}
each = pytest.mark.parametrize("name", MODELS)

SOURCE = jnp.array([[3, 4, 5, 6, 2, 0], [7, 8, 2, 0, 0, 0]])
TARGET = jnp.array([[1, 9, 8, 7], [1, 5, 5, 0]])


def marked(tokens):
    return (tokens > 0).astype(jnp.int32)


GIVEN = SOURCE, marked(SOURCE), TARGET, marked(TARGET)


@functools.cache
def variables(name):
    made = jax.jit(MODELS[name].init)(jax.random.key(0), *GIVEN)
    return jax.tree.map(lambda p: 3 * p if p.ndim > 1 else p, made)  # far from uniform


@each
def test_decoding_token_by_token_is_reading_at_once(name):
    model = MODELS[name]
    made = variables(name)
    expected = jax.jit(model.apply)(made, *GIVEN)
    memory, cache = jax.jit(lambda *source: model.apply(made, *source, 7, method="start"))(SOURCE, marked(SOURCE))

    @jax.jit
    def decode(token, position, cache):
        return model.apply(made, token, position, memory, cache, method="decode")

    for place in range(TARGET.shape[1]):
        logits, cache = decode(TARGET[:, place], jnp.int32(place), cache)
        real = np.flatnonzero(TARGET[:, place] > 0)
        np.testing.assert_allclose(logits[real], expected[real, place], atol=2e-5)


@each
def test_padding_changes_nothing(name):
    model = MODELS[name]
    made = variables(name)
    apply = jax.jit(model.apply)
    expected = apply(made, *GIVEN)
    wide = jnp.pad(SOURCE, ((0, 0), (0, 3))), jnp.pad(marked(SOURCE), ((0, 0), (0, 3)))
    wide = wide[0].at[:, 6:].set(9), wide[1]
    long = jnp.pad(TARGET, ((0, 0), (0, 2)), constant_values=9), jnp.pad(marked(TARGET), ((0, 0), (0, 2)))
    changed = apply(made, *wide, *long)
    np.testing.assert_allclose(changed[0, :4], expected[0], atol=2e-5)
    np.testing.assert_allclose(changed[1, :3], expected[1, :3], atol=2e-5)


@each
def test_attention_is_over_the_source(name):
    model = MODELS[name]
    seen = jax.jit(functools.partial(model.apply, method="attention"))(variables(name), *GIVEN)
    assert seen.shape == (2, 4, 6)
    np.testing.assert_allclose(seen[0].sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(seen[1, :3].sum(axis=-1), 1, rtol=1e-5)
    assert not seen[0, :, 5:].any()
    assert not seen[1, :3, 3:].any()


def test_pairs_that_share_a_row_are_read_as_if_alone():
    model, made = MODELS["transformer"], variables("transformer")
    apply = jax.jit(model.apply)
    apart = apply(made, *GIVEN)
    row = (
        jnp.array([[3, 4, 5, 6, 2, 7, 8, 2, 0]]),
        jnp.array([[1, 1, 1, 1, 1, 2, 2, 2, 0]]),
        jnp.array([[1, 9, 8, 7, 1, 5, 5]]),
        jnp.array([[1, 1, 1, 1, 2, 2, 2]]),
    )
    together = apply(made, *row)
    np.testing.assert_allclose(together[0, :4], apart[0], atol=2e-5)
    np.testing.assert_allclose(together[0, 4:], apart[1, :3], atol=2e-5)
