"""Two real processes on this machine equal one, and both end within seconds when one of them fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import deeplab as dl
from deeplab import scale
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.fingerprint import fingerprints
from experiments.benchmarks import process_faults
from tests import toys
from tests.faults import pair
from tests.scale.test_meet import free_port

ROOT = Path(__file__).parents[2]


def start(*command, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_of_four_devices_equal_one_of_eight(tmp_path):
    """Batches and initial parameters bitwise, losses, and checkpoints in both directions and on one device."""
    one = pair.report(tmp_path, "one", "two", "data=8")
    address = f"127.0.0.1:{free_port()}"
    both = [start("tests.faults.pair", address, i, tmp_path, JAX_NUM_CPU_DEVICES="4") for i in range(2)]
    output = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], output
    two, second = (json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2))
    assert two == second
    for name in ("initial", "resident batch", "host batch", "predictions"):
        assert two[name] == one[name], name
    assert (one["rows read"], two["rows read"]) == (16, 8)
    for name in ("losses", "host losses"):
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5)
    assert two["evaluation"] == pytest.approx(one["evaluation"], abs=1e-5)
    assert two["loaded"] == [one["state"], {"from": "one"}]
    for mesh in ("data=8", "data=1"):
        with Checkpoints(tmp_path / "two") as checkpoints:
            loaded, extra = checkpoints.latest(pair.abstract(toys.experiment(), scale.make_mesh(mesh)))
        assert [fingerprints(loaded), extra] == [two["state"], {"from": "two"}]


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in ("raise", "kill", "freeze")])
def test_a_failed_process_ends_the_other_and_both_resume(kind, tmp_path):
    """One fault of each kind; `python -m experiments.benchmarks.process_faults` injects many."""
    result = process_faults.measure(1, (kind,), tmp_path, num_steps=100, seed=1)
    assert all(seconds < 15 for kind in result["seconds"].values() for seconds in kind), result
    assert result["unnamed"] == []
    assert result["differing"] == []


@pytest.mark.slow  # each half has a test of its own: a signal to a run, and a state that another mesh goes on with
def test_a_signal_to_one_process_stops_both_and_one_process_resumes(tmp_path):
    """The run ends with one process and one device, with the same examples in the same order."""
    run, flags = tmp_path / "run", ["--steps", "3000", "--log-every", "10", "--steps-per-dispatch", "1"]
    launch = ["--processes", "2", "--devices-per-process", "1"]
    command = start("tests.toys", "train", "--run-dir", run, *flags, *launch)
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_bytes():
        assert command.poll() is None, command.communicate()[0]
        time.sleep(0.05)
    os.kill(process_faults.process_ids(command.pid)[1], signal.SIGTERM)
    output = command.communicate(timeout=120)[0]
    assert command.returncode == 143, output
    assert "run the same command again" in output
    with pytest.warns(UserWarning, match=r"was begun with mesh data=2.*processes 2 \(now 1\)"):
        result = dl.main(toys.experiment, ["train", "--run-dir", str(run), *flags])
    assert result["steps"] == 3000
    assert 0 < result["resumed_from"] < 3000
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(10, 3001, 10))


@pytest.mark.slow
def test_processes_with_different_arguments_are_refused(tmp_path):
    """Both end with exit code 2, and process 0 prints the difference."""
    address = f"127.0.0.1:{free_port()}"
    flags = ["train", "--run-dir", tmp_path / "run", "--coordinator", address, "--num-processes", "2"]
    both = [
        start("tests.toys", *flags, "--process-id", i, "--dropout", 0.2 + 0.3 * i, JAX_NUM_CPU_DEVICES="1")
        for i in range(2)
    ]
    output = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [2, 2], output
    assert "process 1 of 2 does not run the same program as process 0" in output[0]
    assert any(line.split() == ["argument", "dropout", "0.2", "0.5"] for line in output[0].splitlines()), output
    assert not (tmp_path / "run").exists()
