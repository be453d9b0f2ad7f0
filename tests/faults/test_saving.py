"""A checkpoint counts once it has been read back: no fault between the state and the disk gives a wrong state."""

import contextlib
import shutil
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from deeplab.core.errors import CheckpointError, UserError
from deeplab.runs import storage
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.fingerprint import fingerprints

# Where one array of a damaged checkpoint cannot be read, Orbax drops the tasks that read the others.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PATHS = [
    *(
        "exp[1]",
        "exp[!a]",
        "[",
        "a*b",
        "a?b",
        "**",
        "~",
        "a b",
        " ",
        "üñ漢🎲",
        "a%20b",
        "%",
        "%s{x}",
        "a\nb",
        "\t",
        "-x",
    ),
    *("a#b", "a:b", "'q\"$HOME`", "a;b&c|d", "x.new", "7", "file:", "file:s", "a..b", "@1", ",=+"),
]


def make_state(step, size=32):
    w = jax.random.normal(jax.random.key(step), (size, size))
    return {"step": jnp.int32(step), "params": {"w": w, "b": jnp.zeros(3)}, "key": jax.random.key(step)}


def assert_loads(directory, step):
    with Checkpoints(directory) as checkpoints:
        state, extra = checkpoints.latest(make_state(0))
    assert (int(state["step"]), extra) == (step, {"step": step})
    assert fingerprints(state) == fingerprints(make_state(step))


@pytest.mark.parametrize("name", PATHS, ids=repr)
def test_any_path_gives_back_what_was_saved(tmp_path, name):
    directory = tmp_path / name / "checkpoints"
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(7, make_state(7), extra={"step": 7})
    assert_loads(directory, 7)


def test_a_path_is_no_pattern_for_another_run(tmp_path):
    """Orbax merges what it finds: `run?` also matches `run1`, whose save is under way."""
    one, pattern = tmp_path / "run1", tmp_path / "run?"
    with Checkpoints(one) as checkpoints:
        checkpoints.save(7, make_state(1), extra={"step": 7})
    (one / "7").rename(one / "7.new.orbax-checkpoint-tmp")
    with Checkpoints(pattern) as checkpoints:
        checkpoints.save(7, make_state(7), extra={"step": 7})
    assert_loads(pattern, 7)


@pytest.mark.parametrize("path", ["a\\b", "a\udcff", "settings:/run"], ids=ascii)
def test_a_path_that_cannot_be_saved_to_is_refused_at_once(tmp_path, path):
    with pytest.raises(UserError, match=r"checkpoints cannot be stored.*give another --run-dir"):
        Checkpoints(tmp_path / path)
    with pytest.raises(UserError, match="like that of a bucket"):
        Checkpoints(Path("/gs/bucket"))
    assert list(tmp_path.iterdir()) == []


def flip(path, where=0.5, bit=2):
    data = bytearray(path.read_bytes())
    if data:
        data[int(where * len(data))] ^= 1 << bit
        path.write_bytes(data)


def cut(path, where=0.5, bit=0):
    path.write_bytes(path.read_bytes()[: int(where * path.stat().st_size)])


def vanish(path, where=0.0, bit=0):
    path.unlink()


def array_file(folder):
    """The file with the bytes of the arrays."""
    return max((p for p in folder.rglob("d/*")), key=lambda p: p.stat().st_size)


def after_orbax(patch, damage):
    """Damages a checkpoint once Orbax has written it, before its checksums are taken."""
    save = storage.ocp.save

    def saved(path, *args, **options):
        save(path, *args, **options)
        damage(Path(str(path)))

    patch.setattr(storage.ocp, "save", saved)


def after_manifest(patch, damage):
    """Damages a checkpoint whose manifest has just been written."""
    write = Path.write_text

    def written(path, *args, **options):
        count = write(path, *args, **options)
        if path.name == "manifest.json":
            damage(path.parent)
        return count

    patch.setattr(Path, "write_text", written)


@pytest.mark.parametrize("damage", [flip, cut, vanish])
@pytest.mark.parametrize("moment", [after_orbax, after_manifest])
def test_a_save_that_cannot_be_read_back_is_none(tmp_path, monkeypatch, moment, damage):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(10, make_state(10), extra={"step": 10})
        checkpoints.wait()
        with monkeypatch.context() as patch:
            moment(patch, lambda folder: damage(array_file(folder)))
            checkpoints.save(20, make_state(20), extra={"step": 20}, force=True)
            with pytest.warns(
                UserWarning, match=r"could not be saved: .*cannot be read back: .*steps \[10\].*are intact.*1 of 3"
            ):
                checkpoints.wait()
        assert checkpoints.steps() == [10]
        assert_loads(tmp_path, 10)
        checkpoints.save(20, make_state(20), extra={"step": 20}, force=True)
        checkpoints.wait()
        assert checkpoints.steps() == [20]
    assert_loads(tmp_path, 20)


