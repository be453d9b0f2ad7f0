"""Evaluations after training, and the ends of a session: what a run directory tells of them."""

import dataclasses
import functools
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

import deeplab as dl
from deeplab import report
from deeplab.cli import arguments
from deeplab.cli import deeplab as command
from deeplab.cli.main import VERBS
from deeplab.cli.predict import loaded
from deeplab.core.errors import UserError
from deeplab.core.monitor import Best, Monitor
from deeplab.core.text import loads
from deeplab.train.loop import on_dispatch
from deeplab.verbs.training.budget import Budget, seconds_of
from deeplab.verbs.training.progress import progress
from tests import toys

CLOCK = ("seconds", "steps_per_second", "stalled")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return dl.fit(toys.experiment, run_dir=tmp_path_factory.mktemp("runs") / "a")


def rows(directory):
    lines = [loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in lines]


def test_an_evaluation_is_recorded_and_told(trained, capsys):
    directory = trained.directory
    first = dl.evaluate(directory, split="train")
    again = dl.main(toys.experiment, ["eval", "--split", "train", "--run-dir", str(directory)])
    assert (first.recorded, again["recorded"]) == (True, True)
    run = dl.load(directory)
    assert run.metrics["train"] == first.metrics == again["metrics"]
    assert run.metrics["test"] == trained.metrics["test"]
    (kept,) = run.evaluations  # of two with one split and step, the last
    assert (kept["split"], kept["step"], kept["data"]["examples"]) == ("train", 20, 50)
    page = report.write(directory).read_text()
    assert "train, evaluated" in page
    dl.evaluate(directory)
    (summary,) = report.find(directory.parent)
    assert summary.metrics["test"]["accuracy"] == trained.metrics["test"]["accuracy"]


def test_another_split_is_shown_by_its_name(trained, tmp_path):
    """A reader of the record, without the experiment."""
    record = report.read(trained.directory)
    found = [{"split": "other", "step": step, "metrics": {"loss": loss}} for step, loss in ((10, 2.0), (20, 1.0))]
    other = dataclasses.replace(record, evaluations=found)
    assert other.last("other") == (20, {"loss": 1.0})
    assert other.splits == ["test", "other", "train"]


def test_what_is_not_the_runs_is_not_recorded(trained):
    before = trained.evaluations
    changed = dataclasses.replace(trained.state, params=jax.tree.map(lambda x: x + 1, trained.state.params))
    found = dl.evaluate(dataclasses.replace(trained, state=changed), "test")
    assert not found.recorded
    assert "its state is that of no checkpoint" in str(found)
    with pytest.warns(UserWarning, match=r"other arguments:\n.*\n  label_smoothing +\S+ +0\.0\n"):
        other = dl.main(toys.experiment, ["eval", "--label-smoothing", "0", "--run-dir", str(trained.directory)])
    assert other["recorded"] is False
    assert trained.evaluations == before


@pytest.mark.parametrize("verb", ["predict", "explain", "probe", "robustness"])
def test_a_verb_with_other_arguments_than_the_run_is_refused(trained, verb, tmp_path):
    """A run that normalizes its images told nonsense of images that the command did not."""
    file = tmp_path / "a.png"
    file.write_text("")
    words = [verb, *[str(file)] * (verb == "predict"), "--jitter", "0.5", "--run-dir", str(trained.directory)]
    with pytest.raises(UserError, match=r"(?s)other arguments:\n.*jitter +0\.1 +0\.5\n.*Give this command the flags"):
        loaded(arguments.parse(toys.experiment, "tests.toys", VERBS, words), "last")


def test_what_is_no_other_argument_is_not_refused(trained, tmp_path):
    """Another seed or precision, an argument that the run did not have yet, and a path."""

    def grown(root: Path = Path("."), new: int = 3, steps: int = 20) -> dl.Experiment:
        return toys.experiment(steps=steps)

    record = loads((trained.directory / "run.json").read_text())
    record["arguments"] = {"root": {"Path": "/elsewhere"}, "steps": 20, "gone": 1, "precision": "bf16"}
    shutil.copytree(trained.directory, tmp_path / "run")
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    go = functools.partial(arguments.parse, grown, "tests.toys", VERBS)
    assert loaded(go(["eval", "--seed", "3", "--run-dir", str(tmp_path / "run")]), "last").step == 20
    with pytest.raises(UserError, match=r"new +3 +4"):
        loaded(go(["eval", "--new", "4", "--run-dir", str(tmp_path / "run")]), "last")


