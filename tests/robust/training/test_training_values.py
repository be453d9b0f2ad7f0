"""What each wrapper computes, where it is known in closed form: of a linear model."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.metrics import Mean
from deeplab.robust import training
from deeplab.robust.attacks import Seam, pgd
from deeplab.robust.training.wrapper import box_of
from deeplab.scale.plan import costs
from deeplab.tasks import Classification, Loss, Task

KEY = jax.random.key(0)
TASK = Classification(fields=("x",))


@dataclasses.dataclass(frozen=True)
class Linear:
    """Logits x w."""

    params: Any
    task_params: Any = dataclasses.field(default_factory=dict)
    task_state: Any = ()

    def __call__(self, x: Any, **_: Any) -> tuple[Any, Any]:
        return x @ self.params, {}

    def evaluating(self) -> Linear:
        return self

    def rebound(self, **given: Any) -> Linear:
        return dataclasses.replace(self, **{name: value for name, value in given.items() if value is not None})


def drawn(size: int = 6) -> tuple[Linear, dict[str, Any]]:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(0.3, 0.7, (size, 4)), jnp.float32)
    batch = {"x": x, "label": jnp.arange(size) % 2, "weight": jnp.ones(size).at[-1].set(0.5), "id": jnp.arange(size)}
    return Linear(jnp.asarray(rng.normal(size=(4, 2)), jnp.float32)), batch


def losses(logits: Any, batch: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])


def mean(values: Any, batch: Any) -> float:
    return float(jnp.sum(values * batch["weight"]) / jnp.sum(batch["weight"]))


def worst(model: Linear, batch: dict[str, Any], radius: float) -> Any:
    """The ball's worst corner: against the label, whichever way each weight points."""
    apart = model.params[:, 1] - model.params[:, 0]
    return batch["x"] + radius * jnp.sign(apart)[None] * jnp.where(batch["label"] == 0, 1, -1)[:, None]


@pytest.mark.parametrize("attack", ["uphill", "pgd"])
def test_adversarial_training_is_the_loss_at_the_worst_corner(attack):
    model, batch = drawn()
    made = training.uphill(TASK, 0.1, 6) if attack == "uphill" else pgd(0.1, 6, last=True, seam=Seam(fields=("x",)))
    task = training.Adversarial(TASK, made)
    expected = mean(losses(worst(model, batch, 0.1) @ model.params, batch), batch)
    assert task.loss(model, batch, KEY).loss.compute() == pytest.approx(expected, rel=1e-5)
    told = task.metrics(model, batch, KEY)
    assert told["attacked_loss"].compute() == pytest.approx(expected, rel=1e-5)
    assert told["loss"].compute() == pytest.approx(mean(losses(batch["x"] @ model.params, batch), batch), rel=1e-5)


def test_columns_have_no_box_that_would_move_them_farther_than_the_radius():
    model, batch = drawn()
    batch["x"] += jnp.array([[3.0, -3.0, 0.0, 9.0]])
    moved = training.uphill(TASK, 0.1, 2)(model, batch, KEY)["x"]
    np.testing.assert_allclose(jnp.abs(moved - batch["x"]), 0.1, atol=1e-5)
    with pytest.raises(UserError, match=r"radius=8 is larger than the box.* 8 / 255"):
        box_of(None, jnp.zeros((1, 2, 2, 1)), 8)


def test_groups_are_labels_which_the_data_are_asked_for():
    model, batch = drawn()
    found = training.GroupDRO(TASK, num_groups=3).labels(model, batch | {"group": batch["id"]})
    assert found["group"].outputs == 3


def test_an_attack_grows():
    """By a quarter of its change in each of four steps, from none."""
    model, batch = drawn()
    task = training.Adversarial(TASK, training.uphill(TASK, 0.1, 6), growth=4)
    state = task.init_state(model, batch, KEY)
    for share in (0, 0.25, 0.5, 0.75, 1, 1):
        out = task.loss(model.rebound(task_state=state), batch, KEY)
        x = batch["x"] + share * (worst(model, batch, 0.1) - batch["x"])
        assert out.loss.compute() == pytest.approx(mean(losses(x @ model.params, batch), batch), rel=1e-5)
        state = task.after_step(out.state, None)


def test_no_derivative_passes_through_the_attack():
    """That of the loss at the attacked images, held as they are."""
    model, batch = drawn()
    task = training.Adversarial(TASK, training.uphill(TASK, 0.1, 2))
    found = jax.grad(lambda w: task.loss(Linear(w), batch, KEY).loss.total)(model.params)
    held = worst(model, batch, 0.1)
    expected = jax.grad(lambda w: jnp.sum(losses(held @ w, batch) * batch["weight"]))(model.params)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_fast_takes_one_step_within_the_ball_and_the_box():
    """Of 1.25 radii from a random point: the worst corner of most, and never outside."""
    seen = []

    class Looks(Task):
        fields = ("x",)

        def loss(self, apply, batch, key):
            seen.append(batch["x"])
            return TASK.loss(apply, batch, key)

    model, batch = drawn(500)
    batch["x"] = batch["x"].at[:, 0].set(0.05)
    training.Fast(Looks(), 0.1, box=(0.0, 1.0)).loss(model, batch, KEY)
    change = np.asarray(seen[-1] - batch["x"])
    assert np.abs(change).max() <= 0.1 + 1e-6
    assert seen[-1].min() >= 0
    reached = np.isclose(np.abs(change[:, 1:]), 0.1, atol=1e-6)
    # From u in [-1, 1] a step of 1.25 comes to 1 or beyond where u >= -0.25: five eighths.
    assert reached.mean() == pytest.approx(0.625, abs=0.04)


