"""The language-model loss against a computation by hand; padded rows and masked tokens count for nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.tasks import LanguageModeling

KEY = jax.random.key(0)
TASK = LanguageModeling()
LOGITS = jax.random.normal(jax.random.key(1), (4, 5, 7)) * 2
TARGETS = jax.random.randint(jax.random.key(2), (4, 5), 0, 7)
MASK = jnp.ones((4, 5)).at[1, 3:].set(0.0).at[3, :2].set(0.0)


def _apply(tokens, *, train=False, key=None):
    return LOGITS[: len(tokens)], {}


def _batch(**fields):
    return {"tokens": TARGETS, "targets": TARGETS, "weight": jnp.ones(4), "id": jnp.arange(4)} | fields


def _by_hand(counted):
    losses = []
    for b, t in np.argwhere(np.asarray(counted)):
        z = np.asarray(LOGITS[b, t], np.float64)
        losses.append(np.log(np.exp(z).sum()) - z[TARGETS[b, t]])
    return np.mean(losses)


@pytest.mark.parametrize("mask", [None, MASK])
def test_loss_is_the_mean_over_counted_tokens(mask):
    batch = _batch() if mask is None else _batch(mask=mask)
    expected = _by_hand(jnp.ones((4, 5)) if mask is None else mask)
    loss, metrics = TASK.loss(_apply, batch, KEY), TASK.metrics(_apply, batch, KEY)
    assert loss.loss.compute() == pytest.approx(expected, rel=1e-5)
    assert metrics["loss"].compute() == pytest.approx(expected, rel=1e-5)
    assert metrics["perplexity"].compute() == pytest.approx(np.exp(expected), rel=1e-5)
    correct = (LOGITS.argmax(-1) == TARGETS).astype(float)
    assert metrics["accuracy"].compute() == pytest.approx(
        float(jnp.average(correct, weights=jnp.ones((4, 5)) if mask is None else mask)), rel=1e-5
    )


@pytest.mark.parametrize("fields", [{}, {"mask": MASK}])
def test_a_padded_batch_is_the_unpadded_one(fields):
    whole = _batch(**fields)
    short = jax.tree.map(lambda x: x[:3], whole)
    padded = whole | {"weight": jnp.array([1.0, 1, 1, 0])}

    def broken(tokens, *, train=False, key=None):
        return LOGITS.at[3].set(jnp.nan), {}

    for one, other in (
        (TASK.loss(broken, padded, KEY).loss, TASK.loss(_apply, short, KEY).loss),
        *zip(TASK.metrics(broken, padded, KEY).values(), TASK.metrics(_apply, short, KEY).values(), strict=True),
    ):
        assert float(one.count) == float(other.count)
        assert one.compute() == pytest.approx(other.compute(), rel=1e-6)


def test_microbatches_add_up_to_the_batch():
    whole = TASK.loss(_apply, _batch(mask=MASK), KEY).loss

    def rows(a, b):
        return lambda tokens, *, train=False, key=None: (LOGITS[a:b], {})

    halves = [
        TASK.loss(rows(a, b), jax.tree.map(lambda x, a=a, b=b: x[a:b], _batch(mask=MASK)), KEY).loss
        for a, b in ((0, 1), (1, 4))
    ]
    assert (halves[0] + halves[1]).compute() == pytest.approx(whole.compute(), rel=1e-6)


def test_predictions_per_sequence():
    out = TASK.predict(_apply, _batch(mask=MASK), KEY)
    assert (out["token_loss"][MASK == 0] == 0).all()
    np.testing.assert_allclose(out["loss"], out["token_loss"].sum(-1) / MASK.sum(-1), rtol=1e-6)
    np.testing.assert_array_equal(out["prediction"], LOGITS.argmax(-1))
    weighted = float((out["loss"] * MASK.sum(-1)).sum() / MASK.sum())
    assert weighted == pytest.approx(TASK.metrics(_apply, _batch(mask=MASK), KEY)["loss"].compute(), rel=1e-5)
    np.testing.assert_allclose(
        TASK.score(_apply(*TASK.inputs(_batch()))[0], _batch(mask=MASK)), -out["token_loss"].sum(-1), rtol=1e-5
    )


def test_half_precision_logits_give_a_single_precision_loss():
    def half(tokens, *, train=False, key=None):
        return LOGITS.astype(jnp.bfloat16), {}

    loss = TASK.loss(half, _batch(), KEY).loss
    assert loss.total.dtype == jnp.float32
    assert loss.compute() == pytest.approx(TASK.loss(_apply, _batch(), KEY).loss.compute(), rel=1e-2)
