"""CTC: the loss is minus the log probability of all paths, and neither padding nor batches change a figure."""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.tasks.ctc import CTC
from tests.decode.test_ctc_decoding import walked

KEY = jax.random.key(0)

TASK = CTC(("a", "b"))
LABEL, LENGTHS = jnp.array([[1, 2, 0], [1, 1, 0], [2, 0, 0], [1, 2, 1]]), jnp.array([2, 2, 1, 3])


def batch(frames: int = 8, given=(8, 7, 3, 8), weight=(1.0, 1.0, 1.0, 1.0)):
    """Features that are the logits of half as many frames, two values each."""
    values = jax.random.normal(jax.random.key(0), (4, 8, 3))
    features = jnp.pad(values, ((0, 0), (0, frames - 8), (0, 0)), constant_values=9.0)
    return {
        "features": features, "frames": jnp.array(given), "label": LABEL, "label_length": LENGTHS,
        "weight": jnp.array(weight), "id": jnp.arange(4),
    }  # fmt: skip


def halving(features, frames, train=False, key=None):
    """A model that reads every other frame."""
    return 2 * features[:, ::2], {}


predict = jax.jit(functools.partial(TASK.predict, halving, key=KEY))
evaluate = jax.jit(functools.partial(TASK.metrics, halving, key=KEY))


def test_the_loss_is_that_of_all_paths():
    made = batch()
    losses = predict(made)["loss"]
    y = np.asarray(jax.nn.log_softmax(2 * made["features"][:, ::2]))
    for i, frames in enumerate([4, 4, 2, 4]):
        transcript = tuple(LABEL[i, : LENGTHS[i]].tolist())
        np.testing.assert_allclose(losses[i], -walked(y[i], frames)[transcript], rtol=1e-4)
    np.testing.assert_allclose(TASK.score(halving(*TASK.inputs(made))[0], made), -losses, rtol=1e-5)
    total = TASK.loss(halving, made, jax.random.key(0)).loss
    np.testing.assert_allclose(total.total / total.count, losses.mean(), rtol=1e-6)


def test_padding_changes_nothing():
    longer = predict(batch(frames=14))
    for name, value in predict(batch()).items():
        other = longer[name][:, : value.shape[1]] if name == "prediction" else longer[name]  # as long as the frames
        np.testing.assert_allclose(value, other, rtol=1e-5, err_msg=name)


def test_a_padded_example_does_not_count():
    made = batch(weight=(1.0, 0.0, 1.0, 1.0))
    changed = made | {"label": LABEL.at[1].set(jnp.array([2, 2, 2])), "label_length": LENGTHS.at[1].set(3)}
    for name, metric in evaluate(made).items():
        assert metric.compute() == evaluate(changed)[name].compute(), name
    assert evaluate(made)["wer"].count == 6


def test_metrics_merge():
    """Error rates too, whose examples differ in their lengths."""
    made = batch()
    whole = evaluate(made)
    parts = [evaluate({k: v[half] for k, v in made.items()}) for half in (slice(0, 1), slice(1, 4))]
    merged = jax.tree.map(operator.add, *parts)
    assert {k: m.compute() for k, m in merged.items()} == pytest.approx({k: m.compute() for k, m in whole.items()})


def test_what_is_right_has_no_errors():
    """Logits that spell the labels, with a blank between equal ones."""
    paths = jnp.array([[1, 1, 2, 0], [1, 0, 1, 0], [2, 0, 0, 0], [1, 2, 0, 1]])
    made = batch(given=(8, 8, 8, 8))
    spelled = lambda features, frames, **_: (20 * jax.nn.one_hot(paths, 3), {})  # noqa: E731
    metrics = TASK.metrics(spelled, made, KEY)
    assert (metrics["wer"].compute(), metrics["exact"].compute()) == (0.0, 1.0)
    assert TASK.summarize(TASK.predict(spelled, made, KEY)) == {"wer_beam": 0.0, "cer_beam": 0.0}
    swapped = TASK.metrics(spelled, made | {"label": jnp.where(LABEL > 0, 3 - LABEL, 0)}, KEY)
    # "ab" for "ba" is two edits, and so is "aba" for "bab": 7 in all, of 8 tokens.
    assert (swapped["wer"].compute(), swapped["exact"].compute()) == (7 / 8, 0.0)