def test_gradients_of_a_linear_score_are_aligned():
    """Those of two classes point along w_0 - w_1 everywhere; of a curved function they do not."""
    model, batch = drawn()
    told = training.Fast(TASK, 0.2, align=1.0).loss(model, batch, KEY)
    plain = training.Fast(TASK, 0.2).loss(model, batch, KEY)
    assert told.metrics["misaligned"].compute() == pytest.approx(0, abs=1e-6)
    assert told.loss.compute() == pytest.approx(plain.loss.compute(), rel=1e-5)

    class Curved(Linear):
        def __call__(self, x: Any, **_: Any) -> tuple[Any, Any]:
            return jnp.sin(9 * x) @ self.params, {}

    told = training.Fast(TASK, 0.2, align=2.0).loss(Curved(model.params), batch, KEY)
    plain = training.Fast(TASK, 0.2).loss(Curved(model.params), batch, KEY)
    assert told.metrics["misaligned"].compute() > 0.2
    assert told.loss.compute() - plain.loss.compute() == pytest.approx(
        2 * told.metrics["misaligned"].compute(), rel=1e-4
    )


def test_trades_adds_the_divergence_at_the_worst_corner():
    """KL(p(x) || p(x + d)) of two classes grows both ways; the climb ends where it began to."""
    model, batch = drawn()
    out = training.TRADES(TASK, 0.1, weight=3.0, steps=8).loss(model, batch, KEY)
    apart = jnp.sign(model.params[:, 1] - model.params[:, 0])[None]
    log_p = jax.nn.log_softmax(batch["x"] @ model.params)
    kl = [
        jnp.sum(jnp.exp(log_p) * (log_p - jax.nn.log_softmax((batch["x"] + way * 0.1 * apart) @ model.params)), axis=1)
        for way in (-1, 1)
    ]
    clean = mean(losses(batch["x"] @ model.params, batch), batch)
    divergence = out.metrics["divergence"].compute()
    assert mean(jnp.minimum(*kl), batch) - 1e-6 <= divergence <= mean(jnp.maximum(*kl), batch) + 1e-6
    assert out.loss.compute() == pytest.approx(clean + 3 * divergence, rel=1e-5)


def test_augmix_of_a_view_that_changes_nothing_is_the_loss():
    model, batch = drawn()
    image = jnp.tile(batch["x"][:, None, None], (1, 2, 2, 1))

    class Mean4(Linear):
        def __call__(self, x: Any, **_: Any) -> tuple[Any, Any]:
            return x.mean(axis=(1, 2)) @ self.params, {}

    images, task = batch | {"x": image}, Classification(fields=("x",))
    out = training.AugMix(task, lambda key, x: x).loss(Mean4(model.params), images, KEY)
    assert out.metrics["divergence"].compute() == pytest.approx(0, abs=1e-6)
    darker = training.AugMix(task, lambda key, x: x / 2, weight=12.0).loss(Mean4(model.params), images, KEY)
    p = [jax.nn.softmax(x @ model.params) for x in (batch["x"], batch["x"] / 2, batch["x"] / 2)]
    middle = sum(p) / 3
    js = mean(sum(jnp.sum(q * jnp.log(q / middle), axis=1) for q in p) / 3, batch)
    assert darker.loss.compute() == pytest.approx(out.loss.compute() + 12 * js, rel=1e-4)


class Bowl(Task):
    """w a w / 2, whatever the batch."""

    fields = ("x",)

    def loss(self, apply, batch, key):
        value = 0.5 * jnp.sum(jnp.array([1.0, 10.0]) * apply.params**2)
        return Loss(Mean(3 * value, jnp.float32(3)), {}, {})


def test_sharpness_aware_gradients_are_those_at_the_moved_parameters():
    w = jnp.array([1.0, 0.5])
    slope = jnp.array([1.0, 10.0]) * w
    moved = w + 0.2 * slope / jnp.linalg.norm(slope)
    task = training.SAM(Bowl(), rho=0.2)
    value, found = jax.value_and_grad(lambda w: task.loss(Linear(w), {}, KEY).loss.total / 3)(w)
    assert float(value) == pytest.approx(float(0.5 * jnp.sum(jnp.array([1.0, 10.0]) * moved**2)), rel=1e-5)
    np.testing.assert_allclose(found, jnp.array([1.0, 10.0]) * moved, rtol=1e-5)
    assert np.isfinite(jax.grad(lambda w: task.loss(Linear(w), {}, KEY).loss.total)(jnp.zeros(2))).all()


