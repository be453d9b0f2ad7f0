"""Laws of every task without labels: it learns, resumes bit by bit, is swept, and does not depend on the devices."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.data import augment
from deeplab.metrics import Mean
from deeplab.nn.norm import batch_norm
from deeplab.nn.parts.prototypes import Prototypes
from deeplab.tasks import Task, unlabeled
from deeplab.tasks.unlabeled import collapse, objectives
from tests import toys
from tests.contracts.networks import Trunk
from tests.contracts.test_contracts import Straight, train

VIEW = augment.warp(15.0, 0.1, 1.0)
STEPS = 40


def head(size: int = 16, norm: Any = batch_norm) -> dl.models.MLP:
    return dl.models.MLP(size, features=(64,), norm=norm)


class TwoTowers(nn.Module):
    """Embeddings of two images of an example, by a network each."""

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        return tuple(nn.Dense(16, name=f"out_{k}")(Trunk(64, name=k)(x)) for k, x in (("a", a), ("b", b)))


class Member(NamedTuple):
    """A task, and what is expected of it.

    Attributes:
      task: Task.
      pairs: Whether its loss compares the examples of a batch, so that microbatches give another one.
      model: Encoder.
      data: Further arguments of the digits.
    """

    task: Task
    pairs: bool
    model: nn.Module = Trunk(64)
    data: tuple[tuple[str, Any], ...] = ()


MEMBERS = {
    "simclr": Member(unlabeled.SimCLR(VIEW, head(), 0.2), True),
    "supervised_contrast": Member(unlabeled.SupervisedContrast(VIEW, head(), 0.2), True),
    "sigmoid_pairs": Member(
        unlabeled.SigmoidPairs(("a", "b")), True, TwoTowers(), (("views", {"a": VIEW, "b": augment.shift(1)}),)
    ),
    "byol": Member(unlabeled.BYOL(VIEW, head(), 0.9, predictor=head()), True),  # by its batch norms
    "dino": Member(unlabeled.DINO(VIEW, Prototypes(32), 0.9), False),
    "barlow_twins": Member(unlabeled.BarlowTwins(VIEW, head()), True),
    "vicreg": Member(unlabeled.VICReg(VIEW, head()), True),
}


def experiment_of(name: str, num_steps: int = STEPS) -> Callable[..., dl.Experiment]:
    member = MEMBERS[name]

    def experiment(learning_rate: float = 3e-3) -> dl.Experiment:
        data = dl.data.Images("digits", batch_size=64, num_steps=num_steps, **dict(member.data))
        every = num_steps // 2
        return dl.Experiment(data, member.model, member.task, optax.adam(learning_rate), eval_every=every)

    return experiment


def every(*quick: str) -> Any:
    """All members, of which only some are run every day."""
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in MEMBERS]
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabeled")

    @functools.cache
    def run(name: str) -> tuple[Straight, Any]:
        return train(experiment_of(name)(), folder / name), folder / name

    return run


@every("byol")
def test_trains_without_a_collapse(name, straight):
    run, _ = straight(name)
    assert all(np.isfinite(list(run.last.values())))
    assert run.last["loss"] < 0.98 * run.first["loss"]
    assert MEMBERS[name].task.warnings(run.last) == ()


@every("byol")
def test_resumes_bit_by_bit(name, straight, tmp_path):
    run, directory = straight(name)
    experiment = experiment_of(name)()
    shutil.copytree(directory / str(experiment.cadence), tmp_path / str(experiment.cadence))
    again = train(experiment, tmp_path)
    assert toys.same(again.state, run.state)
    assert again.last == run.last
    assert again.rows == {step: row for step, row in run.rows.items() if step > experiment.cadence}


@every()
def test_a_member_of_a_sweep_is_its_solo_run(name, straight):
    run, _ = straight(name)
    rows = dl.sweep(experiment_of(name), {"learning_rate": [3e-3, 6e-3]})
    assert rows[0]["curve"][-1]["evaluation"] == pytest.approx(run.last, rel=1e-3, abs=1e-5)
    assert rows[1]["curve"][-1]["evaluation"] != pytest.approx(run.last, rel=1e-3)


def stepped(name: str, mesh: str, accumulate: int = 1) -> tuple[float, Any]:
    """The loss of a batch that ends in padding, and the parameters after a step, on a mesh."""
    experiment, runtime = experiment_of(name)(), dl.Runtime(accumulate=accumulate)
    experiment = dataclasses.replace(experiment, optimizer=optax.sgd(1e-2))  # Adam would turn rounding into signs
    grid = dl.scale.make_mesh(mesh)
    batch = next(experiment.data.batches("train")) | {"weight": (np.arange(64) < 60).astype(np.float32)}
    with jax.set_mesh(grid):
        state = jax.jit(functools.partial(dl.init, experiment))(jax.random.key(0))
        rows = jax.sharding.NamedSharding(grid, jax.sharding.PartitionSpec("data"))
        after, metrics = jax.jit(dl.make_step(experiment, runtime))(state, jax.device_put(batch, rows))
    return metrics["loss"].compute(), jax.device_get(after.params)


@every("vicreg")
def test_the_loss_over_pairs_is_that_of_one_device_and_of_a_microbatch_another(name):
    (one, params), (eight, sharded) = stepped(name, "data=1"), stepped(name, "data=8")
    assert eight == pytest.approx(one, rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), params, sharded)
    parts, _ = stepped(name, "data=1", accumulate=2)
    assert (parts == pytest.approx(one, rel=1e-5)) == (not MEMBERS[name].pairs)


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
    first = dl.init(experiment, jax.random.key(0))
    assert set(first.params["task"]) == {"projector", "predictor"}
    assert set(first.task["teacher"]["heads"]) == {"projector"}
    assert toys.same(first.task["teacher"]["model"]["hidden"], first.params["hidden"])
    second, _ = jax.jit(dl.make_step(experiment))(first, next(experiment.data.batches("train")))
    expected = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, first.params["hidden"], second.params["hidden"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        second.task["teacher"]["model"]["hidden"], expected,
    )  # fmt: skip


def metrics_of(z: np.ndarray, size: int, **options: Any) -> dict[str, float]:
    """Metrics of embeddings [N, D], evaluated in batches of a size, the last one padded."""
    total: Any = None
    for start in range(0, len(z), size):
        rows = np.arange(start, start + size)
        real = rows < len(z)
        part = jnp.array(np.where(real[:, None], z[np.minimum(rows, len(z) - 1)], np.nan))
        batch = {"id": jnp.array(rows), "weight": jnp.array(real, jnp.float32)}
        new = jax.device_get(collapse.measures(part, part + 0.1, batch, **options))
        total = new if total is None else {k: total[k] + new[k] for k in new}
    return {name: metric.compute() for name, metric in total.items()}


@pytest.mark.parametrize("lengths", [False, True])
def test_metrics_are_of_the_split_whatever_its_batches(lengths):
    z = np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32) * np.array([3, 1, 1, 0.5, 0.1, 0.1]) + 0.5
    whole, parts = metrics_of(z, 90, lengths=lengths), metrics_of(z, 32, lengths=lengths)
    assert parts == pytest.approx(whole, rel=1e-5)
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    seen = z if lengths else u * np.sqrt(6)
    values = np.linalg.svd(seen, compute_uv=False)
    share = values / values.sum()
    i, j = np.triu_indices(90, 1)
    w = (z + 0.1) / np.linalg.norm(z + 0.1, axis=1, keepdims=True)
    expected = {
        "effective_rank": np.exp(-np.sum(share * np.log(share))),
        "std": seen.std(axis=0).mean(),
        "std_least": seen.std(axis=0).min(),
        "uniformity": np.log(np.mean(np.exp(-2 * np.sum((u[i] - u[j]) ** 2, axis=1)))),
        "alignment": np.mean(np.sum((u - w) ** 2, axis=1)),
    }
    assert whole == pytest.approx(expected, rel=1e-4)


def test_a_sample_of_a_large_split_does_not_depend_on_its_batches():
    z = np.random.default_rng(0).normal(size=(1500, 4)).astype(np.float32)
    assert metrics_of(z, 100)["uniformity"] == pytest.approx(metrics_of(z, 1500)["uniformity"], rel=1e-5)


def test_a_split_without_an_example_has_no_metrics():
    batch = {"id": jnp.arange(3), "weight": jnp.zeros(3)}
    z = jnp.ones((3, 2))
    assert all(np.isnan(m.compute()) for m in jax.device_get(collapse.measures(z, z, batch)).values())


@dataclasses.dataclass(frozen=True)
class NothingKeepsThemApart(unlabeled.SimCLR):
    """Two views become alike, both with a gradient, and nothing else."""

    def compare(self, apply, batch, key, views, sides):
        return Mean.of(objectives.regression(sides[0].z, sides[1].z), batch["weight"]), {}


PLANTED = {
    "no stop-gradient": NothingKeepsThemApart(VIEW, head(norm=dl.nn.norm.no_norm)),
    "no stop-gradient, batch norms": NothingKeepsThemApart(VIEW, head()),
    "no variance term": unlabeled.VICReg(VIEW, head(norm=dl.nn.norm.no_norm), variance=0.0),
    "no variance term, batch norms": unlabeled.VICReg(VIEW, head(), variance=0.0),
}


def _rows(task: Task, seeds: int, num_steps: int = 100) -> list[dict[str, float]]:
    def experiment(learning_rate: float = 3e-3) -> dl.Experiment:
        data = dl.data.Images("digits", batch_size=64, num_steps=num_steps)
        return dl.Experiment(data, Trunk(64), task, optax.adam(learning_rate), eval_every=num_steps)

    return [row["curve"][-1]["evaluation"] for row in dl.sweep(experiment, {"learning_rate": [3e-3]}, seeds=seeds)]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.filterwarnings("ignore:.*the embeddings have collapsed")
def test_a_planted_collapse_is_told_in_ten_of_ten_runs(name):
    assert [len(PLANTED[name].warnings(row)) for row in _rows(PLANTED[name], 10)] == [1] * 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr", "byol", "dino", "barlow_twins", "vicreg"])
def test_of_ten_healthy_runs_none_is_told_to_have_collapsed(name):
    task = MEMBERS[name].task
    assert [task.warnings(row) for row in _rows(task, 10)] == [()] * 10


def test_a_collapsed_run_says_so(tmp_path):
    def experiment(learning_rate: float = 1e-2) -> dl.Experiment:
        data = dl.data.Images("digits", batch_size=64, num_steps=60)
        task = PLANTED["no stop-gradient"]
        return dl.Experiment(data, Trunk(16), task, optax.adam(learning_rate), eval_every=30)

    with pytest.warns(
        UserWarning, match=r"step \d+: the embeddings have collapsed: their standard deviation is 0\.0"
    ) as said:
        dl.fit(experiment)
    assert len(said) == 1
