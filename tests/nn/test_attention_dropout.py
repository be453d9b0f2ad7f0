"""Dropout of attention probabilities in the composed models: as transformers drops, of a softmax, without a new sum."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.speech import wav2vec2, whisper
from deeplab.models.text.encoders import bert, modernbert
from deeplab.models.text.seq2seq import bart, t5
from deeplab.models.vision.transformers import vit
from deeplab.nn.attention.cache import Reading
from deeplab.nn.attention.cross import CrossAttention
from deeplab.nn.attention.grouped import GroupedQueryAttention

T, RATE = 6, 0.3
X = jnp.eye(T)[None]


def weights(rate, train, key):
    """The weights of one head whose values are the unit vectors [T, T]."""
    layer = GroupedQueryAttention(1, 1, causal=False, dropout=rate)
    drawn = jax.random.normal(jax.random.key(5), (2, T, T))
    kernels = {"query": drawn[0], "key": drawn[1], "value": jnp.eye(T), "out": jnp.eye(T)}
    params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
    return layer.apply({"params": params}, X, Reading(jnp.arange(T)), None, train, rngs={"dropout": key})[0]


def test_a_weight_is_dropped_or_grows():
    whole = weights(0.0, False, jax.random.key(0))
    np.testing.assert_array_equal(weights(0.0, True, jax.random.key(1)), whole)
    np.testing.assert_array_equal(weights(RATE, False, jax.random.key(1)), whole)
    dropped = jax.jit(jax.vmap(lambda key: weights(RATE, True, key)))(jax.random.split(jax.random.key(2), 4000))
    gone = dropped == 0
    np.testing.assert_allclose(dropped, np.where(gone, 0, whole / (1 - RATE)), rtol=1e-5)
    assert abs(gone.mean() - RATE) < 0.01
    # The standard error of the mean of 4,000 is w sqrt(p / (1 - p) / 4000), about 0.01 w.
    np.testing.assert_allclose(dropped.mean(axis=0), whole, rtol=0.06)


TOKENS, IMAGE, SOUND = jnp.array([[1, 2, 3, 4, 5, 6]]), jnp.ones((1, 16, 16, 3)), jnp.linspace(-1, 1, 128)
FAMILIES = {
    "bert": (functools.partial(bert.Bert, vocab_size=9, num_classes=3, **bert.VARIANTS["test"]), (TOKENS,)),
    "modernbert": (
        functools.partial(modernbert.ModernBert, vocab_size=9, num_classes=3, **modernbert.VARIANTS["test"]), (TOKENS,),
    ),
    "vit": (functools.partial(vit.ViT, num_classes=3, **vit.VARIANTS["test"]), (IMAGE,)),
    "wav2vec2": (functools.partial(wav2vec2.Wav2Vec2, num_tokens=5, **wav2vec2.VARIANTS["test"]), (SOUND[None],)),
    "t5": (functools.partial(t5.T5, vocab_size=9, **t5.VARIANTS["test"]), (TOKENS, None, TOKENS)),
    "bart": (functools.partial(bart.Bart, vocab_size=9, **bart.VARIANTS["test"]), (TOKENS, None, TOKENS)),
    "whisper": (
        functools.partial(whisper.Whisper, vocab_size=9, **whisper.VARIANTS["test"]),
        (SOUND.reshape(1, 16, 8), None, TOKENS),
    ),
}  # fmt: skip
DAILY = ("bert",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in FAMILIES]
)
def test_a_family_drops_in_training_alone(name):
    make, inputs = FAMILIES[name]
    plain, drops = make(), make(attention_dropout=0.5)
    variables = jax.jit(lambda key: plain.init(key, *inputs))(jax.random.key(0))
    # Larger kernels: the first weights are so small that all scores are nearly equal.
    variables = jax.tree.map(lambda p: p * 20 if p.ndim > 1 else p, variables)

    def outputs(model, train):
        return model.apply(variables, *inputs, train=train, rngs={"dropout": jax.random.key(1)})

    np.testing.assert_array_equal(outputs(drops, False), outputs(plain, False))
    assert np.abs(outputs(drops, True) - outputs(plain, True)).max() > 1e-3


def test_what_is_read_of_a_memory_is_dropped():
    layer, states = CrossAttention(width=4, num_heads=1, dropout=0.5), jax.random.normal(jax.random.key(3), (1, 64, 4))
    variables = layer.init(jax.random.key(0), X[:, :, :4], states)
    found = [
        layer.apply(variables, X[:, :, :4], states, None, train, rngs={"dropout": jax.random.key(1)})
        for train in (False, True)
    ]
    np.testing.assert_array_equal(found[0], CrossAttention(width=4, num_heads=1).apply(variables, X[:, :, :4], states))
    assert np.abs(found[1] - found[0]).max() > 1e-3
