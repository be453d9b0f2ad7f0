"""A killed sweep goes on from its last evaluation, and its rows are those of the undisturbed one, bit by bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SWEEP = ["--learning-rate", "1e-3..1e-1:4", "--seeds", "1", "--steps", "600", "--members-per-program", "2"]
CLOCK = ("seconds", "compiled")
KINDS = [
    pytest.param(("--halving", "2"), id="halving"),
    pytest.param((), id="whole", marks=pytest.mark.slow),
]


def command(directory, *argv):
    return [sys.executable, "-m", "tests.toys", "sweep", *SWEEP, *argv, "--run-dir", str(directory)]


def finish(directory, *argv):
    """The sweep to its end, in a process like those that are killed: tests compile with other options."""
    subprocess.run(command(directory, *argv), cwd=ROOT, check=True, capture_output=True)


def rows(directory):
    """What is told of the members, but for the clock."""
    members = json.loads((directory / "sweep.json").read_text())["members"]
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in members]


def progress(directory):
    """Steps that are saved of parts under way, by their directory, and how many rows are kept."""
    saved = {}
    for path in (directory / "members").glob("*/*"):
        if path.name.isdigit():
            saved[path.parent.name] = max(saved.get(path.parent.name, 0), int(path.name))
    file = directory / "members.jsonl"
    return saved, file.read_bytes().count(b"\n") if file.exists() else 0


def kill(directory, rng, seconds, *argv):
    """Starts the sweep, and kills it at a random moment within so many seconds of its first news of this session."""
    before = progress(directory)
    process = subprocess.Popen(command(directory, *argv), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and progress(directory) == before:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, seconds))
    process.send_signal(signal.SIGKILL)
    err = process.communicate()[1]
    assert process.returncode in (0, -signal.SIGKILL), err.decode()[-2000:]
    return process.returncode != 0


@pytest.mark.parametrize("argv", KINDS)
def test_a_killed_sweep_is_the_undisturbed_one(argv, tmp_path):
    """One kill by default; DEEPLAB_KILLS=10 makes more."""
    finish(tmp_path / "undisturbed", *argv)
    rng, kills = random.Random(0), 0
    for _ in range(int(os.environ.get("DEEPLAB_KILLS", "1"))):
        kills += kill(tmp_path / "killed", rng, 1.0, *argv)
    print(f"{kills} kills, then {progress(tmp_path / 'killed')}")
    finish(tmp_path / "killed", *argv)
    assert kills
    assert rows(tmp_path / "killed") == rows(tmp_path / "undisturbed")
    assert not (tmp_path / "killed/members").exists()


@pytest.mark.slow  # the kills are of the same kind, and less gentle
def test_a_signal_stops_a_sweep_and_it_goes_on(tmp_path):
    """SIGTERM between two evaluations: the members are saved where they are, training metrics and all."""
    finish(tmp_path / "undisturbed")
    directory, files = tmp_path / "stopped", {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command(directory), cwd=ROOT, **files)
    while process.poll() is None and not progress(directory)[0]:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    err = process.communicate()[1].decode()
    assert process.returncode == 128 + signal.SIGTERM, err[-2000:]
    finish(directory)
    assert rows(directory) == rows(tmp_path / "undisturbed")


OFFLOAD = pytest.param(("--halving", "2", "--offload"), id="offload", marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize("argv", [*KINDS, OFFLOAD])
def test_two_processes_make_the_rows_of_one(argv, tmp_path):
    argv = ("--norm", "false", "--steps", "40", *argv)
    finish(tmp_path / "one", *argv)
    finish(tmp_path / "two", *argv, "--processes", "2", "--devices-per-process", "1")
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert "spread over 2 devices" in two[0]["execution"]
    for a, b in zip(one, two, strict=True):
        assert (a["arguments"], a["seed"], a["steps"], a["stopped"]) == (
            b["arguments"],
            b["seed"],
            b["steps"],
            b["stopped"],
        )
        assert a["curve"][-1]["evaluation"] == pytest.approx(b["curve"][-1]["evaluation"], rel=1e-4)
