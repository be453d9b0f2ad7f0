"""Metrics of a collapse are of the whole split, and tell a planted one from healthy runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.metrics import Mean
from deeplab.tasks import Task, unlabeled
from deeplab.tasks.unlabeled import collapse, objectives
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


@pytest.mark.slow
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
