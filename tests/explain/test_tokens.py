"""Attention, tokens and generated text: any model's, by its taps; each value is computed another way."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import explain
from deeplab.core.errors import UserError
from deeplab.models.text.decoders import llama
from deeplab.models.text.encoders import bert
from deeplab.models.text.seq2seq import t5
from deeplab.models.vision.transformers import vit

targets = explain.targets
RNG = np.random.default_rng(0)
TOKENS = jnp.asarray(RNG.integers(1, 60, (2, 5)))
IMAGES = jnp.asarray(RNG.normal(size=(2, 16, 16, 3)), jnp.float32)


def function(model, *inputs):
    with jax.ensure_compile_time_eval():  # the first call may be within a program that is traced
        variables = jax.jit(model.init)(jax.random.key(0), *inputs)
        leaves, structure = jax.tree.flatten(variables)
        rng = np.random.default_rng(1)
        leaves = [leaf + jnp.asarray(0.2 * rng.normal(size=leaf.shape), leaf.dtype) for leaf in leaves]
    return lambda *inputs: model.apply(jax.tree.unflatten(structure, leaves), *inputs)


@functools.cache
def language():
    return function(llama.Llama(vocab_size=65, **llama.VARIANTS["test"]), TOKENS)


@functools.cache
def sentences():
    return function(bert.Bert(vocab_size=65, num_classes=3, **bert.VARIANTS["test"]), TOKENS)


@pytest.mark.slow
def test_attention_of_every_model():
    def shape(f, *inputs, **options):
        return jax.eval_shape(lambda *inputs: explain.attention(f, *inputs, **options), *inputs).shape

    assert shape(language(), TOKENS) == (2, 2, 4, 5, 5)
    assert shape(sentences(), TOKENS) == (2, 2, 2, 5, 5)
    image = function(vit.ViT(num_classes=3, **vit.VARIANTS["test"]), IMAGES)
    weights = jax.jit(lambda x: explain.attention(image, x))(IMAGES)
    np.testing.assert_allclose(explain.rollout(weights).sum(axis=-1), 1, atol=1e-6)
    source = jnp.asarray(RNG.integers(1, 60, (2, 7)))
    inputs = source, jnp.ones_like(source, bool), TOKENS
    translator = function(t5.T5(vocab_size=65, **t5.VARIANTS["test"]), *inputs)
    shapes = {within: shape(translator, *inputs, within=within)[-2:]
              for within in ("encoder", "blocks/attention", "blocks/cross")}  # fmt: skip
    assert shapes == {"encoder": (7, 7), "blocks/attention": (5, 5), "blocks/cross": (5, 7)}
    with pytest.raises(
        UserError, match=r"several shapes; give within= one of \['blocks/attention', 'blocks/cross', 'enc"
    ):
        explain.attention(translator, *inputs)


def test_rollout_and_relevance_by_hand():
    weights = jax.nn.softmax(jnp.asarray(RNG.normal(size=(3, 1, 2, 4, 4)), jnp.float32))
    expected = np.eye(4)
    for layer in np.asarray(weights)[:, 0]:
        expected = (0.5 * layer.mean(axis=0) + 0.5 * np.eye(4)) @ expected
    np.testing.assert_allclose(explain.rollout(weights)[0], expected, rtol=1e-5)

    found = jax.jit(lambda x: explain.attention_relevance(sentences(), x, target=1))(TOKENS)
    weights, slopes = jax.jit(lambda x: explain.attention_gradients(sentences(), x, target=1))(TOKENS)
    weights, slopes = np.asarray(weights), np.asarray(slopes)
    R = np.tile(np.eye(5), (2, 1, 1))
    for A, slope in zip(weights, slopes, strict=True):
        R = R + np.maximum(A * slope, 0).mean(axis=1) @ R
    np.testing.assert_allclose(found, R, rtol=1e-5)
    move = jnp.zeros_like(weights[1]).at[0, 1, 2, 3].set(0.01)
    moved = jax.jit(lambda s: explain.edited(sentences(), {"attention_weights[1]": lambda w: w + s * move})(TOKENS))
    np.testing.assert_allclose((moved(1.0) - moved(-1.0))[0, 1] / 0.02, slopes[1, 0, 1, 2, 3], rtol=1e-2)


@pytest.mark.parametrize("method", [explain.deeplift, explain.integrated_gradients], ids=["deeplift", "ig"])
@pytest.mark.parametrize(
    "baseline",
    [0, pytest.param(0.0, marks=pytest.mark.slow), pytest.param(jnp.arange(65), marks=pytest.mark.slow)],
    ids=["pad", "zero", "mean"],
)
def test_tokens_add_up(method, baseline):
    """To the difference from the score of a text whose embeddings are the baseline's, whatever that is."""
    found = jax.jit(lambda x: explain.by_token(method, sentences(), x, baseline, target=1))(TOKENS)
    upto, rest = explain.split(sentences(), explain.embedding_tap(sentences(), TOKENS))
    absent = jnp.zeros((2, 5, 32))
    if not isinstance(baseline, float):
        embed = jax.jit(upto)
        each = [embed(jnp.full_like(TOKENS, token)) for token in np.atleast_1d(baseline)]
        absent = sum(each) / len(each)
    difference = jax.jit(lambda x: rest(upto(x), x) - rest(absent, x))(TOKENS)[:, 1]
    np.testing.assert_allclose(found.values.sum(axis=1), difference, rtol=1e-3, atol=1e-4)


