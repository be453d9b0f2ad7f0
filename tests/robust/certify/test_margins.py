"""Margins that hold in a ball, verified errors, and training for them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean
from deeplab.robust.certify import ball, bounds, margins, verified
from deeplab.robust.certify.specification import Verified

W1, W2 = np.random.default_rng(0).normal(size=(12, 8)) / 3, np.random.default_rng(1).normal(size=(8, 3)) / 2
X = jnp.asarray(np.random.default_rng(2).uniform(size=(5, 12)), jnp.float32)
Y = jnp.array([0, 1, 2, 0, 1])
BATCH = {"image": X, "label": Y, "weight": jnp.ones(5)}


def network(x):
    return jax.nn.relu(x @ W1.astype("float32")) @ W2.astype("float32") + 0.1


def test_interval_margins_are_interval_bound_propagation_with_the_last_layer_folded():
    """By NumPy: centers by the weights, radii by their absolute values; differences of the last weights' columns."""
    lower, upper = np.clip(X - 0.1, 0, 1), np.clip(X + 0.1, 0, 1)
    center, radius = (lower + upper) / 2 @ W1, (upper - lower) / 2 @ np.abs(W1)
    lower, upper = np.maximum(center - radius, 0), np.maximum(center + radius, 0)
    weights = W2[:, np.asarray(Y)].T[:, :, None] - W2[None]  # [B, H, K]
    expected = np.einsum("bh,bhk->bk", (lower + upper) / 2, weights) - np.einsum(
        "bh,bhk->bk", (upper - lower) / 2, np.abs(weights)
    )
    found, ends = jax.jit(lambda x: (margins(network, x, Y, 0.1), bounds(network, *ball(x, 0.1))))(X)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    loose = jnp.take_along_axis(ends.lower, Y[:, None], 1) - ends.upper
    assert np.all(np.asarray(found - loose)[np.arange(3)[None] != Y[:, None]] > 0.01)  # folding gains


def test_margins_hold_and_lines_are_tighter():
    kinds = ("interval", "crown-ibp", "crown")  # of one hidden layer, the last two are the same
    by_intervals, mixed, by_lines = jax.jit(lambda x: [margins(network, x, Y, 0.1, method=kind) for kind in kinds])(X)
    points = np.clip(X[None] + np.random.default_rng(3).uniform(-0.1, 0.1, size=(2000, *X.shape)), 0, 1)
    logits = network(points.astype(np.float32))
    reached = jnp.min(jnp.take_along_axis(logits, Y[None, :, None], axis=2) - logits, axis=0)
    assert np.all(by_lines <= reached + 1e-6)
    assert np.all(mixed >= by_intervals)
    assert np.all(by_lines >= by_intervals)
    assert np.mean(mixed) > np.mean(by_intervals) + 0.03


def test_at_radius_zero_they_are_the_margins_themselves():
    logits = network(X)
    expected = jnp.take_along_axis(logits, Y[:, None], 1) - logits
    for method in ("interval", "crown"):
        found = jax.jit(lambda x, kind=method: margins(network, x, Y, 0.0, method=kind))(X)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Bound:
    params: object

    def __call__(self, x, params=None):
        return x @ (self.params if params is None else params), {}

    def rebound(self, precision):
        assert precision == dl.Runtime().precision  # a run in 16 bits is verified in float32
        return self


