"""The cache: whole or not there, once for all processes, and verified."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from deeplab.data.prepare import cache

PREPARE = """
import sys, time, pathlib, numpy as np
from deeplab.data.prepare import cache

def make():
    with open(sys.argv[1] + "/makers", "a") as file:
        file.write("x")
    print("making", flush=True)
    time.sleep(float(sys.argv[2]))
    return {"image": np.arange(12).reshape(3, 4)}

print(cache.arrays(pathlib.Path(sys.argv[1]) / "set" / "train", make)["image"].sum(), flush=True)
"""


WRITE = """
import sys, time, pathlib
from deeplab.data.prepare import cache

def write(partial):
    partial.mkdir()
    (partial / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))

print(cache.publish(pathlib.Path(sys.argv[1]) / "set", write), flush=True)
"""


def prepare(folder, seconds, program=PREPARE):
    command = [sys.executable, "-c", program, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_prepare_a_set_once(tmp_path):
    processes = [prepare(tmp_path, 0.3) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].split()[-1] for process in processes]
    assert outputs == ["66", "66"]
    assert (tmp_path / "makers").read_text() == "x"


def test_a_failed_preparation_leaves_nothing(tmp_path):
    def write(partial):
        partial.mkdir()
        (partial / "half").write_text("a half")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        cache.publish(tmp_path / "set", write)
    assert [path.name for path in tmp_path.iterdir()] == [".lock-set"]


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "here"))
    assert cache.cache_dir() == tmp_path / "here"
    monkeypatch.setenv("DEEPLAB_CACHE", "")
    assert cache.cache_dir().parts[-2:] == (".cache", "deeplab")


@pytest.mark.parametrize("shape", [(0,), (1,), (5, 0), (7, 3), (3, 2**21)])
def test_arrays_come_back_as_they_were(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    opened = cache.arrays(tmp_path / "set", lambda: {"a": array, "b": np.arange(3)})
    np.testing.assert_array_equal(opened["a"], array)
    np.testing.assert_array_equal(opened["b"], [0, 1, 2])


def test_a_kill_while_preparing_is_made_good_by_the_next_run(tmp_path):  # matrix row 6
    killed = prepare(tmp_path, 60, WRITE)
    assert killed.stdout.readline() == "writing\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert (tmp_path / ".partial-set" / "half").exists()
    assert not (tmp_path / "set").exists()
    assert prepare(tmp_path, 0, WRITE).communicate(timeout=60)[0].split()[-1] == str(tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock-set", "set"]
