"""Losses against PyTorch, metrics against scikit-learn in the user's units; shapes that would broadcast are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from deeplab.core.errors import UserError
from deeplab.tasks import AbsoluteError, Gaussian, Huber, Quantiles, Regression, SquaredError
from deeplab.tasks.contract.task import Trained

torch = pytest.importorskip("torch")
F = torch.nn.functional
KEY = jax.random.key(0)
ROWS = st.lists(
    st.tuples(st.integers(-40, 40), st.integers(-40, 40), st.integers(-4, 4), st.integers(0, 3)),
    min_size=3,
    max_size=12,
).filter(lambda rows: len({row[1] for row in rows if row[3]}) > 1)


def _apply(x, categories=None, *, train=False, key=None):
    return x, {}


_apply.evaluating = lambda: _apply


def batch(outputs, target, weight=None):
    weight = np.ones(len(target)) if weight is None else weight
    given = {"numbers": outputs, "target": target, "weight": weight}
    return {name: jnp.asarray(value, jnp.float32) for name, value in given.items()} | {"categories": jnp.zeros(0)}


LOSSES = {
    "squared": (SquaredError(), lambda f, y: F.mse_loss(f[:, 0], y, reduction="none")),
    "absolute": (AbsoluteError(), lambda f, y: F.l1_loss(f[:, 0], y, reduction="none")),
    "huber": (Huber(0.7), lambda f, y: F.huber_loss(f[:, 0], y, reduction="none", delta=0.7)),
    "gaussian": (
        Gaussian(),
        lambda f, y: F.gaussian_nll_loss(f[:, 0], y, torch.exp(f[:, 1]), full=True, reduction="none"),
    ),
    "quantiles": (
        Quantiles((0.1, 0.8)),
        lambda f, y: torch.stack(
            [torch.maximum(q * (y - f[:, i]), (q - 1) * (y - f[:, i])) for i, q in enumerate((0.1, 0.8))]
        ).mean(0),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=15, deadline=None)
@given(rows=ROWS, scale=st.sampled_from([(0.0, 1.0), (100.0, 8.0)]))
def test_loss_and_gradient_are_pytorchs(name, rows, scale):
    """Of the standardized target, weighted."""
    error, theirs = LOSSES[name]
    a, y, b, weight = (np.array(column, np.float32) / 8 for column in zip(*rows, strict=True))
    outputs, target = np.stack([a, b], axis=1)[:, : error.outputs], y * scale[1] + scale[0]
    task = Regression(error, scale)
    x = torch.tensor(outputs, requires_grad=True)
    expected = (theirs(x, torch.tensor(y)) * torch.tensor(weight)).sum() / weight.sum()
    expected.backward()

    def loss(x):
        made = task.loss(_apply, batch(x, target, weight), KEY).loss
        return made.total / made.count

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(outputs))
    assert float(value) == pytest.approx(expected.item(), rel=2e-4, abs=1e-5)
    held = np.abs(a - y) > 1e-3  # where the absolute error has a gradient
    np.testing.assert_allclose(gradient[held], x.grad[held], rtol=1e-3, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_metrics_are_scikit_learns_in_the_users_units(rows):
    a, y, _, weight = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    scale = (1000.0, 16.0)
    target = y * 2 + 1000
    dirty = np.where(weight > 0, a / 8, np.nan)
    made = Regression(scale=scale).metrics(_apply, batch(dirty[:, None], target, weight), KEY)
    prediction = a / 8 * 16 + 1000
    assert made["rmse"].compute() == pytest.approx(
        sk.mean_squared_error(target, prediction, sample_weight=weight) ** 0.5, rel=1e-5, abs=1e-4
    )
    assert made["mae"].compute() == pytest.approx(
        sk.mean_absolute_error(target, prediction, sample_weight=weight), rel=1e-5, abs=1e-4
    )
    assert made["r2"].compute() == pytest.approx(sk.r2_score(target, prediction, sample_weight=weight), rel=1e-4)


@pytest.mark.parametrize(
    ("outputs", "target", "error"),
    [
        ((4,), (4, 1), SquaredError()),
        ((4, 2), (4,), SquaredError()),
        ((4, 1, 1, 1), (4, 1), SquaredError()),
        ((1,), (4,), AbsoluteError()),
        ((4, 1), (4,), Gaussian()),
        ((4,), (4,), Quantiles((0.1, 0.5))),
        ((4, 2), (4, 2), Gaussian()),
    ],
)
def test_no_shape_broadcasts(outputs, target, error):
    with pytest.raises(UserError, match=r"the model's outputs are \[.*expected \[4.*for each target"):
        Regression(error).loss(_apply, batch(np.ones(outputs), np.ones(target)), KEY)


def test_the_last_axis_is_of_the_outputs_and_one_may_be_left_out():
    y = np.arange(4.0)
    column, row = (Regression().metrics(_apply, batch(x, y), KEY) for x in ((y + 1)[:, None], y + 1))
    assert column["loss"].compute() == row["loss"].compute() == 1.0
    several = Regression(Gaussian()).predict(_apply, batch(np.zeros((4, 3, 2)), np.zeros((4, 3))), KEY)
    assert {name: x.shape for name, x in several.items()} == {
        "target": (4, 3), "prediction": (4, 3), "std": (4, 3), "loss": (4,),
    }  # fmt: skip


def test_predictions_are_in_the_users_units():
    outputs = np.array([[0.5, np.log(4.0)], [-1.0, 0.0]])
    out = Regression(Gaussian(), (100.0, 10.0)).predict(_apply, batch(outputs, [100.0, 90.0]), KEY)
    np.testing.assert_allclose(out["prediction"], [105, 90])
    np.testing.assert_allclose(out["std"], [20, 10])
    crossing = np.array([[1.0, 0.0, -1.0]])
    task = Regression(Quantiles((0.1, 0.5, 0.9)), (100.0, 10.0))
    out = task.predict(_apply, batch(crossing, [95.0]), KEY)
    np.testing.assert_allclose(out["quantiles"], [[90, 100, 110]])
    np.testing.assert_allclose(out["prediction"], [100])
    assert task.metrics(_apply, batch(crossing, [95.0]), KEY)["coverage"].compute() == 1
    assert task.metrics(_apply, batch(crossing, [85.0]), KEY)["coverage"].compute() == 0


@pytest.mark.parametrize("levels", [(), (0.5, 0.5), (0.0, 0.5), (0.9, 1.0)])
def test_wrong_levels(levels):
    with pytest.raises(UserError, match="levels are"):
        Quantiles(levels)


def test_a_delta_may_be_traced():
    def loss(delta):
        return Regression(Huber(delta)).loss(_apply, batch([[0.0], [3.0]], [1.0, 0.0]), KEY).loss.total

    np.testing.assert_allclose(jax.vmap(loss)(jnp.array([0.5, 2.0])), [loss(0.5), loss(2.0)], rtol=1e-6)


def test_scores_are_predictions():
    outputs, given = np.arange(6.0).reshape(3, 2), np.zeros((3, 2))
    task = Regression(scale=(1.0, 2.0))
    np.testing.assert_allclose(task.score(jnp.asarray(outputs), batch(outputs, given)), [2, 6, 10])
    np.testing.assert_allclose(task.score(jnp.asarray(outputs), batch(outputs, given), 1), [3, 7, 11])
    one = jnp.arange(3.0)  # the number 0 of a single target was that of the first example
    for target in (None, 0):
        np.testing.assert_allclose(Regression().score(one, batch(one, one), target), one)


def test_the_report_draws_points_and_the_largest_residuals():
    target = np.linspace(-5.0, 5.0, 1000)
    prediction = np.where(np.arange(1000) == 700, 9.0, target)
    made = {"target": target, "prediction": prediction, "id": np.arange(1000)}
    (block,) = Regression().artifacts(Trained(None, made, None, "test", (), None, 1, KEY))["regression"]
    charts, worst = block["blocks"]
    scatter, residuals = charts["blocks"]
    (equal, points), (zero, residual) = scatter["lines"], residuals["lines"]
    assert (
        [line["reference"] for line in (equal, zero)] == [line["points"] for line in (points, residual)] == [True] * 2
    )
    assert len(points["steps"]) == 300
    assert points["steps"] == points["values"]
    assert worst["blocks"][0]["body"][0] == ["700", f"{target[700]:.5g}", "9", f"{target[700] - 9:+.5g}"]
