"""A run directory goes on with the same run only, and its rows end where the restored step does."""

import functools
import json
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.runs import storage
from deeplab.runs.files import cut_rows, write_json
from deeplab.runs.identity import provenance
from deeplab.runs.record import Run, default_directory

SOURCE = '"""Note."""\n\ndef experiment(width: int = 8):\n    return width  # wide\n'
MANIFEST = {"experiment": "experiments.toy", "arguments": {"width": 8, "rate": 1e-3}, "seed": 0, "mesh": "data=1"}


def read(path):
    return json.loads(path.read_text())


def trained(directory):
    """A run of one step; where nothing is trained, any run may begin."""
    with Run.open(directory, MANIFEST, SOURCE) as run:
        run.restore(0)
        run.update({"steps_per_dispatch": 50})
        run.append(1, "train", {"loss": 1.0})


def test_a_new_run_records_where_it_comes_from(tmp_path):
    with Run.open(tmp_path / "a" / "b", MANIFEST, SOURCE) as run:
        run.restore(0)
        run.update({"num_params": 7})
        run.finish({"step": 3})
    manifest = read(run.directory / "run.json")
    assert MANIFEST.items() <= manifest.items()
    assert manifest["versions"].keys() >= {"jax", "flax", "optax", "deeplab", "python"}
    assert manifest["devices"][0] == "cpu:0"
    assert manifest["git"].keys() == {"commit", "dirty"}
    assert manifest["num_params"] == 7
    assert manifest["started"]
    assert (run.directory / "source.py").read_text() == SOURCE
    assert read(run.directory / "result.json") == {"step": 3}
    assert run.sessions == 0


def test_the_same_run_goes_on(tmp_path):
    with Run.open(tmp_path, MANIFEST, SOURCE) as first:
        first.restore(0)
        for step in (10, 20, 30):
            first.append(step, "train", {"loss": 1 / step})
        first.finish({"step": 30})
    moved = SOURCE.replace("Note", "Another note").replace("# wide", "")
    with Run.open(tmp_path, MANIFEST, moved) as second:
        assert second.sessions == 1
        assert second.manifest["started"] == first.manifest["started"]
        second.restore(20)
        assert not (tmp_path / "result.json").exists()
        second.append(30, "train", {"loss": 0.5, "nan": float("nan")})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert rows[2]["loss"] == 0.5
    assert rows[2]["nan"] == "NaN"
    assert (tmp_path / "source.py").read_text() == moved
    assert (tmp_path / "source.py.old-1").read_text() == SOURCE


@pytest.mark.parametrize(
    ("change", "source", "text"),
    [
        ({"arguments": {"width": 8, "rate": 0.01}}, SOURCE, r"rate +0\.001 +0\.01"),
        ({"arguments": {"width": 8}}, SOURCE, r"rate +0\.001 +\(none\)"),
        ({"seed": 1}, SOURCE, r"seed +0 +1"),
        ({"experiment": "experiments.other"}, SOURCE, "experiments.other"),
        ({}, SOURCE.replace("return width", "return 2 * width"), r"(?s)-    return width.*\+    return 2 \* width"),
    ],
)
def test_another_run_is_refused_with_the_difference(tmp_path, change, source, text):
    """Matrix row 25."""
    trained(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UserError, match=text) as error:
        Run.open(tmp_path, MANIFEST | change, source)
    assert "--allow-change" in str(error.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    with pytest.warns(UserWarning, match="other settings"):
        run = Run.open(tmp_path, MANIFEST | change, source, allow_change=True)
    with run:
        assert run.manifest["history"][0]["arguments"] == MANIFEST["arguments"]
        run.restore(1)
    Run.open(tmp_path, MANIFEST | change, source).close()  # from now on these are its settings


@pytest.mark.parametrize(("name", "match"), [("_version", r"\(jax\) "), ("_package_digest", r"\(deeplab source\) ")])
def test_another_library_is_refused_with_the_difference(tmp_path, monkeypatch, name, match):
    trained(tmp_path)
    monkeypatch.setattr(provenance, name, lambda *package: "another")
    with pytest.raises(UserError, match=match + r'.*"another"'):
        Run.open(tmp_path, MANIFEST, SOURCE)
    with pytest.warns(UserWarning, match=match):
        Run.open(tmp_path, MANIFEST, SOURCE, allow_change=True).close()


def test_a_session_that_fails_before_it_goes_on_leaves_the_record(tmp_path):
    """With --allow-change and a checkpoint of another model, the record claimed the new settings."""
    trained(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.warns(UserWarning, match="other settings"):
        run = Run.open(tmp_path, MANIFEST | {"arguments": {}}, SOURCE + "x = 1\n", allow_change=True)
    run.update({"data": {}})
    run.__exit__(UserError, UserError("the checkpoint is of another model"), None)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_where_nothing_was_trained_another_run_begins(tmp_path):
    """A first start that failed claimed the directory, and the mended experiment was refused."""
    run = Run.open(tmp_path, MANIFEST, SOURCE)
    run.update({"data": {"splits": {}}})
    run.__exit__(ValueError, ValueError("a mistake"), None)
    (tmp_path / "checkpoints").mkdir()
    mended = SOURCE.replace("return width", "return 2 * width")
    with Run.open(tmp_path, MANIFEST | {"seed": 1}, mended) as run:
        assert "data" not in run.manifest
        run.restore(0)
    assert (read(tmp_path / "run.json")["seed"], (tmp_path / "source.py").read_text()) == (1, mended)
    assert (tmp_path / "source.py.old-1").read_text() == SOURCE
    for kept in ("checkpoints/4/manifest.json", "members.jsonl", "failure/report.json", "notes.txt"):
        (tmp_path / kept).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / kept).write_text("kept")
        with pytest.raises(UserError, match="seed"):
            Run.open(tmp_path, MANIFEST, mended)
        (tmp_path / kept).unlink()


def test_the_record_of_an_earlier_version_goes_on(tmp_path):
    """It holds no digest of deeplab's source."""
    trained(tmp_path)
    manifest = read(tmp_path / "run.json")
    del manifest["versions"]["deeplab source"]
    write_json(tmp_path / "run.json", manifest)
    with Run.open(tmp_path, MANIFEST, SOURCE) as run:
        assert run.sessions == 1
        assert run.manifest["versions"]["deeplab source"]


def test_other_devices_only_warn(tmp_path):
    """Matrix row 26."""
    trained(tmp_path)
    with pytest.warns(UserWarning, match=r"mesh data=1 \(now data=8\).*not bitwise"):
        run = Run.open(tmp_path, MANIFEST | {"mesh": "data=8"}, SOURCE)
    with run, pytest.warns(UserWarning, match=r"steps_per_dispatch 50 \(now 1\)"):
        run.update({"steps_per_dispatch": 1})


def test_fresh_moves_the_old_run_aside(tmp_path):
    directory = tmp_path / "run"
    for seed in range(3):
        with Run.open(directory, MANIFEST | {"seed": seed}, SOURCE, fresh=True) as run:
            assert run.sessions == 0
            with pytest.raises(UserError, match="in use"):
                Run.open(directory, MANIFEST, SOURCE, fresh=True)
    seeds = {p.name: read(p / "run.json")["seed"] for p in tmp_path.iterdir()}
    assert seeds == {"run.old-1": 0, "run.old-2": 1, "run": 2}


def test_fresh_moves_what_a_link_leads_to(tmp_path):
    """It renamed the link, and the next run was written beside it."""
    (tmp_path / "disk/run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk/run")
    for seed in range(2):
        Run.open(tmp_path / "link", MANIFEST | {"seed": seed}, SOURCE, fresh=True).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "link"]
    assert (tmp_path / "link").is_symlink()
    assert {p.name: read(p / "run.json")["seed"] for p in (tmp_path / "disk").iterdir()} == {"run.old-1": 0, "run": 1}