@pytest.mark.parametrize(
    "call",
    [
        lambda run, **options: dl.evaluate(run, "test", **options),
        lambda run, **options: dl.predict(run, np.zeros((1, 2), np.float32), **options),
        dl.explain_run,
        dl.probe,
        dl.robustness,
    ],
    ids=["evaluate", "predict", "explain_run", "probe", "robustness"],
)
def test_options_of_loading_are_refused_with_a_run_that_is_loaded(trained, call):
    """They were dropped without a word."""
    with pytest.raises(UserError, match=r"checkpoint='best' was given with a Run, which has its state already"):
        call(trained, checkpoint="best")


def test_a_misspelled_option_is_refused_with_a_run(trained):
    with pytest.raises(UserError, match=r"chekpoint='best' was given with a Run"):
        dl.evaluate(trained, "test", chekpoint="best")


def test_a_run_in_a_folder_that_cannot_be_written_is_evaluated(trained, tmp_path):
    """The metrics were thrown away."""
    shutil.copytree(trained.directory, tmp_path / "run")
    (tmp_path / "run/evaluations.jsonl").unlink(missing_ok=True)
    (tmp_path / "run/evaluations.jsonl").mkdir()  # as on a read-only disk, which needs root
    found = dl.evaluate(dataclasses.replace(trained, directory=tmp_path / "run"), "test")
    assert found.metrics == trained.metrics["test"]
    assert not found.recorded
    assert "not recorded in the run, since cannot write to" in re.sub(r"\s+", " ", str(found))


@pytest.mark.slow
def test_evaluations_after_the_step_that_is_gone_back_to_are_removed(tmp_path):
    short = functools.partial(toys.experiment, steps=8)
    dl.fit(short, run_dir=tmp_path / "run")
    dl.evaluate(tmp_path / "run")
    with (tmp_path / "run/evaluations.jsonl").open("a") as file:
        file.write(json.dumps({"step": 99, "split": "test", "metrics": {"loss": 0.0}}) + '\n{"step": 8, "sp')
    assert [row["step"] for row in dl.load(tmp_path / "run", short).evaluations] == [8, 99]
    dl.fit(short, run_dir=tmp_path / "run")
    dl.evaluate(tmp_path / "run")
    assert [row["step"] for row in dl.load(tmp_path / "run", short).evaluations] == [8]


def broken(steps: int = 8, fail: bool = False) -> dl.Experiment:
    made = toys.experiment(steps=steps)
    return dataclasses.replace(made, show=(lambda *_: 1 / 0) if fail else None)


def raising(progress):
    if progress.step >= 4:
        raise ValueError("the disk is on fire\nand more")


def status_of(directory):
    return [(run.status, run.step, run.problem) for run in report.find(directory)]


def test_each_end_of_a_session_is_told(tmp_path, capsys):
    """Crashed, running, stopped, finished, killed; and a refused session tells nothing new."""
    go = functools.partial(dl.fit, functools.partial(toys.experiment, steps=8), run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="on fire"):
        go(hooks=[dl.on_state(4, raising)])
    assert status_of(tmp_path) == [("crashed", 4, "ValueError: the disk is on fire")]
    assert "Crashed at step 4: ValueError" in report.write(tmp_path / "run").read_text()
    seen = []
    go(hooks=[dl.on_state(4, lambda progress: seen.extend(status_of(tmp_path)))])
    assert [status for status, *_ in seen] == ["running"]
    assert status_of(tmp_path) == [("finished", 8, "")]
    with pytest.raises(UserError, match="other settings"):
        dl.fit(functools.partial(toys.experiment, steps=9), run_dir=tmp_path / "run")
    assert status_of(tmp_path) == [("finished", 8, "")]
    (tmp_path / "run/result.json").unlink()
    assert status_of(tmp_path) == [("unfinished", 8, "")]


