"""Killed, damaged, foreign and full: what is left is used, what is not is named. Rows are those of the fault matrix."""

import ast
import errno
import json
import math
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplab
from deeplab.core.errors import CheckpointError
from deeplab.core.monitor import Monitor
from deeplab.runs import storage
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.fingerprint import fingerprints


def make_state(step, size=32):
    w = jax.random.normal(jax.random.key(step), (size, size))
    return {"step": jnp.int32(step), "params": {"w": w, "b": jnp.zeros(3)}, "key": jax.random.key(step)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    with Checkpoints(directory, keep=9) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, make_state(step), extra={"step": step}, force=True)
    return directory


@pytest.fixture
def directory(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def resume(directory, state=None):
    with Checkpoints(directory) as checkpoints:
        state, extra = checkpoints.latest(make_state(0) if state is None else state)
    np.testing.assert_array_equal(state["params"]["w"], make_state(int(state["step"]))["params"]["w"])
    assert extra == {"step": int(state["step"])}
    return int(state["step"])


def largest(step_directory):
    return max((p for p in step_directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "chunk cut": (lambda d: cut(largest(d)), "ocdbt.process_0/d/.*: missing, or changed"),
    "chunk empty": (lambda d: largest(d).write_bytes(b""), "ocdbt.process_0/d/.*: missing, or changed"),
    "chunk gone": (lambda d: largest(d).unlink(), "ocdbt.process_0/d/.*: missing, or changed"),
    "index gone": (lambda d: (d / "state/manifest.ocdbt").unlink(), "state/manifest.ocdbt: missing"),
    "metadata garbage": (lambda d: (d / "_CHECKPOINT_METADATA").write_bytes(b"\xff{"), "_CHECKPOINT_METADATA"),
    "manifest gone": (lambda d: (d / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest cut": (lambda d: cut(d / "manifest.json"), "manifest.json cannot be read"),
    "manifest nested": (lambda d: (d / "manifest.json").write_bytes(b"[" * 10**5), "manifest.json cannot be read"),
    "all files empty": (lambda d: [p.write_bytes(b"") for p in d.rglob("*") if p.is_file()], "cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(directory, kind):
    """Row 19."""
    damage, text = DAMAGE[kind]
    damage(directory / "30")
    with pytest.warns(UserWarning, match=rf"/30 is damaged and not used: .*{text}"):
        assert resume(directory) == 20


@pytest.mark.parametrize("file", ["chunk", "manifest.json", "state/_METADATA", "state/manifest.ocdbt"])
def test_a_flipped_bit_is_found(directory, file):
    """Row 20: Orbax itself loads most of them without an error."""
    flip(largest(directory / "30") if file == "chunk" else directory / "30" / file)
    with pytest.warns(UserWarning, match="/30 is damaged"):
        assert resume(directory) == 20
    with Checkpoints(directory) as checkpoints, pytest.raises(CheckpointError, match=r"damaged.*there are \[10, 20"):
        checkpoints.load(30, make_state(0))


def test_what_is_beside_the_arrays_is_checked_too(directory):
    """Row 20: a changed digit in `extra`."""
    path = directory / "30/manifest.json"
    path.write_text(path.read_text().replace('"extra": {"step": 30}', '"extra": {"step": 31}'))
    with pytest.warns(UserWarning, match=r"manifest.json has changed"):
        assert resume(directory) == 20


def test_arrays_that_are_not_those_saved_are_named(directory):
    """Row 20: changed between the device and the disk, where no checksum of a file sees it."""
    state = make_state(30)
    numbers = fingerprints(state)
    state["params"]["w"] = state["params"]["w"].at[3, 4].add(1e-6)
    shutil.rmtree(directory / "30")
    storage.write(directory / "30", state, numbers.values(), step=30, metrics={}, extra={})
    with pytest.warns(UserWarning, match="the bits of params/w are not those that were saved"):
        assert resume(directory) == 20


def test_strays_are_ignored(directory):
    """Row 21."""
    (directory / "40").mkdir()
    (directory / "041").mkdir()
    (directory / "50").write_text("a file")
    (directory / "notes.txt").write_text("mine")
    (directory / "60.new.orbax-checkpoint-tmp").mkdir()
    with pytest.warns(UserWarning, match=r"ignored: 041, 40, 50, notes.txt"):
        assert resume(directory) == 30
    assert (directory / "notes.txt").exists()


@pytest.mark.parametrize("kind", ["damaged", "empty"])
def test_never_starts_over_when_no_checkpoint_can_be_used(directory, kind):
    """Row 22."""
    for step in ("10", "20", "30"):
        flip(largest(directory / step)) if kind == "damaged" else shutil.rmtree(directory / step)
        (directory / step).mkdir(exist_ok=True)
    checkpoints = Checkpoints(directory)
    with warnings.catch_warnings(action="ignore"), pytest.raises(CheckpointError) as error:
        checkpoints.latest(make_state(0))
    assert re.search(r"none of .*\[10, 20, 30\].*--fresh", str(error.value))
    assert error.value.exit_code == 3
    assert sorted(p.name for p in directory.iterdir()) == ["10", "20", "30"]


def test_another_model_is_refused_with_the_difference(directory):
    """Row 23; the older checkpoints are no way out."""
    other = make_state(0)
    other["params"] = {"w": jnp.zeros((32, 16)), "c": jnp.zeros(3)}
    with Checkpoints(directory) as checkpoints, pytest.raises(CheckpointError) as error:
        checkpoints.latest(other)
    assert "params/w: checkpoint (32, 32) float32, model (32, 16) float32" in str(error.value)
    assert "params/b: checkpoint (3) float32, model no such leaf" in str(error.value)
    assert "params/c: checkpoint no such leaf, model (3) float32" in str(error.value)


def test_another_precision_or_optimizer_is_refused(directory):
    """Row 24: Orbax itself casts without a word."""
    state = make_state(0)
    half = state | {"params": jax.tree.map(lambda x: x.astype(jnp.bfloat16), state["params"])}
    for other, text in [(half, "float32, model .* bfloat16"), (state | {"mu": jnp.zeros(3)}, "mu: checkpoint no such")]:
        with Checkpoints(directory) as checkpoints, pytest.raises(CheckpointError, match=text):
            checkpoints.latest(other)


def test_a_nan_does_not_cost_the_best(tmp_path):
    """Row 12: Orbax's own policy deletes the true best."""
    losses = [3.0, 1.0, math.nan, math.inf, 2.0, -math.inf, math.nan]
    with Checkpoints(tmp_path, keep=1, best=Monitor()) as checkpoints:
        for step, loss in enumerate(losses):
            checkpoints.save(step, {"w": jnp.zeros(1)}, metrics={"loss": loss})
    with Checkpoints(tmp_path, keep=1, best=Monitor()) as checkpoints:
        assert checkpoints.steps() == [1, 6]
        assert checkpoints.best() == 1


CHILD = """
import sys, time
import jax.numpy as jnp
from deeplab.runs import checkpoint, retention
class Slow:
    def rmtree(path, **kwargs):  # the first deletion stops half-way
        next(p for p in path.rglob("*") if p.is_file()).unlink()
        print("half", flush=True)
        time.sleep(60)
    disk_usage = retention.shutil.disk_usage
if sys.argv[2] == "delete":
    retention.shutil = Slow
checkpoints = checkpoint.Checkpoints(sys.argv[1])
for step in range(1, 1000):
    checkpoints.save(step, {"w": jnp.full(500_000, step)}, force=True)
"""


@pytest.mark.parametrize("during", ["save", "delete"])
def test_kill_9_leaves_whole_checkpoints(tmp_path, during):
    """Rows 14 and 15."""
    directory = tmp_path / "checkpoints"
    child = subprocess.Popen([sys.executable, "-c", CHILD, directory, during], stdout=subprocess.PIPE, text=True)
    try:
        if during == "delete":
            assert child.stdout.readline() == "half\n"
        else:
            deadline = time.monotonic() + 60
            while not (directory / "2").exists() or not list(directory.glob("*.new*")):
                assert time.monotonic() < deadline
                assert child.poll() is None
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    with Checkpoints(directory) as checkpoints:
        state, _ = checkpoints.latest({"w": jnp.zeros(500_000, jnp.int32)})
        step = checkpoints.steps()[-1]
        assert step >= 2
        np.testing.assert_array_equal(state["w"], np.full(500_000, step))
        for earlier in checkpoints.steps():  # none of them is half a checkpoint
            checkpoints.load(earlier, state)
        checkpoints.save(step + 1, state)
    assert all(p.name.isdigit() for p in directory.iterdir())  # the next save has cleaned up


def test_a_full_disk_is_survived(tmp_path):
    """Row 31, by RLIMIT_FSIZE: writes fail in the kernel, as they do on a full disk."""
    state = make_state(0, size=256)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.wait()
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
            checkpoints.save(2, state)
            with pytest.warns(UserWarning, match=r"could not be saved: .*\[1\].*intact; the next save tries"):
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [p.name for p in tmp_path.iterdir()] == ["1"]  # nothing half-written takes up the room
        checkpoints.save(2, state)
        checkpoints.wait()
        assert checkpoints.steps() == [1, 2]


def test_too_little_room_is_said_with_numbers_and_the_third_time_stops(tmp_path, monkeypatch):
    """Row 31."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000))
    state, text = make_state(0, size=256), r"0\.3 MB are needed and 0\.0 MB free"
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state)
    for step in (2, 3):
        with pytest.warns(UserWarning, match=f"{text}.*tries again"):
            checkpoints.save(step, state, force=True)
    with pytest.raises(CheckpointError, match=text) as error:
        checkpoints.save(4, state, force=True)
    assert error.value.exit_code == 3
    assert error.value.__cause__.errno == errno.ENOSPC


def test_a_failure_in_the_background_surfaces_at_the_next_call(tmp_path, monkeypatch):
    """Row 42."""
    with Checkpoints(tmp_path) as checkpoints:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "write", lambda *args, **kwargs: 1 / 0)
            checkpoints.save(1, make_state(1))
            with pytest.warns(UserWarning, match="could not be saved: ZeroDivisionError"):
                checkpoints.wait()
        assert checkpoints.save(1, make_state(1))  # the same step again, for nothing was saved
    assert checkpoints.steps() == [1]


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_loading_runs_nothing_that_the_checkpoint_brings(directory, tmp_path):
    """Row 43: neither a pickle beside the arrays, nor a handler that the metadata name."""
    bomb = pickle.dumps(Bomb(str(tmp_path / "exploded")))
    for name in ("state.pkl", "state/params.pkl", "state/treedef", "state/_sharding"):
        (directory / "30" / name).write_bytes(bomb)
    path = directory / "30/_CHECKPOINT_METADATA"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"item_handlers": {"state": "os.abort"}}))
    forge(directory / "30", lambda manifest: manifest.update(files={}))
    assert resume(directory) == 30
    assert not (tmp_path / "exploded").exists()


def test_no_code_of_the_loop_unpickles_or_evaluates():
    """Rows 43 and 45."""
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "eval", "exec", "__import__"}
    rooms = [Path(deeplab.__file__).parent / room for room in ("train", "runs")]
    for path in (path for room in rooms for path in room.glob("*.py")):
        tree = ast.parse(path.read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}
        assert not names & (forbidden | {"allow_pickle"}), path


def forge(path, change):
    """Edits a manifest, and gives it a checksum that fits."""
    manifest = json.loads((path / "manifest.json").read_text())["manifest"]
    change(manifest)
    text = json.dumps(manifest)
    (path / "manifest.json").write_text(json.dumps({"crc32": zlib.crc32(text.encode()), "manifest": manifest}))


def test_a_declared_shape_allocates_nothing(directory):
    """Row 44."""
    forge(directory / "30", lambda manifest: manifest["leaves"]["params/w"].update(shape=[10**7, 10**7]))
    with Checkpoints(directory) as checkpoints, pytest.raises(CheckpointError, match=r"\(10000000, 10000000\) float32"):
        checkpoints.latest(make_state(0))


def test_arrays_of_another_shape_than_declared_are_damage(tmp_path):
    """Row 44: the manifest fits the model, the arrays do not."""
    state = {"w": jnp.zeros((4, 4))}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.zeros((1000, 1000))})
        checkpoints.wait()
        forge(tmp_path / "1", lambda manifest: manifest["leaves"]["w"].update(shape=[4, 4]))
        with pytest.raises(CheckpointError, match=r"is damaged: .*hape"):
            checkpoints.load(1, state)
