"""Metrics of a collapse are of the whole split, and tell a planted one from healthy runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.metrics import Mean
from deeplab.tasks import Task, unlabeled
from deeplab.tasks.unlabeled import collapse, objectives
from deeplab.train.bind import bind
from tests.contracts.networks import Trunk
from tests.tasks.unlabeled_members import MEMBERS, VIEW, head


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


@pytest.mark.parametrize(("lengths", "centered"), [(False, False), (True, False), (False, True), (True, True)])
def test_metrics_are_of_the_split_whatever_its_batches(lengths, centered):
    z = np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32) * np.array([3, 1, 1, 0.5, 0.1, 0.1]) + 0.5
    whole, parts = (metrics_of(z, size, lengths=lengths, centered=centered) for size in (90, 32))
    assert parts == pytest.approx(whole, rel=1e-5)
    u = z / np.linalg.norm(z, axis=1, keepdims=True)
    seen = z if lengths else u * np.sqrt(6)
    values = np.linalg.svd(z - z.mean(axis=0) if centered else seen, compute_uv=False)
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


def test_the_rank_of_a_line_is_one_however_many_dimensions_it_crosses():
    """Of 511 eigenvalues only the rounding is left, which together would pass for half a dimension."""
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(3000, 1)) * rng.normal(size=(1, 512))).astype(np.float32)
    for size in (3000, 256):
        found = metrics_of(z, size)
        assert found["effective_rank"] == pytest.approx(1, abs=1e-3)
        assert collapse.warnings(found)


def test_a_small_deviation_beside_a_large_mean_is_told_as_it_is():
    z = (300 + 0.01 * np.random.default_rng(0).normal(size=(2000, 16))).astype(np.float32)
    for size in (2000, 128):
        found = metrics_of(z, size, lengths=True)
        assert found["std"] == pytest.approx(z.astype(np.float64).std(axis=0).mean(), rel=1e-3)
        assert collapse.warnings(found)


class Constant(nn.Module):
    """Features that the first eight pixels move by `spread` from an offset that all examples share."""

    spread: float

    @nn.compact
    def __call__(self, x, train=False):
        return 1 + self.spread * x.reshape(len(x), -1)[:, :8]


@pytest.mark.parametrize(
    "make",
    [
        lambda: unlabeled.Autoencoder(dl.models.MLP(64)),
        lambda: unlabeled.BarlowTwins(lambda key, x: x, Constant(1.0)),
        lambda: unlabeled.VICReg(lambda key, x: x, Constant(1.0)),
    ],
    ids=["autoencoder", "barlow_twins", "vicreg"],
)
@pytest.mark.parametrize("spread", [0.1, 1e-4])
def test_an_offset_that_the_loss_leaves_free_is_no_collapse(make, spread):
    """Eight independent numbers about 1 tell the examples apart, but where they hardly move."""
    task = make()
    scale = 5.0 if isinstance(task, unlabeled.VICReg) else 1.0  # whose loss asks for a deviation of 1
    image = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    data = dl.data.Examples({name: {"image": image} for name in ("train", "test")}, batch_size=500, num_steps=1)
    experiment = dl.Experiment(data, Constant(spread * scale), task, optax.sgd(0.1))
    batch = {"id": jnp.arange(500), "weight": jnp.ones(500), "image": jnp.asarray(image)}
    apply = bind(experiment, dl.init(experiment, jax.random.key(0)), batch, dl.Runtime())
    metrics = jax.device_get(task.metrics(apply, batch, jax.random.key(1)))
    told = task.warnings({name: metric.compute() for name, metric in metrics.items()})
    assert len(told) == (spread < 0.01)


@pytest.mark.slow
def test_a_sample_of_a_large_split_does_not_depend_on_its_batches():
    z = np.random.default_rng(0).normal(size=(1500, 4)).astype(np.float32)
    assert metrics_of(z, 100)["uniformity"] == pytest.approx(metrics_of(z, 1500)["uniformity"], rel=1e-5)


def test_metrics_of_the_members_of_a_sweep_merge_side_by_side():
    z, batch = np.random.default_rng(0).normal(size=(2, 3, 20, 4)) + 5, {"id": jnp.arange(20), "weight": jnp.ones(20)}
    made = jax.vmap(lambda z: collapse.measures(z, z, batch, lengths=True, centered=True))
    first, second = (jax.device_get(made(jnp.asarray(half, jnp.float32))) for half in z)
    for i in range(3):
        one = {k: jax.tree.map(lambda x: x[i], first[k] + second[k]).compute() for k in ("std", "effective_rank")}  # noqa: B023
        alone = metrics_of(np.concatenate([z[0, i], z[1, i]]).astype(np.float32), 40, lengths=True, centered=True)
        assert one == pytest.approx({k: alone[k] for k in one}, rel=1e-4)


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