def test_padding_gets_nothing():
    padded = TOKENS.at[0, 3:].set(0)
    found = jax.jit(lambda x: explain.by_token(explain.gradient, sentences(), x, target=0, mask=x > 0))(padded)
    np.testing.assert_array_equal(found.values[0, 3:], 0)
    assert np.abs(found.values[0, :3]).min() > 0


@pytest.mark.slow
def test_every_step_is_the_explanation_of_its_word():
    found = jax.jit(lambda x: explain.by_step(explain.input_x_gradient, language(), x, start=2, chunk=2))(TOKENS)
    assert found.shape == (2, 3, 5)

    @jax.jit
    def alone(t, word):
        target = targets.position(t - 1, targets.logprob(word))
        return explain.by_token(explain.input_x_gradient, language(), TOKENS, target=target).values

    for g, t in enumerate((2, 3, 4)):
        np.testing.assert_array_equal(found[:, g, t:], 0)  # what is not written yet
        np.testing.assert_allclose(found[:, g], alone(t, TOKENS[:, t]), rtol=1e-4, atol=1e-6)


def test_steps_of_a_text_add_up_to_that_of_the_whole():
    steps = jax.jit(lambda x: explain.by_step(explain.gradient, language(), x, start=1).sum(axis=1))(TOKENS)
    shifted = jnp.roll(TOKENS, -1, axis=1)
    whole = targets.seq_logprob(shifted, jnp.arange(5)[None] < jnp.full((2, 1), 4))
    found = jax.jit(lambda x: explain.by_token(explain.gradient, language(), x, target=whole).values)(TOKENS)
    np.testing.assert_allclose(steps, found, rtol=1e-4, atol=1e-5)


LOGITS = RNG.normal(size=(2, 5))
LOG = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
MASK = jnp.asarray(RNG.random((2, 3, 3)) < 0.5).at[:, 0, 0].set(True)
MAPS = RNG.normal(size=(2, 3, 3, 4))
FRAMES = RNG.normal(size=(2, 1, 4))


@pytest.mark.parametrize(
    ("target", "outputs", "expected"),
    [
        (targets.margin(1, 3), LOGITS, LOGITS[:, 1] - LOGITS[:, 3]),
        (targets.margin(jnp.array([1, 2]), 3), LOGITS, LOGITS[[0, 1], [1, 2]] - LOGITS[:, 3]),
        (targets.margin(jnp.array([1, 2])), LOGITS,
         [LOGITS[i, k] - np.delete(LOGITS[i], k).max() for i, k in enumerate((1, 2))]),
        (targets.logprob(4), LOGITS, LOG[:, 4]),
        (targets.logprob(jnp.array([0, 4])), LOGITS, LOG[[0, 1], [0, 4]]),
        (targets.position(-2, 1), MAPS[:, 0], MAPS[:, 0, 1, 1]),
        (targets.position(jnp.array([0, 2]), targets.margin(jnp.array([1, 2]), 3)), MAPS[:, 0],
         MAPS[[0, 1], 0, [0, 2], [1, 2]] - MAPS[[0, 1], 0, [0, 2], 3]),
        (targets.region(MASK, 2), MAPS, [MAPS[i, ..., 2][np.asarray(MASK)[i]].mean() for i in range(2)]),
        (targets.ctc(jnp.array([[3], [1]]), jnp.zeros((2, 1)), jnp.zeros((2, 1))), FRAMES,
         np.log(np.exp(FRAMES[[0, 1], 0, [3, 1]]) / np.exp(FRAMES[:, 0]).sum(axis=1))),
    ],
)  # fmt: skip
def test_targets(target, outputs, expected):
    score, args = explain.scored(lambda x: x, target)
    np.testing.assert_allclose(score(jnp.asarray(outputs, jnp.float32), *args), expected, rtol=1e-4, atol=1e-5)


def test_tokens_are_escaped_and_colored():
    page = explain.token_html(["<b>", "&"], [[1.0, -0.5], [0.0, 0.25]], targets=["x", '"y"'])
    assert page._repr_html_() == str(page)
    assert "<b>" not in page and "&lt;b&gt;" in page and "&amp;" in page and "&quot;y&quot;" in page  # noqa: PT018
    assert page.count("rgba(178,24,43,0.80)") == page.count("rgba(33,102,172,0.40)") == 1
    for values in ([1.0], [1.0, np.nan]):
        with pytest.raises(UserError, match=r"there are 2 tokens|not finite"):
            explain.token_html(["a", "b"], values)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: explain.attention(lambda x: x, TOKENS), "computes no attention"),
        (
            lambda: explain.attention(sentences(), TOKENS, within="decoder"),
            "no attention within 'decoder'; attention is in ",
        ),
        (lambda: explain.by_token(explain.gradient, lambda x: x, TOKENS), "no tap has the shape"),
        (lambda: explain.by_step(explain.gradient, language(), TOKENS, start=5), "start=5 leaves nothing"),
        (lambda: explain.scored(lambda x: x, targets.logprob(9))[0](jnp.ones((1, 3))), "target=9 is out of range"),
        (lambda: targets.margin(jnp.array([1, 2]), jnp.array([1, 2, 3])), r"expected one number, or one for each"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(UserError, match=said):
        call()
