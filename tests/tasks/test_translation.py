"""Translation: padding and packing change no loss, what is predicted is what was found, and BLEU is sacrebleu's."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.data.pair_rows import pack
from deeplab.models.text.seq2seq import bart, t5
from deeplab.models.text.seq2seq.transformer import VARIANTS, Transformer
from deeplab.tasks.translation import Translation

KEY = jax.random.key(0)

MODEL = Transformer(vocab_size=11, **VARIANTS["test"])
SOURCE = jnp.array([[3, 4, 5, 6, 2, 0], [7, 8, 2, 0, 0, 0], [9, 2, 0, 0, 0, 0], [3, 3, 3, 2, 0, 0]])
TARGET = jnp.array([[9, 8, 7, 2, 0], [5, 5, 2, 0, 0], [2, 0, 0, 0, 0], [10, 9, 8, 7, 2]])
WORDS = ("", "", "", *"abcdefgh")


def text(tokens):
    return " ".join(WORDS[token] for token in tokens if token > 2)


TASK = Translation(text, label_smoothing=0.1, beam=3)


def batch(weight=(1.0, 1.0, 1.0, 1.0)):
    said = b"".join(text(row).encode().ljust(20, b"\0") for row in TARGET.tolist())
    return {
        "source": SOURCE, "source_segment": (SOURCE > 0).astype(jnp.int32),
        "target": TARGET, "target_segment": (TARGET > 0).astype(jnp.int32),
        "target_text": jnp.asarray(np.frombuffer(said, np.uint8).reshape(4, 20)),
        "weight": jnp.array(weight), "id": jnp.arange(4),
    }  # fmt: skip


@functools.cache
def variables():
    with jax.ensure_compile_time_eval():  # not tracers, whoever asks first
        made = jax.jit(MODEL.init)(jax.random.key(0), *TASK.inputs(batch()))
        return jax.tree.map(lambda p: 3 * p if p.ndim > 1 else p, made)


def apply(*inputs, train=False, key=None, method=None):
    return MODEL.apply(variables(), *inputs, method=method), {}


evaluate = jax.jit(functools.partial(TASK.metrics, apply, key=KEY))
loss = jax.jit(lambda batch: TASK.loss(apply, batch, jax.random.key(0)).loss)


def test_the_loss_is_that_of_each_token_after_those_before():
    made = batch()
    log_probs, total = np.asarray(jax.jit(lambda b: jax.nn.log_softmax(apply(*TASK.inputs(b))[0]))(made)), 0.0
    for i, row in enumerate(TARGET.tolist()):
        for place, token in enumerate(row):
            if token:
                total -= 0.9 * log_probs[i, place, token] + 0.1 * log_probs[i, place].mean()
    np.testing.assert_allclose(loss(made).total, total, rtol=1e-5)
    assert loss(made).count == (TARGET > 0).sum()


def test_packed_rows_have_the_loss_of_their_pairs():
    """Both the sum and the count: so that a step divides by the same."""
    packed = pack(2, 12)(jax.random.key(0), batch())
    np.testing.assert_allclose(loss(packed).total, loss(batch()).total, rtol=1e-5)
    assert loss(packed).count == loss(batch()).count


def test_a_padded_example_does_not_count():
    made = batch(weight=(1.0, 0.0, 1.0, 1.0))
    changed = made | {"target": TARGET.at[1].set(4), "target_segment": made["target_segment"].at[1].set(1)}
    for name, metric in evaluate(made).items():
        assert metric.compute() == pytest.approx(evaluate(changed)[name].compute(), rel=1e-6), name


def test_metrics_merge():
    made = batch()
    parts = [evaluate({k: v[half] for k, v in made.items()}) for half in (slice(0, 1), slice(1, 4))]
    merged = jax.tree.map(operator.add, *parts)
    whole = evaluate(made)
    assert {k: m.compute() for k, m in merged.items()} == pytest.approx({k: m.compute() for k, m in whole.items()})


@pytest.fixture(scope="module")
def predicted():
    return jax.jit(functools.partial(TASK.predict, apply, key=KEY))(batch())


def test_what_is_found_has_the_probability_that_is_told(predicted):
    """Read again at once: the cache, the beam and the way back to its best sequence agree."""
    found = predicted["prediction"]
    again = batch() | {"target": found, "target_segment": (found > 0).astype(jnp.int32)}
    scores = jax.jit(lambda made: TASK.score(apply(*TASK.inputs(made))[0], made))
    np.testing.assert_allclose(scores(again), predicted["log_prob"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(-scores(batch()) / (TARGET > 0).sum(axis=1), predicted["loss"], rtol=1e-4)


def test_attention_is_that_of_what_was_found(predicted):
    assert predicted["attention"].shape == (4, 5, 6)
    written = np.asarray(predicted["prediction"] > 0)
    totals = np.asarray(predicted["attention"], np.float32).sum(axis=-1)
    np.testing.assert_allclose(totals[written], 1, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [t5.T5(vocab_size=11, **t5.VARIANTS["test"]), bart.Bart(vocab_size=11, **bart.VARIANTS["test"])],
    ids=["t5", "bart"],
)
def test_composed_models_translate_too(model):
    """Packed rows have the loss of their pairs, and what is found has the probability that is told."""
    made = jax.jit(model.init)(jax.random.key(0), *TASK.inputs(batch()))
    made = jax.tree.map(lambda p: 3 * p if p.ndim > 1 else p, made)

    def apply(*inputs, train=False, key=None, method=None):
        return model.apply(made, *inputs, method=method), {}

    losses = jax.jit(lambda batch: TASK.loss(apply, batch, KEY).loss)
    np.testing.assert_allclose(losses(pack(2, 12)(KEY, batch())).total, losses(batch()).total, rtol=1e-5)
    predicted = jax.jit(functools.partial(TASK.predict, apply, key=KEY))(batch())
    found = predicted["prediction"]
    again = batch() | {"target": found, "target_segment": (found > 0).astype(jnp.int32)}
    scores = jax.jit(lambda made: TASK.score(apply(*TASK.inputs(made))[0], made))(again)
    np.testing.assert_allclose(scores, predicted["log_prob"], rtol=1e-4, atol=1e-4)
    assert predicted["attention"].shape == (4, 5, 6)


def test_a_beam_of_one_is_the_likeliest_token_every_time():
    task = Translation(text, beam=1)
    found = jax.jit(functools.partial(task.predict, apply, key=KEY))(batch())["prediction"]
    expected, read = jnp.zeros_like(TARGET), jax.jit(lambda batch: apply(*task.inputs(batch))[0])
    for place in range(TARGET.shape[1]):
        given = batch() | {"target": expected, "target_segment": jnp.ones_like(TARGET)}
        likeliest = jnp.argmax(read(given)[:, place], axis=-1)
        ended = (expected == task.end).any(axis=1)
        expected = expected.at[:, place].set(jnp.where(ended, 0, likeliest))
    np.testing.assert_array_equal(found, expected)


def test_what_is_right_has_a_bleu_of_100():
    said = batch()["target_text"]
    reference = np.frombuffer(b"A b c d", np.uint8)[None]
    right = {"prediction": np.array([[3, 4, 5, 6, 2]]), "target_text": reference}
    assert TASK.summarize(right) == pytest.approx({"bleu": 100.0, "sacrebleu": 100.0})
    assert TASK.summarize({"prediction": np.asarray(TARGET)[::-1], "target_text": np.asarray(said)})["bleu"] == 0.0