@pytest.mark.parametrize("moment", [after_orbax, after_manifest])
def test_the_last_save_of_a_run_fails_aloud(tmp_path, monkeypatch, moment):
    moment(monkeypatch, lambda folder: flip(array_file(folder)))
    with (
        pytest.raises(CheckpointError, match=r"cannot be read back"),
        Checkpoints(tmp_path) as checkpoints,
    ):
        checkpoints.save(10, make_state(10))
    assert Checkpoints(tmp_path).steps() == []


def test_a_changed_manifest_is_found(tmp_path, monkeypatch):
    after_manifest(monkeypatch, lambda folder: flip(folder / "manifest.json"))
    with (
        pytest.raises(CheckpointError, match=r"manifest\.json (has changed|cannot be read)"),
        Checkpoints(tmp_path) as checkpoints,
    ):
        checkpoints.save(10, make_state(10))
    assert Checkpoints(tmp_path).steps() == []


def test_shards_and_narrow_types_are_compared_where_they_are(tmp_path, monkeypatch):
    """Groups of a few bytes: each array is loaded alone, over all devices, and the flipped one is named."""
    monkeypatch.setattr(storage, "_READ_BACK", 16)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    state = {
        "whole": jnp.full(4, jnp.nan),
        "half": jnp.ones(3, jnp.bfloat16),
        "narrow": jnp.arange(-3, 4).astype(jnp.int4),
        "flags": jnp.array([True, False]),
        "keys": jax.random.split(jax.random.key(0), 2),
        "zero": jnp.float32(-0.0),
    }
    state = jax.device_put(state, everywhere)
    state["split"] = jax.device_put(jnp.arange(32.0).reshape(16, 2), NamedSharding(mesh, PartitionSpec("data")))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        loaded, _ = checkpoints.latest(state)
        assert fingerprints(loaded) == fingerprints(state)
        save = storage.ocp.save
        with monkeypatch.context() as patch:
            patch.setattr(storage.ocp, "save", lambda path, tree: save(path, tree | {"half": -tree["half"]}))
            checkpoints.save(2, state, force=True)
            with pytest.warns(UserWarning, match="the bits of half on the disk are not those that were saved"):
                checkpoints.wait()
        checkpoints.save(2, state, force=True)


hostile = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
DAMAGES = st.tuples(st.sampled_from([flip, cut, vanish]), st.integers(0, 99), st.floats(0, 0.999), st.integers(0, 7))


@settings(hostile, max_examples=10)
@given(
    moment=st.sampled_from([after_orbax, after_manifest]),
    damages=st.lists(DAMAGES, min_size=1, max_size=3),
)
def test_no_damage_while_saving_gives_a_wrong_state(tmp_path_factory, moment, damages):
    directory = tmp_path_factory.mktemp("saving")

    def damage(folder):
        for kind, which, where, bit in damages:
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            kind(files[which % len(files)], where, bit)

    with warnings.catch_warnings(action="ignore"), Checkpoints(directory, keep=1) as checkpoints:
        checkpoints.save(10, make_state(10), extra={"step": 10})
        checkpoints.wait()
        with pytest.MonkeyPatch.context() as patch:
            moment(patch, damage)
            checkpoints.save(20, make_state(20), extra={"step": 20}, force=True)
            checkpoints.wait()
        (step,) = checkpoints.steps()
        checkpoints._failures.clear()  # of the damaged save, which would be raised on leaving
    assert_loads(directory, step)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    with Checkpoints(directory) as checkpoints:
        for step in (10, 20):
            checkpoints.save(step, make_state(step), extra={"step": step}, force=True)
    return directory


@settings(hostile, max_examples=30)
@given(damages=st.lists(DAMAGES, min_size=1, max_size=4))
def test_no_damage_on_the_disk_gives_a_wrong_state(saved, tmp_path_factory, damages):
    directory = tmp_path_factory.mktemp("damaged")
    shutil.copytree(saved, directory, dirs_exist_ok=True)
    for kind, which, where, bit in damages:
        files = sorted(p for p in directory.rglob("*") if p.is_file())
        kind(files[which % len(files)], where, bit)
    checkpoints = Checkpoints(directory)
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(CheckpointError):  # or it says that none is left
        state, extra = checkpoints.latest(make_state(0))
        step = int(state["step"])
        assert extra == {"step": step}
        assert fingerprints(state) == fingerprints(make_state(step))
        np.testing.assert_array_equal(state["params"]["b"], np.zeros(3))
    shutil.rmtree(directory)
