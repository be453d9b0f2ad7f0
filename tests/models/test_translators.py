"""Models of translation: neither padding nor neighbors change their outputs; attention is over the source."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.text.seq2seq import attention_rnn, bart, t5, transformer

V = 11
MODELS = {
    "transformer": transformer.Transformer(vocab_size=V, **transformer.VARIANTS["test"]),
    "attention_rnn": attention_rnn.AttentionRNN(vocab_size=V, **attention_rnn.VARIANTS["test"]),
    "t5": t5.T5(vocab_size=V, **t5.VARIANTS["test"]),
    "bart": bart.Bart(vocab_size=V, **bart.VARIANTS["test"]),
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("transformer", "bart")]
each = pytest.mark.parametrize("name", ["attention_rnn", "t5", *SLOW])

SOURCE = jnp.array([[3, 4, 5, 6, 2, 0], [7, 8, 2, 0, 0, 0]])
TARGET = jnp.array([[1, 9, 8, 7], [1, 5, 5, 0]])


def marked(tokens):
    return (tokens > 0).astype(jnp.int32)


INPUTS = SOURCE, marked(SOURCE), TARGET, marked(TARGET)


@functools.cache
def variables(name):
    made = jax.jit(MODELS[name].init)(jax.random.key(0), *INPUTS)
    return jax.tree.map(lambda p: 3 * p if p.ndim > 1 else p, made)  # far from uniform


@each
def test_padding_changes_nothing(name):
    model = MODELS[name]
    made = variables(name)
    apply = jax.jit(model.apply)
    expected = apply(made, *INPUTS)
    wide = jnp.pad(SOURCE, ((0, 0), (0, 3))), jnp.pad(marked(SOURCE), ((0, 0), (0, 3)))
    wide = wide[0].at[:, 6:].set(9), wide[1]
    long = jnp.pad(TARGET, ((0, 0), (0, 2)), constant_values=9), jnp.pad(marked(TARGET), ((0, 0), (0, 2)))
    changed = apply(made, *wide, *long)
    np.testing.assert_allclose(changed[0, :4], expected[0], atol=2e-5)
    np.testing.assert_allclose(changed[1, :3], expected[1, :3], atol=2e-5)


@each
def test_attention_is_over_the_source(name):
    model = MODELS[name]
    seen = jax.jit(functools.partial(model.apply, method="attention"))(variables(name), *INPUTS)
    assert seen.shape == (2, 4, 6)
    np.testing.assert_allclose(seen[0].sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(seen[1, :3].sum(axis=-1), 1, rtol=1e-5)
    assert not seen[0, :, 5:].any()
    assert not seen[1, :3, 3:].any()


@pytest.mark.parametrize("name", ["t5", *SLOW])
def test_pairs_that_share_a_row_are_read_as_if_alone(name):
    model, made = MODELS[name], variables(name)
    apply = jax.jit(model.apply)
    apart = apply(made, *INPUTS)
    row = (
        jnp.array([[3, 4, 5, 6, 2, 7, 8, 2, 0]]),
        jnp.array([[1, 1, 1, 1, 1, 2, 2, 2, 0]]),
        jnp.array([[1, 9, 8, 7, 1, 5, 5]]),
        jnp.array([[1, 1, 1, 1, 2, 2, 2]]),
    )
    together = apply(made, *row)
    np.testing.assert_allclose(together[0, :4], apart[0], atol=2e-5)
    np.testing.assert_allclose(together[0, 4:], apart[1, :3], atol=2e-5)
