"""Models of sentences: padding changes nothing, neither logits nor gradients; an example without words is no NaN."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.text.encoders import bilstm, encoder, text_cnn
from deeplab.models.text.encoders.text_cnn import TextCNN, unfold

GIVEN = {"num_classes": 3, "num_features": 20}
MODELS = {
    "cnn": functools.partial(text_cnn.TextCNN, **text_cnn.VARIANTS["test"], **GIVEN),
    "lstm": functools.partial(bilstm.BiLSTM, **bilstm.VARIANTS["test"], **GIVEN),
    "transformer": functools.partial(encoder.Encoder, **encoder.VARIANTS["test"], **GIVEN),
}
each = pytest.mark.parametrize("name", MODELS)
LENGTHS = np.array([5, 1, 3])


def sentences(padding: int) -> jax.Array:
    """Sentences of 5, 1 and 3 words with up to 3 features each, and so many places of padding."""
    tokens = np.random.default_rng(0).integers(1, 20, (3, 5, 3))
    tokens[:, 1::2, 2] = 0
    tokens[np.arange(5)[None] >= LENGTHS[:, None]] = 0
    return jnp.pad(jnp.asarray(tokens), ((0, 0), (0, padding), (0, 2 * padding)))


@functools.cache
def bound(name: str):
    """The model's logits and the gradient of their weighted sum, with weights that are large enough to differ."""
    model = MODELS[name]()
    params = jax.tree.map(lambda p: 4 * p, jax.jit(model.init)(jax.random.key(0), sentences(0))["params"])
    weights = jnp.arange(9.0).reshape(3, 3)

    @jax.jit
    def logits_and_gradient(tokens):
        def total(params):
            logits = model.apply({"params": params}, tokens)
            return jnp.vdot(weights, logits), logits

        gradient, logits = jax.grad(total, has_aux=True)(params)
        return logits, gradient

    return logits_and_gradient


@each
def test_padding_changes_nothing(name):
    logits, gradient = bound(name)(sentences(0))
    padded_logits, padded_gradient = bound(name)(sentences(4))
    assert np.ptp(np.asarray(logits), axis=0).max() > 1e-2
    np.testing.assert_allclose(padded_logits, logits, rtol=1e-5, atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), padded_gradient, gradient)


@each
def test_a_sentence_without_words_is_no_nan(name):
    logits, gradient = bound(name)(jnp.zeros_like(sentences(0)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((logits, gradient)))


@each
def test_the_order_of_words_counts(name):
    tokens = sentences(0)
    there, back = bound(name)(tokens)[0], bound(name)(tokens[:, ::-1])[0]
    assert not np.allclose(there[0], back[0], rtol=1e-3)


def test_cnn_is_its_definition():
    """Kim's equations 2 and 3, written out."""
    model = TextCNN(width=4, windows=(2, 3), filters=5, **GIVEN)
    tokens = sentences(3)
    logits, variables = jax.jit(model.init_with_output)(jax.random.key(0), tokens)
    params = variables["params"]
    p = jax.tree.map(np.asarray, params)
    for n, length in enumerate(LENGTHS):
        words = [np.mean([p["words"]["embedding"][f] for f in word if f], axis=0) for word in tokens[n, :length]]
        pooled = []
        for window in (2, 3):
            around = [np.zeros(4)] * ((window - 1) // 2) + words + [np.zeros(4)] * window
            seen = [np.concatenate(around[t : t + window]) for t in range(length)]
            kernel, bias = p[f"window{window}"]["kernel"], p[f"window{window}"]["bias"]
            pooled.append(np.max([np.maximum(s @ kernel + bias, 0) for s in seen], axis=0))
        np.testing.assert_allclose(
            logits[n], np.concatenate(pooled) @ p["head"]["kernel"] + p["head"]["bias"], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("window", [1, 2, 5])
def test_unfolded_windows_times_a_kernel_are_a_convolution(window):
    x, kernel = jax.random.normal(jax.random.key(0), (2, 6, 3)), jax.random.normal(jax.random.key(1), (window, 3, 4))
    left = (window - 1) // 2
    padding = [(left, window - 1 - left)]
    expected = jax.lax.conv_general_dilated(x, kernel, (1,), padding, dimension_numbers=("NWC", "WIO", "NWC"))
    np.testing.assert_allclose(unfold(x, window) @ kernel.reshape(-1, 4), expected, rtol=1e-4, atol=1e-5)


def test_a_wide_model_adds_what_each_word_says():
    """By hand: the mean of each word's features, added up over the words, over the root of their number."""
    sizes = {"width": 4, "windows": (2,), "filters": 5, **GIVEN}
    tokens = sentences(2)
    params = TextCNN(wide=True, **sizes).init(jax.random.key(0), tokens)["params"]
    deep = {name: tree for name, tree in params.items() if name != "wide"}
    added = TextCNN(wide=True, **sizes).apply({"params": params}, tokens) - TextCNN(**sizes).apply(
        {"params": deep}, tokens
    )
    table = np.asarray(params["wide"]["embedding"])
    said = [
        sum(table[[f for f in word if f]].mean(axis=0) for word in sentence[:count]) / np.sqrt(count)
        for sentence, count in zip(np.asarray(tokens), LENGTHS, strict=True)
    ]
    np.testing.assert_allclose(added, said, rtol=1e-4, atol=1e-6)