def test_a_lock_that_stayed_behind_is_not_a_running_process(trained):
    """And one that another process holds is."""
    assert (trained.directory / "run.lock").exists()
    assert report.find(trained.directory.parent)[0].status == "finished"
    code = (
        "import fcntl, os, sys; file = os.open(sys.argv[1], os.O_RDWR); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(trained.directory / "run.lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "held\n"
        assert report.read(trained.directory).in_use
        held.stdin.close()
    assert not report.read(trained.directory).in_use


@pytest.mark.slow
def test_runs_show_what_differs(tmp_path, capsys, monkeypatch):
    for seed, rate in ((1, 1e-2), (0, 1e-1)):
        made = functools.partial(toys.experiment, learning_rate=rate)
        dl.fit(made, run_dir=tmp_path / f"runs/{rate}-{seed}", seed=seed, smoke=True)
    dl.sweep(
        functools.partial(toys.experiment, steps=4), {"learning_rate": "1e-3,1e-2"}, run_dir=tmp_path / "runs/sweep"
    )
    monkeypatch.setattr(sys, "argv", ["deeplab", "runs", str(tmp_path / "runs"), "--json"])
    command()
    found = {run["name"]: run for run in json.loads(capsys.readouterr().out, parse_constant=pytest.fail)}
    one = found["0.1-0"]
    assert (one["seed"], one["smoke"], one["status"], one["kind"]) == (0, True, "finished", "run")
    assert one["differing"]["learning_rate"] == 0.1
    assert "dropout" not in one["differing"]
    assert one["arguments"]["dropout"] == 0.2
    assert one["age"] >= 0
    assert (found["sweep"]["kind"], found["sweep"]["step"]) == ("sweep", 2)
    assert "best" in found["sweep"]["headline"]
    out = io.StringIO()
    Console(file=out, width=240).print(report.table(report.find(tmp_path / "runs")))
    assert "smoke, steps 20, learning_rate 0.1 0 finished 4" in " ".join(out.getvalue().split())
    page = report.compare([tmp_path / "runs/0.1-0", tmp_path / "runs/sweep"], tmp_path / "page.html").read_text()
    assert "3 runs · 3 settings" in page
    before = (tmp_path / "runs/sweep/report.html").read_bytes()
    assert report.write(tmp_path / "runs/sweep").read_bytes() == before


def patient(steps: int = 60, patience: int | None = 2, learning_rate: float = 1e-2) -> dl.Experiment:
    """Its accuracy is soon as good as it gets."""
    made = toys.experiment(steps=steps, learning_rate=learning_rate)
    return dataclasses.replace(made, eval_every=4, patience=patience, monitor=Monitor("accuracy", "max"))


def expected_end(evaluated, patience):
    """The plain reading of a patience, as a loop over the rows of an undisturbed run."""
    best, since = (-np.inf, 0), 0
    for row in evaluated:
        if row["accuracy"] > best[0]:
            best, since = (row["accuracy"], row["step"]), 0
        else:
            since += 1
        if since == patience:
            return row["step"], best[1]
    raise AssertionError("it never ended")


def test_patience_ends_a_run_where_its_evaluations_say(tmp_path):
    """The rows are a prefix of those of a run without it; stopped and gone on with at any place, it is the same run."""
    whole = dl.fit(functools.partial(patient, patience=None))
    end, best = expected_end([row for row in whole.rows if row["split"] == "test"], 2)
    assert end < 60
    straight = dl.fit(patient, run_dir=tmp_path / "straight")
    assert (straight.step, straight.best_step, straight.stopped) == (end, best, None)
    told = f"stopped early at step {end} of 60, best at step {best}"
    assert told in str(straight)
    kept = [{k: v for k, v in row.items() if k not in CLOCK} for row in whole.rows]
    assert rows(tmp_path / "straight") == [row for row in kept if row["step"] <= end]
    assert (dl.load(tmp_path / "straight").best_step, report.find(tmp_path)[0].status) == (best, "finished")
    assert told.capitalize() in report.write(tmp_path / "straight").read_text()
    again = dl.fit(patient, run_dir=tmp_path / "straight")
    assert (again.step, again.metrics, again.best_step) == (end, straight.metrics, best)

    def interrupt(at, progress):
        if progress.step >= at:
            raise KeyboardInterrupt

    for at in (end - 1,):
        with pytest.raises(KeyboardInterrupt):
            dl.fit(
                patient,
                run_dir=tmp_path / "killed",
                hooks=[dl.on_state(at, functools.partial(interrupt, at))],
                checkpoint_every=3,
            )
    killed = dl.fit(patient, run_dir=tmp_path / "killed")
    assert killed.resumed_from
    assert toys.same(killed.state, straight.state)
    assert (killed.step, killed.best_step, killed.metrics) == (end, best, straight.metrics)
    assert rows(tmp_path / "killed") == rows(tmp_path / "straight")


def test_a_sweep_refuses_patience():
    with pytest.raises(UserError, match=r"patience=2, and the runs of a sweep.*patience=None"):
        dl.sweep(patient, {"learning_rate": [1e-3, 1e-2]})


def test_an_improvement_is_a_larger_score():
    found = Best()
    for step, score in enumerate([-np.inf, -1.0, -1.0, -np.inf, -0.5], start=1):
        found = found.after(step, score)
    assert found == Best(-0.5, 5, 0)
    assert Best().after(1, -np.inf).after(2, -np.inf) == Best(-np.inf, 0, 2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1h 5s", 3605), ("0.5h", 1800), (7, 7), (0.5, 0.5)],
)
def test_budgets(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "10 minutes", "m", "-5s", "0s", "30m1h", "nan", -1, 0, float("nan"), float("inf")]
)
def test_what_is_no_budget_is_told(text):
    with pytest.raises(UserError, match=r"expected a time above 0 .* such as 90s, 10m, 1h30m"):
        Budget(text)


