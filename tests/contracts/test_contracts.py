"""What an experiment may be: each of these trains, resumes, is swept, planned and reported, in at most 40 lines."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import shutil
import types
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import deeplab as dl
from deeplab.runs import session
from deeplab.runs.checkpoint import Checkpoints
from tests import toys
from tests.contracts import (
    adversarial,
    bigram,
    diffusion,
    distillation,
    gan,
    lbfgs,
    linear_probe,
    mixture_of_experts,
    regression,
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
      artifact: Words that its report holds.
    """

    module: types.ModuleType
    metric: str
    bound: float
    larger: bool = False
    axis: str = "learning_rate"
    artifact: str = ""


MEMBERS = {
    member.module.__name__.rpartition(".")[2]: member
    for member in (
        Member(vqvae, "error", 4.0),
        Member(gan, "mean_distance", 0.15),
        Member(distillation, "accuracy", 0.8, larger=True),
        Member(diffusion, "loss", 0.4, artifact="Samples"),
        Member(adversarial, "attacked_accuracy", 0.5, larger=True),
        Member(regression, "loss", 0.63),
        Member(mixture_of_experts, "accuracy", 0.8, larger=True),
        Member(vae, "loss", 32.0),
        Member(lbfgs, "loss", 0.55, axis="penalty"),
        Member(linear_probe, "accuracy", 0.8, larger=True),
        Member(bigram, "loss", 3.0, artifact="Samples"),
    )
}


def every(*quick: str) -> Any:
    """All members, of which only some are run every day."""
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in MEMBERS]
    )


def split(tree: Any) -> tuple[Any, Any]:
    """The parameters of the model and of the task."""
    return {name: part for name, part in tree.items() if name != "task"}, tree.get("task")


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
        end, last, *_ = session.train(ready, checkpoints, write, seed=0, log_every=4)
    return Straight(first, last, end.state, rows)


@every(*(MEMBERS.keys() - {"vae"}))  # the VQ-VAE is of its kind
def test_trains(name, straight):
    member, (run, _) = MEMBERS[name], straight(name)
    before, after = run.first[member.metric], run.last[member.metric]
    assert all(np.isfinite(list(run.last.values())))
    assert after > max(before, member.bound) if member.larger else after < min(before, member.bound)


@every("lbfgs", "mixture_of_experts", "vqvae")  # state of a line search, none, a codebook
def test_resumes_bit_by_bit(name, straight, tmp_path):
    """A run that was killed after its first evaluation comes to the same end as the one that was not."""
    experiment, (run, directory) = MEMBERS[name].module.experiment(), straight(name)
    shutil.copytree(directory / str(experiment.cadence), tmp_path / str(experiment.cadence))
    again = train(experiment, tmp_path)
    assert toys.same(again.state, run.state)
    assert again.last == run.last
    assert again.rows == {step: row for step, row in run.rows.items() if step > experiment.cadence}


@every("distillation", "lbfgs")
def test_a_member_of_a_sweep_is_its_solo_run(name, straight):
    member, (run, _) = MEMBERS[name], straight(name)
    default = inspect.signature(member.module.experiment).parameters[member.axis].default
    rows = dl.sweep(member.module.experiment, {member.axis: [default, 2 * default]})
    assert rows[0]["curve"][-1]["evaluation"] == pytest.approx(run.last, rel=1e-4)
    assert rows[1]["curve"][-1]["evaluation"] != pytest.approx(run.last, rel=1e-4)
    assert not any(row["diverged"] for row in rows)


@every("vqvae", "lbfgs")
def test_is_planned(name):
    function = MEMBERS[name].module.experiment
    plan = dl.plan(function, runtime=dl.Runtime(mesh="data=2"))
    state = jax.eval_shape(lambda: dl.init(function(), jax.random.key(0)))
    assert plan.num_params == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert plan.fits
    assert plan.flops > 0
    assert plan.mesh["data"] == 2
    # A line search ends when it has found a step: how often it loops is known to no plan.
    assert plan.notes == (["a loop of unknown length in optimizer is counted once"] if name == "lbfgs" else [])


@every("diffusion", "bigram")
def test_is_reported(name, tmp_path):
    result = dl.main(MEMBERS[name].module.experiment, ["train", "--run-dir", str(tmp_path / "run")])
    assert set(next(iter(result["metrics"].values()))) >= {MEMBERS[name].metric}
    page = result["report"].read_text()
    assert "run_dir=" in page  # of the call: its module is no program
    assert MEMBERS[name].artifact in page


def test_the_codes_of_the_vqvae_are_averages_of_what_chose_them(straight):
    """The votes of a batch are its examples, and so is their average."""
    run, _ = straight("vqvae")
    assert float(run.state.task["count"].sum()) == pytest.approx(64, rel=1e-2)


@pytest.mark.parametrize("every", [1, 2])
def test_the_generator_is_updated_every_kth_step_and_the_discriminator_at_each(every):
    experiment = gan.experiment(generator_every=every)
    step, batches = jax.jit(dl.make_step(experiment)), experiment.data.batches("train")
    states = [dl.init(experiment, jax.random.key(0))]
    for _ in range(4):
        states.append(step(states[-1], next(batches))[0])
    moved = [
        [not toys.same(a, b) for a, b in zip(split(before.params), split(after.params), strict=True)]
        for before, after in itertools.pairwise(states)
    ]
    assert moved == [[(i + 1) % every == 0, True] for i in range(4)]


def test_weights_are_frozen_where_they_are_given(straight):
    """The teacher of the distillation, and the trunk of the linear probe."""
    (taught, _), (probed, _) = straight("distillation"), straight("linear_probe")
    assert toys.same(taught.state.task["teacher"], distillation.least_squares(None))
    trunk = probed.state.params["trunk"]
    assert toys.same(trunk, linear_probe.principal_components(trunk))


def test_lbfgs_comes_to_the_solution_in_closed_form(straight):
    run, _ = straight("lbfgs")
    x, y = (regression.diabetes()["train"][name] for name in ("measurements", "target"))
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    penalty = lbfgs.experiment().task.penalty * len(x) * np.diag([1.0] * 10 + [0.0])
    expected = np.linalg.solve(x.T @ x + penalty, x.T @ y)
    head = run.state.params["head"]
    found = np.concatenate([head["kernel"][:, 0], head["bias"]])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_a_model_sows_is_no_state(straight):
    run, _ = straight("mixture_of_experts")
    assert run.state.variables == {}
    assert run.last["balance"] >= 1


def test_a_model_with_an_rng_collection_of_its_own_has_a_summary():
    result = dl.main(vae.experiment, ["summary"])
    state = jax.eval_shape(lambda: dl.init(vae.experiment(), jax.random.key(0)))
    assert result["num_params"] == sum(leaf.size for leaf in jax.tree.leaves(state.params))


@pytest.mark.slow
def test_samples_of_the_diffusion_are_nearer_to_digits_than_noise(straight):
    experiment, (run, _) = diffusion.experiment(), straight("diffusion")
    batch = next(experiment.data.batches("test"))
    sample = jax.jit(dl.make_predict(experiment))(run.state, batch)["sample"]
    digits = experiment.data.transform(batch)["image"].reshape(len(sample), -1)

    def distance(x: Any) -> float:
        """Mean distance to the nearest digit."""
        apart = np.linalg.norm(np.asarray(x).reshape(len(x), 1, -1) - np.asarray(digits)[None], axis=-1)
        return float(apart.min(axis=1).mean())

    noise = np.clip(0.5 + np.random.default_rng(0).normal(size=sample.shape) / 2, 0, 1)
    assert distance(sample) < 0.8 * distance(noise)


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