def test_a_label_that_no_path_can_spell_is_left_out_and_counted():
    """Two equal tokens need three frames, and two are there: loss and gradient are those of the other transcripts."""

    def out(scale, made):
        model = lambda features, frames, **_: (scale * features[:, ::2], {})  # noqa: E731
        return TASK.loss(model, made, KEY)

    def value(scale, made):
        loss = out(scale, made).loss
        return loss.total / loss.count

    made, without = (batch(given=(8, 3, 8, 8), weight=(1.0, w, 1.0, 1.0)) for w in (1.0, 0.0))
    ours, others = (jax.value_and_grad(value)(1.0, b) for b in (made, without))
    assert ours == others
    assert out(1.0, made).metrics["impossible"].compute() == 0.25
    evaluated = evaluate(made)
    assert evaluated["impossible"].compute() == 0.25
    assert evaluated["loss"].compute() == evaluate(without)["loss"].compute()
    assert predict(made)["loss"][1] == jnp.inf
    outputs = halving(made["features"], made["frames"])[0]
    assert jnp.isneginf(TASK.score(outputs, made)).tolist() == [False, True, False, False]


def test_an_empty_transcript_is_all_blanks():
    made = batch(given=(8, 8, 8, 8)) | {"label_length": jnp.array([0, 2, 1, 3])}
    blank = jax.nn.log_softmax(2 * made["features"][0, ::2])[:, 0]
    np.testing.assert_allclose(predict(made)["loss"][0], -blank.sum(), rtol=1e-5)
    assert evaluate(made)["loss"].count == 4


@pytest.mark.slow
def test_a_longer_transcript_than_any_reference_is_not_cut():
    """One reference token, and ten hypothesis tokens: nine insertions and at most a substitution."""
    paths = jnp.array([[1, 2] * 5])
    spelled = lambda features, frames, **_: (20 * jax.nn.one_hot(paths, 3), {})  # noqa: E731
    made = {
        "features": jnp.zeros((1, 10, 3)), "frames": jnp.array([10]), "label": jnp.array([[1]]),
        "label_length": jnp.array([1]), "weight": jnp.ones(1), "id": jnp.arange(1),
    }  # fmt: skip
    assert TASK.metrics(spelled, made, KEY)["wer"].compute() == 9.0
    told = TASK.predict(spelled, made, KEY)
    assert told["prediction_length"].tolist() == [10]
    assert TASK.summarize(told) == {"wer_beam": 9.0, "cer_beam": 18.0}  # and nine spaces


def test_outputs_beyond_the_vocabulary_are_written_as_numbers():
    assert TASK.texts(np.array([[2, 3, 0]]), np.array([2])) == ["b <3>"]


def test_a_model_of_other_frames_is_refused():
    with pytest.raises(UserError, match="the model returns 5 frames for 8 inputs, expected 8 / s, rounded up"):
        TASK.score(batch()["features"][:, :5], batch())


def test_a_model_may_round_its_frames_up():
    """Two convolutions of stride 2 make 63 frames of 250, of which 62 are of 248."""
    made = batch()
    logits, many = np.zeros((4, 63, 3), np.float32), np.zeros((4, 250, 1))
    frames = np.full(4, 248)
    padded = TASK.score(logits, made | {"features": many, "frames": frames})
    exact = TASK.score(logits[:, :62], made | {"features": many[:, :248], "frames": frames})
    np.testing.assert_allclose(padded, exact, rtol=1e-6)


def test_without_a_separator_tokens_are_characters():
    task = dataclasses.replace(TASK, vocabulary=("a", " "), separator="")
    made = {"label": np.array([[1, 2, 1]]), "label_length": np.array([3])}
    told = made | {"prediction": np.array([[1, 1, 0]]), "prediction_length": np.array([2])}
    assert task.summarize(told) == {"wer_beam": 1.0, "cer_beam": 1 / 3}  # "a a" and "aa": two edits of two words
    assert "cer" in task.metrics(halving, batch(), KEY)