@pytest.mark.slow
def test_a_budget_evaluates_saves_and_goes_on_as_if_it_had_not_been(tmp_path, capsys):
    steps = ["--steps", "600", "--run-dir", str(tmp_path / "run")]
    stopped = dl.main(toys.experiment, ["train", *steps, "--budget", "0.001s"])
    out = capsys.readouterr().out
    assert stopped["stopped"] == 0
    assert 0 < stopped["steps"] < 600
    assert f"stopped and saved at step {stopped['steps']} of 600; resume with:" in out
    assert "the budget of 0.001s is used up" in out
    (kept,) = [json.loads(line) for line in (tmp_path / "run/evaluations.jsonl").read_text().splitlines()]
    assert (kept["step"], kept["metrics"]) == (stopped["steps"], stopped["metrics"]["test"])
    assert status_of(tmp_path) == [("stopped", stopped["steps"], "the budget of 0.001s is used up")]
    end = dl.main(toys.experiment, ["train", *steps, "--budget", "1h"])
    assert (end["resumed_from"], end["steps"], end["stopped"]) == (stopped["steps"], 600, None)
    straight = dl.fit(functools.partial(toys.experiment, steps=600))
    assert end["metrics"] == straight.metrics
    kept = [{k: v for k, v in row.items() if k not in CLOCK} for row in straight.rows]
    assert rows(tmp_path / "run") == kept


def shown(console):
    """What the progress of a small run prints."""
    experiment = functools.partial(toys.experiment, steps=8)
    with progress(console, experiment(), 0) as lines:
        run = dl.fit(experiment, hooks=[lines.hook])
        for row in run.rows:
            lines.row(row["step"], row["split"], {k: v for k, v in row.items() if k not in ("step", "split")})
    return run


def test_evaluations_are_shown_in_plain_lines():
    out = io.StringIO()
    run = shown(Console(file=out, width=60))
    last = run.metrics["test"]
    assert f"step 8/8  test loss {last['loss']:.4g}, accuracy {last['accuracy']:.4g} (" in out.getvalue()
    assert "steps/s" in out.getvalue()
    assert out.getvalue().count("\n") <= 4


def test_a_line_of_throughput_tells_no_evaluation_of_another_step():
    out = io.StringIO()
    with progress(Console(file=out, width=60), toys.experiment(steps=8), 0) as lines:
        earlier = on_dispatch(lambda at: lines.row(4, "test", {"loss": 0.5, "accuracy": 0.25}))
        dl.fit(functools.partial(toys.experiment, steps=8), hooks=[earlier, lines.hook])
    speeds = [line for line in out.getvalue().splitlines() if "steps/s" in line]
    assert speeds
    assert not any("test loss" in line for line in speeds)


def test_a_notebook_has_one_line(capsys):
    console = Console(file=io.StringIO())
    console.is_jupyter = True
    shown(console)
    out = capsys.readouterr().out
    assert out.startswith("\rstep ")
    assert out.count("\n") == 1


def test_the_best_evaluation_so_far_is_told_with_its_step():
    out = io.StringIO()
    with progress(Console(file=out), toys.experiment(steps=10), 0) as lines:
        for step, loss in ((5, float("nan")), (10, 0.5), (15, 0.75)):
            lines.row(step, "test", {"loss": loss, "accuracy": 0.25, "seconds": 1.0})
    assert out.getvalue().splitlines() == [
        "step 5/10  test loss nan, accuracy 0.25 (no finite loss yet)",
        "step 10/10  test loss 0.5, accuracy 0.25 (the best so far)",
        "step 15/10  test loss 0.75, accuracy 0.25 (best loss 0.5 at step 10)",
    ]


def test_the_best_of_a_resumed_session_is_that_of_the_session():
    """An evaluation before it may have been better."""
    out = io.StringIO()
    with progress(Console(file=out), toys.experiment(steps=10), 5) as lines:
        for step, loss in ((10, 0.5), (15, 0.75)):
            lines.row(step, "test", {"loss": loss})
    assert out.getvalue().splitlines() == [
        "step 10/10  test loss 0.5 (the best since step 5)",
        "step 15/10  test loss 0.75 (best loss since step 5 0.5 at step 10)",
    ]