def test_group_weights_grow_with_the_loss_of_a_group():
    model, batch = drawn()
    batch |= {"group": jnp.array([0, 0, 1, 1, 1, 2])}
    task = training.GroupDRO(TASK, 4, rate=2.0)
    state = task.init_state(model, batch, KEY)
    out = task.loss(model.rebound(task_state=state), batch, KEY)
    each, weight = np.asarray(losses(batch["x"] @ model.params, batch)), np.asarray(batch["weight"])
    of = [np.average(each[rows], weights=weight[rows]) for rows in ([0, 1], [2, 3, 4], [5])] + [0.0]
    q = np.exp(2 * np.array(of))
    q /= q.sum()
    np.testing.assert_allclose(out.state["weights"], q, rtol=1e-5)
    assert out.loss.compute() == pytest.approx(q @ np.array(of), rel=1e-5)
    told = task.metrics(model.rebound(task_state=state), batch, KEY)
    assert told["worst_loss"].compute() == pytest.approx(max(of), rel=1e-5)
    half = told["worst_accuracy"] + told["worst_accuracy"]
    assert half.compute() == told["worst_accuracy"].compute() <= told["accuracy"].compute()


def test_groups_are_named_where_they_are_missing():
    model, batch = drawn()
    task = training.GroupDRO(TASK, 4, group="speaker")
    with pytest.raises(UserError, match="reads the group of each example from 'speaker'"):
        task.loss(model.rebound(task_state=task.init_state(model, batch, KEY)), batch, KEY)


def test_free_moves_the_change_by_the_gradient_of_the_step_itself():
    """Against the algorithm by hand: the loss and its gradient at x + d, then d by a step along the sign."""
    model, batch = drawn()
    task = training.Free(TASK, 0.1, step=0.6)
    state, change = task.init_state(model, batch, KEY), np.zeros(batch["x"].shape, np.float32)
    for number in range(4):
        if number == 2:  # the next batch: the change of a place goes on
            batch = batch | {"x": batch["x"][::-1], "label": batch["label"][::-1], "id": batch["id"] + 6}
        seen = batch | {"x": jnp.clip(batch["x"] + change, 0, 1)}

        def loss(w: Any, state: Any = state, batch: Any = batch) -> Any:
            out = task.loss(Linear(w, task_state=state), batch, KEY)
            return out.loss.total, out

        found, out = jax.grad(loss, has_aux=True)(model.params)
        expected = jax.grad(lambda w, seen=seen: TASK.loss(Linear(w), seen, KEY).loss.total)(model.params)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert out.loss.compute() == pytest.approx(TASK.loss(model, seen, KEY).loss.compute(), rel=1e-6)
        slope = jax.grad(lambda x, seen=seen: TASK.loss(model, seen | {"x": x}, KEY).loss.total)(seen["x"])
        change = np.clip(change + 0.06 * np.sign(slope), -0.1, 0.1)
        state = task.after_step(out.state, None)
        np.testing.assert_allclose(state["change"], change, atol=1e-7)


def test_a_repeated_example_stays_as_it_came():
    """Its view and its label, where its place has the same `id`; the others are the new ones."""
    model, batch = drawn()
    task = training.Free(TASK, 0.1)
    state = task.loss(model.rebound(task_state=task.init_state(model, batch, KEY)), batch, KEY).state
    again = batch | {"x": batch["x"] + 0.2, "label": 1 - batch["label"], "id": batch["id"].at[0].set(9)}
    held = task.loss(model.rebound(task_state=state), again, KEY).state["held"]
    for name in ("x", "label"):
        np.testing.assert_array_equal(held[name], jnp.concatenate([again[name][:1], batch[name][1:]]))


@pytest.mark.parametrize(("field", "given"), [("id", "int32[3]"), ("label", "float32[6, 2]")])
def test_free_names_what_it_has_no_place_for(field, given):
    model, batch = drawn()
    task = training.Free(TASK, 0.1)
    wrong = jax.tree.map(lambda x: x[:3], batch) if field == "id" else batch | {"label": jnp.ones((6, 2))}
    with pytest.raises(UserError, match=f"'{field}' is .*, and is given an array {re.escape(given)}"):
        task.loss(model.rebound(task_state=task.init_state(model, batch, KEY)), wrong, KEY)


def test_free_takes_one_backward_pass():
    """The products of a step are those of an ordinary one, and that of the gradient by the input."""

    def products(task: Task) -> float:
        made = dl.Experiment(
            dl.data.Images("digits", batch_size=8, num_steps=4), dl.models.MLP(10, (16,)), task, optax.sgd(0.1)
        )
        state = jax.eval_shape(lambda: dl.init(made, KEY))
        program = jax.make_jaxpr(dl.make_step(made))(state, dict(made.data.spec()))
        return costs.flops(costs.operations(program), products_only=True)

    inner = Classification()
    assert products(training.Free(inner, 0.1)) - products(inner) == 2 * 8 * 64 * 16
