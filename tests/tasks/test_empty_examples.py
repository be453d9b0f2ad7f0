"""An example without anything to predict has no weight in a mean; masks say what there is to predict."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.blocks import classification
from deeplab.data.features.interactions import hide_ratings
from deeplab.nn.ratings import History
from deeplab.tasks import Forecasting, LanguageModeling, RatingPrediction, Segmentation

KEY = jax.random.key(0)


def outputs_of(outputs):
    return lambda *_, **__: (outputs, {})


def both(task, outputs, batch):
    """Loss in training and in the evaluation, and those of each example."""
    apply = outputs_of(outputs)
    loss = task.loss(apply, batch, KEY).loss.compute()
    evaluated = {name: metric.compute() for name, metric in task.metrics(apply, batch, KEY).items()}
    return loss, evaluated, task.predict(apply, batch, KEY)["loss"]


@pytest.mark.parametrize(("void", "dice"), [(2, 0.0), (2, 1.0), (255, 0.5)])
def test_an_image_that_is_all_void(void, dice):
    task = Segmentation(("a", "b"), void=void, dice=dice)
    logits = jax.random.normal(KEY, (3, 2, 2, 2))
    mask = jnp.array([[[0, 1], [void, 0]], [[void] * 2] * 2, [[1, 1], [0, void]]])
    batch = {"image": 0, "mask": mask, "weight": jnp.ones(3)}
    few = {"image": 0, "mask": mask[::2], "weight": jnp.ones(2)}
    ours, others = both(task, logits, batch), both(task, logits[::2], few)
    assert ours[0] == pytest.approx(others[0], rel=1e-6)
    assert ours[1] == pytest.approx(others[1], rel=1e-6)
    assert np.isnan(ours[2]).tolist() == [False, True, False]


def test_images_of_nothing_but_void_give_a_finite_gradient():
    task = Segmentation(("a", "b"), void=2, dice=1.0)
    batch = {"image": 0, "mask": jnp.full((2, 2, 2), 2), "weight": jnp.ones(2)}
    gradient = jax.grad(lambda z: task.loss(outputs_of(z), batch, KEY).loss.total)(jnp.ones((2, 2, 2, 2)))
    np.testing.assert_array_equal(gradient, 0)
    assert math.isnan(task.loss(outputs_of(jnp.ones((2, 2, 2, 2))), batch, KEY).loss.compute())


def test_a_window_of_only_padding():
    logits, targets = jax.random.normal(KEY, (2, 3, 4)), jnp.array([[1, 2, 3], [-100, -100, -100]])
    batch = {"tokens": 0, "targets": targets, "mask": jnp.array([[1.0, 1, 0], [0, 0, 0]]), "weight": jnp.ones(2)}
    loss, evaluated, each = both(LanguageModeling(), logits, batch)
    assert evaluated["loss"] == pytest.approx(loss)
    assert each[0] == pytest.approx(loss, rel=1e-6)
    assert np.isnan(each).tolist() == [False, True]


def test_missing_values_of_a_forecast():
    outputs, target = jax.random.normal(KEY, (3, 2, 2, 1)), jax.random.normal(jax.random.key(1), (3, 2, 2))
    mask = jnp.array([[[1, 0], [1, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]])
    batch = {
        "history": 0,
        "target": jnp.where(mask > 0, target, jnp.nan),
        "mask": mask,
        "weight": jnp.array([2.0, 1, 1]),
    }
    errors = np.asarray(outputs[..., 0] - target)
    weight = np.asarray(mask) * np.array([2.0, 1, 1])[:, None, None]
    loss, evaluated, each = both(Forecasting(), outputs, batch)
    assert loss == pytest.approx(np.average(errors**2, weights=weight), rel=1e-5)
    assert evaluated == pytest.approx(
        {"loss": loss, "mse": loss, "mae": np.average(np.abs(errors), weights=weight)}, rel=1e-5
    )
    assert np.isnan(each).tolist() == [False, True, False]
    gradient = jax.grad(lambda z: Forecasting().loss(outputs_of(z), batch, KEY).loss.total)(outputs)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[..., 0][np.asarray(mask) == 0] == 0).all()


def test_ratings_below_0_are_ratings():
    """Errors of 5 and 3: a root mean square of 4.12, not 5."""
    task = RatingPrediction(fields=(), low=-10, high=10)
    batch = {"rating": jnp.array([[0.0, 5.0, -3.0]]), "known": jnp.array([[0.0, 0.0, -2.0]]), "weight": jnp.ones(1)}
    _, evaluated, each = both(task, jnp.zeros((1, 3)), batch)
    assert evaluated["rmse"] == pytest.approx(17**0.5)
    assert each[0] == pytest.approx(17.0)
    told = task.predict(outputs_of(jnp.zeros((1, 3))), batch, KEY)
    assert (told["num_known"].tolist(), told["top"].tolist()) == ([1], [[1, 0, 0]])


def test_a_mask_tells_a_rating_of_0_from_none():
    task = RatingPrediction(fields=(), low=-10, high=10)
    masks = {"rated": jnp.array([[True, True, False]]), "given": jnp.array([[False, False, True]])}
    batch = {"rating": jnp.array([[0.0, 4.0, jnp.nan]]), "known": jnp.zeros((1, 3)), "weight": jnp.ones(1)} | masks
    loss, evaluated, _ = both(task, jnp.full((1, 3), 1.0), batch)
    assert loss == evaluated["loss"] == pytest.approx(5.0)
    gradient = jax.grad(lambda z: task.loss(outputs_of(z), batch, KEY).loss.total)(jnp.ones((1, 3)))
    assert np.isfinite(gradient).all()
    assert task.predict(outputs_of(jnp.ones((1, 3))), batch, KEY)["num_known"].tolist() == [1]


def test_a_user_without_ratings_has_no_loss():
    batch = {"rating": jnp.array([[0.0, 5.0], [0.0, 0.0]]), "known": jnp.zeros((2, 2)), "weight": jnp.ones(2)}
    loss, _, each = both(RatingPrediction(fields=()), jnp.full((2, 2), 4.0), batch)
    assert loss == 1.0
    assert np.isnan(each).tolist() == [False, True]


def test_hidden_ratings_have_masks():
    example = {"rating": jnp.array([0, -2, 3, 0]), "rated": jnp.array([True, True, True, False])}
    made = hide_ratings(1.0)(example | {"known": 0}, jax.random.key(3))
    assert (made["rated"] ^ made["given"]).tolist() == example["rated"].tolist()
    np.testing.assert_array_equal(made["known"] + made["rating"], example["rating"])


def test_a_history_reads_negative_ratings_and_its_mask():
    layer = History(num_items=3, width=2)
    known = jnp.array([[0.0, -2.0, 3.0]])
    params = layer.init(KEY, known)
    mask = jnp.array([[False, True, True]])
    np.testing.assert_array_equal(layer.apply(params, known), layer.apply(params, known, mask))
    assert not np.allclose(layer.apply(params, known), layer.apply(params, known, jnp.ones((1, 3), bool)))
    assert not np.allclose(layer.apply(params, known), layer.apply(params, known.at[0, 1].set(0.0)))


def test_a_report_of_nan_has_no_accuracy():
    made = classification(
        {"label": np.zeros(3, int), "prediction": np.zeros(3, int), "probability": np.array([1, np.nan, 1])}
    )
    assert [block["kind"] for block in made] == ["text"]
    assert "NaN for 1 of 3" in made[0]["text"]