def test_the_verified_error_of_a_linear_classifier_is_counted_by_hand():
    """Two classes with the logits x0 and x1: the margin is lost where it is not above twice the radius."""
    x = jnp.array([[0.9, 0.1], [0.6, 0.5], [0.2, 0.8], [0.45, 0.55], [0.5, 0.1]])
    batch = {"image": x, "label": jnp.array([0, 0, 0, 1, 1]), "weight": jnp.array([1.0, 1.0, 1.0, 1.0, 0.0])}
    found = verified(Bound(jnp.eye(2)), [batch, batch], 0.1)
    assert (found.count, found.error, found.verified_error) == (8, 2 / 8, 6 / 8)
    np.testing.assert_allclose((found.low, found.high), (0.3491, 0.9681), atol=1e-4)  # binom.test(6, 8) of R
    assert str(Verified(0.1, "interval", 8, 0.25, 0.75, 0.3491, 0.9681)).startswith(
        "error 25.00 %, verified error 75.00 % (34.91 to 96.81) at radius 0.1, 8 examples"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: margins(network, X, Y, -0.1), "radius is -0.1, expected 0 or more"),
        (lambda: margins(network, 255 * X, Y, 8.0), "values from .* expected 0 to 1, before their normalization"),
        (lambda: margins(network, X, Y, 0.1, method="ibp"), "expected .interval. or .crown-ibp. or .crown."),
        (lambda: margins(network, X, jax.nn.one_hot(Y, 3), 0.1), "number of a class for each"),
        (lambda: margins(network, X, Y, 8.0), r"radius=8.0 is larger than the box"),
        (lambda: margins(network, X, Y - 3, 0.1), r"label -\d is no class of the model, which has 3"),
        (lambda: margins(lambda x: x[:, :, None], X, Y, 0.1), r"expected one array \[1, K\]"),
        (lambda: verified(Bound(jnp.eye(2)), [], 0.1), "there is no example to verify"),
        (lambda: verified(network, [{"image": X}], 0.1), "parameters are not known; give run.bound"),
        (lambda: verified(Bound(jnp.eye(12, 3)), [BATCH | {"label": Y + 2}], 0.1), "label 3 is no class of the model"),
        (lambda: verified(Bound(jnp.eye(12, 3)), [BATCH | {"label": jnp.eye(5)}], 0.1), "number of a class for each"),
        (lambda: verified(Bound(jnp.eye(12, 3)), [{"image": X, "label": Y}], 0.1), "no field 'weight' but"),
    ],
)
def test_what_cannot_be_verified_is_told(call, message):
    with pytest.raises(UserError, match=message):
        call()
    with pytest.raises(NotImplementedError, match="`reduce_prod` in the program has no bounds"):
        margins(lambda x: x[:, :3] * jnp.prod(x, axis=1, keepdims=True), X, Y, 0.1)


def test_what_is_outside_of_the_limits_is_in_its_own_ball():
    """Under a trace, where values are not looked at: label 0 was "proved" of an input that is class 1."""
    x, radius = 3 * jnp.asarray(np.random.default_rng(4).normal(size=(40, 12)), jnp.float32), 0.05
    label, method = jnp.argmax(network(x), axis=1), "crown"
    found = jax.jit(lambda x, y: margins(network, x, y, radius, method=method))
    wrong, own = found(x, (label + 1) % 3), found(x, label)
    assert not np.any(np.all((wrong > 0) | (np.arange(3)[None] == np.asarray((label + 1) % 3)[:, None]), axis=1))
    logits = network(x)
    assert np.all(own <= jnp.take_along_axis(logits, label[:, None], 1) - logits + 1e-5)
    assert np.all(jax.jit(lambda x: ball(x, radius))(x).lower <= x)


def test_a_table_is_certified_in_balls_without_walls():
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    rows = {"x": x, "label": x[:, :3].argmax(1)}
    made = dl.Experiment(
        data=dl.data.Examples({"train": rows, "test": rows}, batch_size=32, num_steps=30),
        model=dl.models.MLP(3, (8,)),
        task=dl.robust.training.Certified(dl.tasks.Classification(fields=("x",)), 0.0),
        optimizer=optax.adam(3e-2),
    )
    state = trained(made, 30)
    metrics = jax.jit(dl.make_eval(made))(state, next(made.data.batches("test")))
    assert metrics["verified_accuracy"].compute() == metrics["accuracy"].compute() > 0.7


