"""Faults of the process: a kill, two signals, exhausted memory, a damaged compilation cache, a clock that jumps."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.runs import session
from deeplab.train import loop
from deeplab.verbs import verify as verify_module
from tests import toys

ROOT = Path(__file__).parents[2]


def start(*argv, **environment):
    command = [sys.executable, "-m", "tests.toys", *map(str, argv)]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_rows(path: Path) -> None:
    while not path.exists() or not path.read_bytes().count(b"\n"):
        time.sleep(0.002)


def test_killed_runs_equal_uninterrupted_ones_bitwise(tmp_path):
    """By SIGKILL, which the kernel's out-of-memory killer sends, too.

    `python -m experiments.image_digits verify --kills 20` and `python -m experiments.text_stdlib verify --kills 20` do
    the same with 20 kills.
    """
    result = dl.main(toys.experiment, ["verify", "--kills", "1", "--steps", "8000", "--run-dir", str(tmp_path)])
    assert (result["kills"], result["steps"]) == (1, 8_000)
    assert (result["differing_leaves"], result["differing_rows"]) == ([], 0)
    assert result["leaves"] > 10
    assert result["rows"] > 100


@pytest.mark.slow
def test_verify_reports_a_difference(tmp_path, monkeypatch):
    """A run of another seed takes the place of the killed one."""

    def tampered(call, directory, *args):
        dl.main(toys.experiment, ["train", "--steps", "100", "--seed", "9", "--run-dir", str(directory)])
        return 0

    monkeypatch.setattr(verify_module, "_train_with_kills", tampered)
    result = dl.main(toys.experiment, ["verify", "--kills", "1", "--steps", "100", "--run-dir", str(tmp_path)])
    assert result["exit_code"] == 3
    assert "params/head/kernel" in result["differing_leaves"]
    assert result["differing_rows"] > 0


@pytest.mark.slow
def test_a_second_signal_ends_the_process_at_once(tmp_path):
    run = tmp_path / "run"
    process = start("--steps", 10_000_000, "--run-dir", run, "--log-every", 1000, "--checkpoint-every", 5000)
    wait_for_rows(run / "metrics.jsonl")
    os.kill(process.pid, signal.SIGSTOP)  # Both signals are then pending at once.
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(timeout=60) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    process.communicate()


def test_out_of_memory_is_explained(tmp_path, monkeypatch):
    def exhausted(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1234 bytes")

    monkeypatch.setattr(session, "train", exhausted)
    with pytest.raises(UserError, match=r"(?s)1234 bytes.*smaller --batch-size.*checkpoint is untouched"):
        dl.main(toys.experiment, ["train", "--run-dir", str(tmp_path / "run")])


@pytest.mark.slow
def test_a_damaged_compilation_cache_is_ignored(tmp_path):
    """Programs are compiled again, with the same results."""
    cache = {"DEEPLAB_CACHE": str(tmp_path / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    rows = []
    for name in ("first", "second"):
        process = start("--run-dir", tmp_path / name, **cache)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        lines = (tmp_path / name / "metrics.jsonl").read_bytes().splitlines()
        rows.append([line.split(b'"seconds"')[0] for line in lines])
        entries = [path for path in (tmp_path / "cache" / "compiled").rglob("*") if path.is_file()]
        assert entries
        for path in entries:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert rows[0] == rows[1]


def test_no_number_depends_on_the_clock(monkeypatch):
    """A clock that jumps changes the length of dispatches only."""
    exp = toys.experiment(steps=100)
    ends = []
    for clock in (time.monotonic, iter(range(0, 10**9, 1000)).__next__, iter(range(10**9, 0, -1000)).__next__):
        monkeypatch.setattr(loop.time, "monotonic", clock)
        state, feed, _ = toys.start(exp)
        ends.append(dl.train.loop.fit(exp, state, feed).state)
    assert toys.same(ends[0], ends[1])
    assert toys.same(ends[0], ends[2])
