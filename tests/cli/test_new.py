"""`deeplab new`: what it writes trains, is tested and resumes as it is; and nothing is overwritten."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import deeplab as dl
from deeplab.cli import index
from deeplab.cli.tools.new import KINDS
from deeplab.core.errors import UserError

ROOT = Path(dl.__file__).parents[1]


def new(*argv):
    return index.run(["new", *argv])["files"]


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_each_kind_bear_its_name(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert new("my_idea", "--kind", kind) == ["my_idea.py", "test_my_idea.py", "my_idea.ipynb"]
    commands = [line.split("  #")[0].strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert commands == ["python my_idea.py --smoke", "python -m pytest test_my_idea.py", "python my_idea.py"]
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts["my_idea.py"].startswith('"""my_idea: ')
    assert "Run:     python my_idea.py " in texts["my_idea.py"]
    assert len(texts["my_idea.py"].splitlines()) <= 95
    for name, text in texts.items():
        assert "deeplab.templates" not in text, name
        assert not re.search(r"python (images|text|sound|table|series)\.py", text), name
    assert "from my_idea import experiment" in texts["test_my_idea.py"]
    notebook = json.loads(texts["my_idea.ipynb"])
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert any('run_dir="runs/my_idea"' in cell for cell in code)
    for cell in [*code, texts["my_idea.py"], texts["test_my_idea.py"]]:
        compile(cell, "cell", "exec")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("my-idea", "'my-idea' is no name of a module.*for example, deeplab new my_idea"),
        ("2nd try", "no name of a module.*deeplab new my_2nd_try"),
        ("class", "no name of a module.*deeplab new my_class"),
        ("../idea", "no name of a module.*deeplab new idea"),
        ("été", "no name of a module"),
        ("", "no name of a module.*deeplab new my"),
        ("numpy", "another module is called 'numpy', which this one would hide; .*deeplab new my_numpy"),
        ("test", "another module is called 'test'.*my_test"),
        ("deeplab", "another module is called 'deeplab'"),
        ("test_idea", "begins like a test .*deeplab new my_test_idea"),
    ],
)
def test_names_that_cannot_be_a_module_are_refused(name, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=text):
        new(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["my_idea.py", "test_my_idea.py", "my_idea.ipynb"])
def test_nothing_is_overwritten(file, tmp_path):
    (tmp_path / file).write_text("mine")
    with pytest.raises(
        UserError, match=rf"{file} exists, and nothing is overwritten; give another name, or a --folder"
    ):
        new("my_idea", "--folder", str(tmp_path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {file: "mine"}


@pytest.mark.parametrize(
    "kind", [kind if kind == "images" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_each_kind_has_the_whole_way(kind, tmp_path, monkeypatch):
    """On synthetic data, in this process; the whole commands are the next test's."""
    monkeypatch.chdir(tmp_path)
    file = new("my_idea", "--kind", kind)[0]
    experiment = runpy.run_path(file)["experiment"]
    first = dl.main(experiment, ["train", "--smoke", "--run-dir", "run"])
    again = dl.main(experiment, ["train", "--smoke", "--run-dir", "run"])
    assert first["steps"] == again["steps"] == 4
    assert first["metrics"] == again["metrics"]
    assert (first["resumed_from"], again["resumed_from"]) == (None, 4)


# What each reaches in its first run, within seconds.
BOUNDS = {"images": ("accuracy", 0.85), "text": ("accuracy", 0.3), "sound": ("accuracy", 0.9),
          "table": ("accuracy", 0.93), "series": ("mae", 0.2)}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_trains_is_tested_and_resumes_in_one_command_each(kind, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def command(*words):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("-m", "deeplab", "new", "my_idea", "--kind", kind)
    assert "report: " in command("my_idea.py", "--smoke")
    assert "passed" in command("-m", "pytest", "test_my_idea.py")
    first = command("my_idea.py", "--json").splitlines()[-1]
    metrics = json.loads(first)["metrics"]
    name, bound = BOUNDS[kind]
    value = next(iter(metrics.values()))[name]
    assert value < bound if name == "mae" else value > bound
    assert "finished before" in command("my_idea.py")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    """All cells of it, as one script."""
    file, _, notebook = new("my_idea", "--kind", "table", "--folder", str(tmp_path))
    cells = json.loads(Path(notebook).read_text())["cells"]
    script = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (tmp_path / "cells.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert Path(file).exists()