def experiment(lines=0.0, learning_rate=3e-3):
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=60, normalize=None),
        model=dl.models.MLP(10, features=(32,)),
        task=dl.robust.training.Certified(
            dl.tasks.Classification(),
            radius=0.05,
            schedule=optax.linear_schedule(0.0, 0.05, 40),
            natural=optax.linear_schedule(1.0, 0.5, 40),
            lines=lines,
        ),
        optimizer=optax.adam(learning_rate),
        monitor=dl.Monitor("verified_accuracy", "max"),
    )


def trained(experiment, steps):
    state, step = dl.init(experiment, jax.random.key(0)), jax.jit(dl.make_step(experiment))
    batches = experiment.data.batches("train")
    for _ in range(steps):
        state, _ = step(state, next(batches))
    return state


@pytest.mark.slow
def test_training_grows_the_radius_and_raises_what_is_verified():
    made = experiment()
    state = trained(made, 60)
    assert int(state.task["step"]) == int(state.step) == 60
    evaluate, batch = jax.jit(dl.make_eval(made)), next(made.data.batches("train"))
    before = dl.init(made, jax.random.key(0))
    untrained, certified = (evaluate(s, batch)["verified_accuracy"].compute() for s in (before, state))
    assert certified > 0.25 > 0.1 > untrained


def test_its_loss_is_the_mean_of_both_at_the_radius_of_its_step():
    made = experiment(lines=0.25)
    state = dl.init(made, jax.random.key(0))
    state = dataclasses.replace(state, task={"step": jnp.array(20), "inner": ()})
    batch = next(made.data.batches("train"))
    _, metrics = jax.jit(dl.make_step(made))(state, batch)
    x, y = made.data.transform(batch, None)["image"], batch["label"]
    f = lambda x: made.model.apply({"params": state.params}, x)  # noqa: E731
    a, b = jax.jit(lambda x: [margins(f, x, y, 0.025, method=kind) for kind in ("interval", "crown-ibp")])(x)
    found = 0.75 * a + 0.25 * b
    natural = optax.softmax_cross_entropy_with_integer_labels(f(x), y).mean()
    worst = optax.softmax_cross_entropy_with_integer_labels(-found, y).mean()
    np.testing.assert_allclose(metrics["loss"].compute(), 0.75 * natural + 0.25 * worst, rtol=1e-5)
    np.testing.assert_allclose(metrics["natural_loss"].compute(), natural, rtol=1e-5)


def test_noise_is_the_example_s_own_and_only_of_training():
    batch = {"image": jnp.zeros((4, 3)), "label": jnp.zeros(4, int), "weight": jnp.ones(4), "id": jnp.arange(4)}
    seen = []

    class Looks(dl.tasks.Task):
        def loss(self, apply, batch, key):
            seen.append(batch["image"])
            return dl.tasks.Loss(Mean.of(batch["image"][:, 0], batch["weight"]), {}, {})

        def metrics(self, apply, batch, key):
            return {"loss": Mean.of(batch["image"][:, 0], batch["weight"])}

    task = dl.robust.training.Noise(Looks(), deviation=0.5)
    key = jax.random.key(0)
    task.loss(None, batch, key)
    task.loss(None, jax.tree.map(lambda x: x[::-1], batch), key)
    np.testing.assert_array_equal(seen[0], seen[1][::-1])
    assert task.metrics(None, batch, key)["loss"].compute() == 0
    many = {name: jnp.repeat(x, 2000, axis=0) for name, x in batch.items()} | {"id": jnp.arange(8000)}
    task.loss(None, many, key)
    np.testing.assert_allclose(jnp.std(seen[2]), 0.5, rtol=0.02)
    with pytest.raises(UserError, match=r"first input of Looks .* an array int32"):
        task.loss(None, batch | {"image": jnp.zeros((4, 3), int)}, key)
    with pytest.raises(UserError, match=r"deviation is 0\.0, expected above 0"):
        dl.robust.training.Noise(Looks(), deviation=0.0)
