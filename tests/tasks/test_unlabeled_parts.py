"""What tasks without labels hide, draw and count: views, masks, teachers, pairs of words."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.core.precision import Precision
from deeplab.models import MLP, Bert
from deeplab.models.text.encoders import bert
from deeplab.nn.activations import gelu
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.heads import MaskedTokens
from deeplab.nn.parts.inputs import PatchEmbedding
from deeplab.tasks import unlabeled
from deeplab.tasks.unlabeled import moments, objectives
from deeplab.train.bind import BoundApply, bind
from tests import toys
from tests.tasks.unlabeled_members import VIEW, EachFrame, Embedding, experiment_of, text


def test_views_belong_to_the_example_and_an_evaluation_repeats_its_own():
    batch = {"image": jax.random.uniform(jax.random.key(1), (4, 8, 8, 1)), "id": jnp.array([3, 1, 4, 1])}
    batch["image"] = batch["image"].at[3].set(batch["image"][1])
    seen = unlabeled.pairs.view_of(VIEW, batch, jax.random.key(0))
    turned = {name: x[::-1] for name, x in batch.items()}
    np.testing.assert_array_equal(unlabeled.pairs.view_of(VIEW, turned, jax.random.key(0)), seen[::-1])
    np.testing.assert_array_equal(seen[3], seen[1])
    assert not np.allclose(seen, unlabeled.pairs.view_of(VIEW, batch, jax.random.key(2)))


def test_a_teacher_is_an_average_without_a_predictor_and_its_center_is_of_its_logits():
    experiment = experiment_of("byol")()
    first = start(experiment)
    assert set(first.params["task"]) == {"projector", "predictor"}
    assert set(first.task["teacher"]["heads"]) == {"projector"}
    assert toys.same(first.task["teacher"]["model"]["hidden"], first.params["hidden"])
    second, _ = jax.jit(dl.make_step(experiment))(first, next(experiment.data.batches("train")))
    expected = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, first.params["hidden"], second.params["hidden"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        second.task["teacher"]["model"]["hidden"], expected,
    )  # fmt: skip


def start(experiment: dl.Experiment) -> Any:
    return jax.jit(functools.partial(dl.init, experiment))(jax.random.key(0))


def bound(name: str) -> tuple[dl.Experiment, Any, Any]:
    """A member with its model at the start, and a batch."""
    experiment = experiment_of(name)()
    batch = next(experiment.data.batches("train"))
    batch = experiment.data.transform(batch, jax.random.key(5))
    state = start(experiment)
    return experiment, bind(experiment, state, batch, dl.Runtime()), batch


def test_an_autoencoder_without_noise_restores_what_it_reads():
    experiment, apply, batch = bound("autoencoder")
    hidden = experiment.task.hide(batch, jax.random.key(1))
    np.testing.assert_array_equal(hidden.inputs[0], batch["image"])
    restored, *_ = experiment.task.restored(apply, batch, jax.random.key(1))
    expected = np.square(np.asarray(restored) - np.asarray(batch["image"]).reshape(64, -1)).mean()
    assert experiment.task.loss(apply, batch, jax.random.key(1)).loss.compute() == pytest.approx(expected, rel=1e-5)


def test_noise_and_hidden_pixels_are_as_many_as_told():
    task = unlabeled.Autoencoder(MLP(64), noise=0.3, hidden=0.2)
    image = jnp.ones((4, 64, 64, 3))
    (x,) = task.hide({"image": image, "id": jnp.arange(4)}, jax.random.key(0)).inputs
    hidden = np.asarray((x == 0).all(axis=-1))
    assert hidden.mean() == pytest.approx(0.2, abs=0.015)
    assert np.asarray(x)[~hidden].std() == pytest.approx(0.3, rel=0.02)


@pytest.mark.slow
def test_a_masked_autoencoder_sees_and_is_judged_by_different_patches():
    experiment, apply, batch = bound("masked_autoencoder")
    task, key = experiment.task, jax.random.key(3)
    (_, _, shown), _, where = task.hide(batch, jax.random.split(key)[0])
    assert shown.shape == (64, 4)
    np.testing.assert_array_equal(where.sum(axis=1), 12)
    np.testing.assert_array_equal(jnp.take_along_axis(where, shown, axis=1), 0)
    pixels = jnp.repeat(jnp.repeat(where.reshape(64, 4, 4), 2, axis=1), 2, axis=2)[..., None]
    other = batch | {"image": jnp.where(pixels > 0, 1 - batch["image"], batch["image"])}
    restored = jax.jit(lambda given: task.restored(apply, given, key)[0])
    before, after = restored(batch), restored(other)
    np.testing.assert_allclose(before, after, atol=1e-5)
    errors = task.errors(before, batch, where)
    unseen = jnp.where(where[..., None] > 0, before, before + 7)
    np.testing.assert_allclose(task.errors(unseen, batch, where), errors, rtol=1e-5)


def test_patches_that_are_read_are_those_of_the_whole_image():
    """Without a layer that mixes them."""
    layer = PatchEmbedding(patch=4, width=8, grid=(2, 2), registers=2)
    image = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    (whole, _), params = layer.init_with_output(jax.random.key(1), image)
    shown = jnp.array([[0, 3], [2, 1], [1, 1]])
    part, reading = layer.apply(params, image, None, shown)
    np.testing.assert_array_equal(part[:, :3], whole[:, :3])
    np.testing.assert_array_equal(part[:, 3:], jnp.take_along_axis(whole[:, 3:], shown[..., None], axis=1))
    np.testing.assert_array_equal(reading.positions[1, 3:], jnp.array([[0.5, -0.5], [-0.5, 0.5]]))


def test_of_the_tokens_asked_for_eight_of_ten_are_hidden():
    task = unlabeled.MaskedTokens(256, 256, padding=0)
    tokens = jnp.tile(jnp.arange(200, 216), (400, 10)).at[:, :16].set(0)
    batch = {"tokens": tokens, "id": jnp.arange(400), "mask": jnp.ones((400, 160)).at[:, -16:].set(0)}
    shown, chosen = task.hide(batch, jax.random.key(0))
    assert not np.asarray(chosen[:, :16]).any()
    assert not np.asarray(chosen[:, -16:]).any()
    assert float(chosen[:, 16:-16].mean()) == pytest.approx(0.15, abs=0.005)
    asked, own = np.asarray(shown)[np.asarray(chosen)], np.asarray(tokens)[np.asarray(chosen)]
    assert np.mean(asked == 256) == pytest.approx(0.8, abs=0.015)
    assert np.mean(asked == own) == pytest.approx(0.1 + 0.1 / 256, abs=0.01)
    np.testing.assert_array_equal(np.asarray(shown)[~np.asarray(chosen)], np.asarray(tokens)[~np.asarray(chosen)])
    turned = task.hide({name: x[::-1] for name, x in batch.items()}, jax.random.key(0))[0]
    np.testing.assert_array_equal(turned[::-1], shown)


class Foreign(nn.Module):
    """A table under a name of its own."""

    @nn.compact
    def __call__(self, tokens, train=False):
        return nn.Embed(9, 9, name="words")(tokens % 9)


def test_a_mask_token_without_a_row_is_refused():
    """The table would read its last row for it, which is another token."""
    batch = {"tokens": jnp.zeros((2, 16), int), "weight": jnp.ones(2), "id": jnp.arange(2)}

    def loss(task, model):
        params = model.init(jax.random.key(0), batch["tokens"])["params"]
        return task.loss(BoundApply(model, params, {}, batch["id"], Precision()), batch, jax.random.key(1))

    def bert_of(size):
        return Bert(vocab_size=size, head=MaskedTokens(gelu, layer_norm()), padding=None, **bert.VARIANTS["test"])

    assert np.isfinite(loss(unlabeled.MaskedTokens(256, 256, 0.5), bert_of(257)).loss.compute())
    with pytest.raises(UserError, match="mask_token is 256, and the model has rows for the tokens 0 to 255 only; give "
                       "the model vocab_size=257"):  # fmt: skip
        loss(unlabeled.MaskedTokens(256, 256, 0.5), bert_of(256))
    with pytest.raises(UserError, match="the last token of vocab_size is 299, and the model has rows"):
        loss(unlabeled.MaskedTokens(256, 300), bert_of(257))
    assert np.isfinite(
        loss(unlabeled.MaskedTokens(256, 256, 0.5), Foreign()).loss.compute()
    )  # its rows cannot be known


def test_hidden_frames_are_spans_of_the_sound_and_alone_count():
    task = unlabeled.MaskedFrames(EachFrame(4), spans=1, length=5)
    x = jax.random.normal(jax.random.key(0), (50, 30, 4))
    batch = {"features": x, "frames": jnp.full(50, 12).at[0].set(3), "id": jnp.arange(50)}
    hidden = task.hide(batch, jax.random.key(1))
    where = np.asarray(hidden.where)
    np.testing.assert_array_equal(where.sum(axis=1), [3] + [5] * 49)
    assert not where[:, 12:].any()
    assert where[1:, :12].any(axis=0).all()
    assert all(np.flatnonzero(row)[-1] - np.flatnonzero(row)[0] == 4 for row in where[1:])
    np.testing.assert_array_equal(hidden.inputs[0], jnp.where(where[..., None], 0, x))
    np.testing.assert_allclose(
        task.errors(x + 2.0 * where[..., None] + 9.0 * ~where[..., None], batch, where), 2, rtol=1e-5
    )


def test_skip_gram_counts_the_pairs_of_a_window_and_begins_at_chance():
    """With a table of zeros each pair and each negative costs log 2."""
    task = unlabeled.SkipGram(1000, window=1, negatives=3, threshold=0.0)
    experiment = dl.Experiment(text(1), Embedding(1000), task, optax.adam(1e-3))
    state = start(experiment)
    tokens = jnp.arange(48, dtype=jnp.int32).reshape(3, 16)
    batch = {"tokens": tokens, "id": jnp.arange(3), "weight": jnp.array([1.0, 0.5, 0.0])}
    out = task.loss(bind(experiment, state, batch, dl.Runtime()), batch, jax.random.key(0))
    assert float(out.loss.count) == 2 * 15 * 1.5
    assert out.loss.compute() == pytest.approx(4 * np.log(2), rel=0.01)
    np.testing.assert_array_equal(out.state, jnp.ones(1000).at[:16].add(1).at[16:32].add(0.5))


@pytest.mark.slow
def test_frequent_tokens_are_left_out_of_pairs_and_are_negatives_less_often_than_they_occur():
    task = unlabeled.SkipGram(10, window=1, negatives=50, threshold=0.1)
    experiment = dl.Experiment(text(1), Embedding(10), task, optax.adam(1e-3))
    counts = jnp.ones(10).at[0].set(991.0)
    state = dataclasses.replace(start(experiment), task=counts)
    only = {"tokens": jnp.zeros((200, 50), jnp.int32), "id": jnp.arange(200), "weight": jnp.ones(200)}
    pairs = task.loss(bind(experiment, state, only, dl.Runtime()), only, jax.random.key(0)).loss.count
    kept = np.sqrt(0.1 / 0.991)  # each of the two words of a pair
    assert float(pairs) / (200 * 98) == pytest.approx(kept**2, rel=0.05)
    # A table whose row of token 0 is large: what a pair of rare tokens costs tells how often 0 is its negative.
    table = jnp.zeros((10, 16)).at[0].set(100.0)
    params = {**state.params, "tokens": {"embedding": jnp.ones((10, 16))}, "task": {"context": table}}
    rare = only | {"tokens": jnp.full((200, 50), 4, jnp.int32)}
    found = bind(experiment, dataclasses.replace(state, params=params), rare, dl.Runtime())
    share = task.loss(found, rare, jax.random.key(0)).loss.compute() / (50 * 1600)
    assert share == pytest.approx(991**0.75 / (991**0.75 + 9), rel=0.01)


@pytest.mark.parametrize(
    "loss", [objectives.nt_xent, moments.barlow_twins, moments.vicreg], ids=["simclr", "barlow", "vicreg"]
)
def test_one_example_has_no_other(loss):
    with pytest.raises(dl.UserError, match="no other to compare it with"):
        loss(jnp.ones((1, 4)), jnp.ones((1, 4)), jnp.ones(1))
