"""A sweep, from its command line to its page; whatever stopped it, it goes on where it was."""

import json
import subprocess
import sys

import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from tests import toys

SHORT = ["--steps", "6", "--norm", "false"]


def run(tmp_path, *argv, short=True):
    flags = [*(SHORT if short else []), *argv, "--run-dir", str(tmp_path / "run")]
    return dl.main(toys.experiment, ["sweep", *flags])


def written(tmp_path):
    return json.loads((tmp_path / "run/sweep.json").read_text())


def test_a_sweep_leaves_its_rows_and_a_page(tmp_path):
    argv = ["--learning-rate", "1e-3..1e-1:3", "--batch-size", "8,16", "--seeds", "2", "--members-per-program", "3"]
    result = run(tmp_path, *argv)
    assert (result["members"], result["trained"]) == (12, 12)
    whole = written(tmp_path)
    rows, summary = whole["members"], whole["summary"]
    settings = [(row["arguments"]["batch_size"], row["arguments"]["learning_rate"], row["seed"]) for row in rows]
    assert settings == [(b, r, s) for b in (8, 16) for r in (1e-3, 1e-2, 1e-1) for s in (0, 1)]
    assert sum(len(row["compiled"]) for row in rows) == 2
    assert [row["steps"] for row in rows] == [6] * 12
    means = [entry["mean"] for entry in summary["settings"]]
    assert means == sorted(means)  # of a loss
    best = summary["settings"][0]
    same = [
        row["curve"][-1]["evaluation"]["loss"] for row in rows if row["arguments"] | best["setting"] == row["arguments"]
    ]
    assert best["mean"] == pytest.approx(sum(same) / 2)
    assert result["best"]["setting"] == best["setting"]
    text = (tmp_path / "run/report.html").read_text()
    for part in ("-m tests.toys train", "as one vmap", "learning_rate and batch_size", "Which arguments matter"):
        assert part in text or part.replace("learning_rate and batch_size", "batch_size and learning_rate") in text
    assert run(tmp_path, *argv)["trained"] == 0
    file = tmp_path / "run/members.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:9]) + lines[9][:30])  # killed while it wrote
    assert run(tmp_path, *argv)["trained"] == 3
    again = written(tmp_path)["members"]
    assert [row["curve"][-1]["evaluation"] for row in again] == [
        pytest.approx(row["curve"][-1]["evaluation"], rel=1e-5) for row in rows
    ]


@pytest.mark.slow
def test_the_best_setting_s_command_trains_it_alone(tmp_path):
    result = run(tmp_path, "--learning-rate", "1e-3,1e-1", "--seed", "3")
    words = result["best"]["command"].split()
    alone = dl.main(toys.experiment, [*words[3:], "--run-dir", str(tmp_path / "alone")])
    assert alone["metrics"]["test"]["loss"] == pytest.approx(result["best"]["score"], rel=1e-5)


@pytest.mark.slow
def test_halving_stops_all_but_the_best_and_changes_nothing_for_them(tmp_path, monkeypatch):
    argv = ["--learning-rate", "1e-3..1e-1:6", "--seeds", "2"]
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "all", *argv, "--steps", "20", "--execution", "serial")
    run(tmp_path / "half", *argv, "--steps", "20", "--halving", "2", "--execution", "serial")
    whole, halved = (written(tmp_path / name)["members"] for name in ("all", "half"))
    assert sorted(row["steps"] for row in halved) == [8] * 6 + [12] * 4 + [20] * 2
    assert sum(not row["stopped"] for row in halved) == 2
    for a, b in zip(whole, halved, strict=True):
        assert b["curve"] == [
            {
                "step": p["step"],
                "train": pytest.approx(p["train"], rel=1e-4),
                "evaluation": pytest.approx(p["evaluation"], rel=1e-4),
            }
            for p in a["curve"][: len(b["curve"])]
        ]
    at_rung = {(row["arguments"]["learning_rate"], row["seed"]): -row["rungs"][0] for row in halved}
    means = {rate: at_rung[rate, 0] + at_rung[rate, 1] for rate, _ in at_rung}
    assert {row["arguments"]["learning_rate"] for row in halved if row["steps"] > 8} == set(
        sorted(means, key=means.get)[:3]
    )
    file = tmp_path / "half/run/members.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:7]))  # killed after the first rung
    assert run(tmp_path / "half", *argv, "--steps", "20", "--halving", "2", "--execution", "serial")["trained"] == 5
    again = written(tmp_path / "half")["members"]
    assert [(row["steps"], row["stopped"]) for row in again] == [(row["steps"], row["stopped"]) for row in halved]
    assert "stopped" in (tmp_path / "half/run/report.html").read_text()