def test_an_argument_that_is_called_seed_hides_no_other_seed(tmp_path):
    made = MANIFEST | {"arguments": {"seed": 7}}
    assert "seed of the run  0        1" in provenance.differences(made, made | {"seed": 1}, "", "")


@given(text=st.binary(max_size=40), steps=st.lists(st.integers(0, 9), max_size=6), step=st.integers(0, 9))
def test_cutting_keeps_whole_rows_up_to_the_step(tmp_path_factory, text, steps, step):
    path = tmp_path_factory.mktemp("rows") / "metrics.jsonl"
    rows = [json.dumps({"step": s, "split": "train"}).encode() + b"\n" for s in steps]
    path.write_bytes(b"".join(rows) + text.replace(b"\n", b""))
    cut_rows(path, step)
    assert path.read_bytes() == b"".join(row for row, s in zip(rows, steps, strict=True) if s <= step)


def test_default_directory_depends_on_what_the_run_is():
    here = default_directory("runs", "toy", {"a": 1, "b": 2}, SOURCE, 0)
    assert here == default_directory("runs", "toy", {"b": 2, "a": 1}, SOURCE.replace("# wide", "# narrow"), 0)
    others = [
        default_directory("runs", "toy", {"a": 1, "b": 3}, SOURCE, 0),
        default_directory("runs", "toy", {"a": 1, "b": 2}, SOURCE, 1),
        default_directory("runs", "toy", {"a": 1, "b": 2}, SOURCE.replace("return width", "return 0"), 0),
    ]
    assert len({here, *others}) == 4
    assert default_directory("runs", "../../etc", {}, "").parts[:2] == ("runs", ".._.._etc")


def test_source_and_patch():
    assert provenance.canonical("%matplotlib inline") == "%matplotlib inline"
    assert provenance.canonical("def f():\n  'only a docstring'") == "def f():\n    pass"


def test_a_patch_can_be_applied(tmp_path, monkeypatch):
    """It lacked its last newline: "corrupt patch"."""
    monkeypatch.chdir(tmp_path)
    assert provenance.patch() == ""
    git = functools.partial(subprocess.run, check=True, capture_output=True)
    git(["git", "init"])
    (tmp_path / "a.py").write_text("a = 1\n")
    git(["git", "add", "a.py"])
    git(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "a"])
    (tmp_path / "a.py").write_text("a = 2\n")
    (tmp_path / "p.patch").write_text(provenance.patch())
    git(["git", "checkout", "a.py"])
    git(["git", "apply", "p.patch"])
    assert (tmp_path / "a.py").read_text() == "a = 2\n"


def test_a_failure_is_kept_and_an_older_one_moved(tmp_path):
    with Run.open(tmp_path, MANIFEST, SOURCE) as run:
        for step in (4, 5):
            state, batch = {"w": jnp.full(3, jnp.nan)}, {"image": np.ones((2, 2), np.uint8)}
            folder = run.save_failure(step, state, batch, None, "log of zero")
        assert read(folder / "report.json") == {"step": 5, "layer": None, "primitive": None, "message": "log of zero"}
        tree, _ = storage.read(folder / "state", {"state": state, "batch": batch})
        np.testing.assert_array_equal(tree["state"]["w"], state["w"])
        np.testing.assert_array_equal(tree["batch"]["image"], batch["image"])
        run.restore(3)
    assert {"failure.old-1", "failure.old-2"} <= {p.name for p in tmp_path.iterdir()}
    assert not (tmp_path / "failure").exists()
