"""Cross-entropy against Optax; a padded batch is the unpadded one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplab.tasks import Classification

KEY = jax.random.key(0)
LOGITS = jax.random.normal(jax.random.key(1), (6, 4)) * 3
LABELS = jnp.array([0, 3, 1, 1, 2, 0])


def _apply(x, *, train=False, key=None):
    return x, {"batch_stats": "updated" if train else "kept"}


def _batch(label=LABELS, weight=None):
    weight = jnp.ones(len(LOGITS)) if weight is None else weight
    return {"image": LOGITS, "label": label, "weight": weight, "id": jnp.arange(len(LOGITS))}


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_loss_is_optax_with_smooth_labels(smoothing):
    out = Classification(label_smoothing=smoothing).loss(_apply, _batch(), KEY)
    targets = optax.smooth_labels(jax.nn.one_hot(LABELS, 4), smoothing)
    assert out.loss.compute() == pytest.approx(float(optax.softmax_cross_entropy(LOGITS, targets).mean()), rel=1e-6)
    assert out.metrics["accuracy"].compute() == np.mean(LOGITS.argmax(-1) == LABELS)
    assert out.variables == {"batch_stats": "updated"}


def test_evaluation_does_not_smooth():
    metrics = Classification(label_smoothing=0.5).metrics(_apply, _batch(), KEY)
    expected = optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS).mean()
    assert metrics["loss"].compute() == pytest.approx(float(expected), rel=1e-6)


def test_smoothing_may_be_traced():
    def loss(smoothing):
        return Classification(label_smoothing=smoothing).loss(_apply, _batch(), KEY).loss.total

    np.testing.assert_allclose(jax.vmap(loss)(jnp.array([0.0, 0.3])), [loss(0.0), loss(0.3)], rtol=1e-6)


@pytest.mark.parametrize("name", ["loss", "metrics"])
def test_a_padded_batch_is_the_unpadded_one(name):
    task = Classification(label_smoothing=0.1)
    weight = jnp.array([1.0, 1, 1, 1, 0, 0])
    padded = _batch(weight=weight) | {"image": LOGITS.at[4:].set(jnp.nan)}
    short = jax.tree.map(lambda x: x[:4], _batch())
    arguments = (KEY,)
    ours, theirs = (getattr(task, name)(_apply, batch, *arguments) for batch in (padded, short))
    if name == "loss":
        ours, theirs = ours.metrics | {"loss": ours.loss}, theirs.metrics | {"loss": theirs.loss}
    assert {k: m.compute() for k, m in ours.items()} == {k: m.compute() for k, m in theirs.items()}


def test_mixed_labels_are_the_mixture_of_losses():
    mixed = 0.25 * jax.nn.one_hot(LABELS, 4) + 0.75 * jax.nn.one_hot((LABELS + 1) % 4, 4)
    task = Classification()
    parts = [task.loss(_apply, _batch(label), KEY).loss.compute() for label in (LABELS, (LABELS + 1) % 4)]
    out = task.loss(_apply, _batch(mixed), KEY)
    assert out.loss.compute() == pytest.approx(0.25 * parts[0] + 0.75 * parts[1], rel=1e-5)
    right = [np.mean(LOGITS.argmax(-1) == label) for label in (LABELS, (LABELS + 1) % 4)]
    assert out.metrics["accuracy"].compute() == pytest.approx(0.25 * right[0] + 0.75 * right[1])
    hard = task.predict(_apply, _batch((LABELS + 1) % 4), KEY)
    np.testing.assert_array_equal(task.predict(_apply, _batch(mixed), KEY)["label"], hard["label"])


def test_predictions_and_scores_are_per_example():
    out = Classification().predict(_apply, _batch(), KEY)
    np.testing.assert_array_equal(out["prediction"], LOGITS.argmax(-1))
    np.testing.assert_allclose(out["probability"], jax.nn.softmax(LOGITS).max(-1), rtol=1e-5)
    np.testing.assert_allclose(
        out["loss"], optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(
        Classification().score(_apply(*Classification().inputs(_batch()))[0], _batch()), LOGITS[jnp.arange(6), LABELS]
    )
