"""What an experiment may be: each of these trains, resumes, is swept, planned and reported, in at most 40 lines."""

from __future__ import annotations

import ast
import functools
import inspect
import shutil
import types
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import deeplab as dl
from deeplab.cli.plan import plan_experiment
from deeplab.core.runtime import Runtime
from deeplab.runs import session
from deeplab.runs.checkpoint import Checkpoints
from tests import toys
from tests.contracts import (
    adversarial,
    bigram,
    byol,
    diffusion,
    distillation,
    gan,
    lbfgs,
    linear_probe,
    mixture_of_experts,
    regression,
    simclr,
    vae,
    vqvae,
)

MAX_LINES = 40


class Member(NamedTuple):
    """An experiment, and what is expected of it.

    Attributes:
      module: Where its function `experiment` is.
      metric: Name of the metric of the evaluation that training moves.
      bound: What the metric becomes smaller than, or larger than where `larger`.
      larger: Whether larger is better.
      axis: Argument that a sweep varies.
    """

    module: types.ModuleType
    metric: str
    bound: float
    larger: bool = False
    axis: str = "learning_rate"


MEMBERS = {
    member.module.__name__.rpartition(".")[2]: member
    for member in (
        Member(simclr, "loss", 3.5),
        Member(byol, "loss", 1.0),
        Member(vqvae, "error", 4.0),
        Member(gan, "mean_distance", 0.1),
        Member(distillation, "accuracy", 0.8, larger=True),
        Member(diffusion, "loss", 0.6),
        Member(adversarial, "attacked_accuracy", 0.5, larger=True),
        Member(regression, "loss", 0.6),
        Member(mixture_of_experts, "accuracy", 0.8, larger=True),
        Member(vae, "loss", 35.0),
        Member(lbfgs, "loss", 0.6, axis="penalty"),
        Member(linear_probe, "accuracy", 0.8, larger=True),
        Member(bigram, "loss", 2.8),
    )
}


def every(*quick: str) -> Any:
    """All members, of which only some are run every day."""
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in MEMBERS]
    )


def prepare(experiment: dl.Experiment, checkpoints: Checkpoints) -> session.Ready:
    mesh = dl.scale.make_mesh("auto")
    return session.prepare(experiment, checkpoints, mesh, seed=0, open_source=lambda data, split: data.open(split))


class Straight(NamedTuple):
    """A run without a stop: the evaluations before and after it, its last state, and its metrics by step."""

    first: dict[str, float]
    last: dict[str, float]
    state: Any
    rows: dict[int, dict[str, float]]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A member's run, made once; its checkpoints are in the folder `checkpoints`."""
    folder = tmp_path_factory.mktemp("contracts")

    @functools.cache
    def run(name: str) -> tuple[Straight, Any]:
        experiment = MEMBERS[name].module.experiment()
        return train(experiment, folder / name), folder / name

    return run


def train(experiment: dl.Experiment, directory: Any) -> Straight:
    rows: dict[int, dict[str, float]] = {}

    def write(step: int, split: str, values: dict[str, float]) -> None:
        if split == "train":
            clock = ("seconds", "steps_per_second", "stalled")
            rows[step] = {k: v for k, v in values.items() if k not in clock}

    with Checkpoints(directory, keep=100, best=experiment.monitor) as checkpoints:
        ready = prepare(experiment, checkpoints)
        first = ready.evaluate(ready.state)
        end, last, _ = session.train(ready, checkpoints, write, seed=0, log_every=4)
    return Straight(first, last, end.state, rows)


@every(*MEMBERS)
def test_trains(name, straight):
    member, (run, _) = MEMBERS[name], straight(name)
    before, after = run.first[member.metric], run.last[member.metric]
    assert all(np.isfinite(list(run.last.values())))
    assert after > max(before, member.bound) if member.larger else after < min(before, member.bound)


@every(*MEMBERS)
def test_resumes_bit_by_bit(name, straight, tmp_path):
    """A run that was killed after its first evaluation comes to the same end as the one that was not."""
    experiment, (run, directory) = MEMBERS[name].module.experiment(), straight(name)
    shutil.copytree(directory / str(experiment.cadence), tmp_path / str(experiment.cadence))
    again = train(experiment, tmp_path)
    assert toys.same(again.state, run.state)
    assert again.last == run.last
    assert again.rows == {step: row for step, row in run.rows.items() if step > experiment.cadence}


@every("byol", "distillation", "lbfgs")
def test_a_member_of_a_sweep_is_its_solo_run(name, straight):
    member, (run, _) = MEMBERS[name], straight(name)
    default = inspect.signature(member.module.experiment).parameters[member.axis].default
    rows = dl.sweep(member.module.experiment, {member.axis: [default, 2 * default]})
    assert rows[0]["curve"][-1]["evaluation"] == pytest.approx(run.last, rel=1e-3)
    assert rows[1]["curve"][-1]["evaluation"] != pytest.approx(run.last, rel=1e-3)
    assert not any(row["diverged"] for row in rows)


@every("gan", "vqvae")
def test_is_planned(name):
    experiment = MEMBERS[name].module.experiment()
    plan = plan_experiment(experiment, Runtime(mesh="data=2"), "h100")
    state = jax.eval_shape(lambda: dl.init(experiment, jax.random.key(0)))
    assert plan.num_params == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert plan.fits
    assert plan.flops > 0
    assert plan.num_devices == 2


@every("diffusion", "bigram")
def test_is_reported(name, tmp_path):
    result = dl.main(MEMBERS[name].module.experiment, ["train", "--run-dir", str(tmp_path / "run")])
    assert set(next(iter(result["metrics"].values()))) >= {MEMBERS[name].metric}
    assert "--run-dir" in result["report"].read_text()


@pytest.mark.parametrize("name", MEMBERS)
def test_is_short(name):
    """Lines of statements, without imports and docstrings."""
    source = inspect.getsource(MEMBERS[name].module)
    assert num_lines(source) <= MAX_LINES


def num_lines(source: str) -> int:
    """Lines that hold code, without those of imports and docstrings.

    Example:
      >>> num_lines('"One."\\nimport os\\n\\ndef f():\\n    "Two."\\n    return (\\n        os)\\n')
      3
    """
    tree = ast.parse(source)

    def lines(node: ast.AST) -> set[int]:
        return set(range(node.lineno, node.end_lineno + 1))

    left = {number for number, line in enumerate(source.splitlines(), 1) if line.strip()[:1] not in ("", "#")}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            left -= lines(node)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            left -= lines(node.body[0])
    return len(left)


def test_lines_are_counted():
    assert num_lines('"One."\nimport os\n\ndef f():\n    "Two."\n    # three\n    return (\n        os)\n') == 3