def test_a_diverged_member_is_told_and_never_the_best(tmp_path):
    result = run(tmp_path, "--learning-rate", "1e-2,1e38", "--weight-decay", "1e3")
    summary = written(tmp_path)["summary"]
    assert [entry["diverged"] for entry in summary["settings"]] == [0, 1]
    assert result["best"]["setting"] == {"learning_rate": 1e-2}
    assert "1 diverged" in (tmp_path / "run/report.html").read_text()


@pytest.mark.slow  # the axes say every day that more draws begin with the same
def test_more_draws_go_on(tmp_path):
    argv = ["--learning-rate", "1e-3..1e-1", "--dropout", "0,0.2", "--search", "quasi", "--execution", "serial"]
    assert run(tmp_path, *argv, "--num-trials", "2")["trained"] == 2
    assert run(tmp_path, *argv, "--num-trials", "3")["trained"] == 1
    assert written(tmp_path)["members"][0]["execution"] == "one after another (asked for)"


def test_proposals_are_made_again_after_a_kill(tmp_path):
    pytest.importorskip("optuna")
    argv = ["--learning-rate", "1e-3..1e-1", "--search", "tpe", "--num-trials", "6", "--parallel-trials", "3"]
    assert run(tmp_path, *argv)["trained"] == 6
    before = written(tmp_path)["members"]
    file = tmp_path / "run/members.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:4]))
    assert run(tmp_path, *argv)["trained"] == 2
    after = written(tmp_path)["members"]
    assert [row["arguments"] for row in before] == [row["arguments"] for row in after]


def test_groups_are_trials_of_ray(tmp_path):
    pytest.importorskip("ray")
    command = [
        sys.executable,
        "-m",
        "tests.toys",
        "sweep",
        *SHORT,
        "--learning-rate",
        "1e-3,1e-1",
        "--batch-size",
        "8,16",
    ]
    for name, more in (("ray", ["--backend", "ray"]), ("local", [])):
        flags = [*command, *more, "--run-dir", str(tmp_path / name / "run")]
        done = subprocess.run(flags, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = [written(tmp_path / name)["members"] for name in ("ray", "local")]
    assert len(rows[0]) == 4
    for a, b in zip(*rows, strict=True):
        assert a["arguments"] == b["arguments"]
        assert a["curve"][-1]["evaluation"] == pytest.approx(b["curve"][-1]["evaluation"], rel=1e-5)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "are one run, and that is what train does"),
        (["--learning-rate", "1e-3..1e-1"], "--learning-rate 1e-3..1e-1:8; or give --search random"),
        (["--search", "random", "--seeds", "2"], "no argument has many values"),
        (["--seeds", "2", "--num-trials", "2"], "--num-trials 2 is for --search random or quasi or tpe"),
        (["--learning-rate", "0.1..0.2", "--search", "quasi", "--parallel-trials", "2"], "is for --search tpe"),
        (["--seeds", "0"], "seeds is 0, expected 1 or more"),
        (["--seeds", "2", "--halving", "1"], "halving is 1, expected 2 or more"),
        (["--seeds", "2", "--halving", "3", "--backend", "ray"], "cannot go with --backend ray"),
        (["--seeds", "2", "--mesh", "data=2"], "--mesh data=2: many runs are spread along the axis member"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path, argv, message):
    with pytest.raises(UserError, match=message.replace("..", r"\.\.")):
        run(tmp_path, *argv)
    assert not (tmp_path / "run/members.jsonl").exists()


def test_a_wrong_word_is_told(tmp_path):
    with pytest.raises(UserError, match="'x' is no number"):
        run(tmp_path, "--learning-rate", "1e-3..x:3")
