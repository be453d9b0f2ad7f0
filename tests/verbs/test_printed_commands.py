"""A printed command works where it is printed: it is run there, in a process of its own."""

import functools
import os
import shlex
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

import deeplab as dl
from deeplab.core import entry
from deeplab.core.words import call_text
from deeplab.verbs.recipe import Recipe
from tests import toys

ROOT = str(Path(dl.__file__).parents[1])
EXPERIMENT = """
import deeplab as dl
import optax
{more}

def experiment(width: int = 4, note: str = "") -> dl.Experiment:
    rows = {{"image": [[0.0, 1.0]] * 8, "label": [0, 1] * 4}}
    data = dl.data.Examples({{"train": rows, "test": rows}}, batch_size=4, num_steps=2)
    return dl.Experiment(data, dl.models.MLP(2, (width,)), dl.tasks.Classification(), optax.sgd(0.1))


if __name__ == "__main__":
    dl.main(experiment)
"""
STUDY = """
import deeplab as dl
from pack.base import experiment

if __name__ == "__main__":
    dl.main(experiment, study=dl.Study({"width": (2, 3)}, len, lambda count: []))
"""
SCRIPT = """
from pack.base import experiment
from deeplab.verbs.recipe import Recipe

print(Recipe.of(experiment).command("train"))
"""


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "my project"
    (folder / "pack").mkdir(parents=True)
    (folder / "pack/base.py").write_text(EXPERIMENT.format(more=""))
    (folder / "pack/study.py").write_text(STUDY)
    (folder / "a script.py").write_text(EXPERIMENT.format(more="import pack.base"))
    (folder / "call.py").write_text(f"import sys\nsys.path.insert(0, {str(folder)!r})\n" + SCRIPT)
    return folder


def shell(command, folder, **environment):
    known = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")} | {"PYTHONPATH": ROOT}
    done = subprocess.run(command, shell=True, cwd=folder, env=known | environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def printed(command, folder):
    """The command that an error names: that of a report before there is a run."""
    code, out = shell(command, folder)
    assert code == 2
    return out.partition("train first:\n")[2].strip()


PYTHON = shlex.quote(sys.executable)
PLACES = {
    "script": (".", "'a script.py' report --note 'a b' --run-dir 'runs/x y'"),
    "script from the folder above": ("..", "'my project/a script.py' report --note 'it'\"'\"'s' --run-dir none"),
    "module": (".", "-m pack.base report --run-dir none"),
    "study that imports its experiment": (".", "-m pack.study report --run-dir none"),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_the_command_of_an_error_works_there(place, project):
    where, words = PLACES[place]
    command = printed(f"{PYTHON} {words}", project / where)
    module = words.partition(" report")[0]
    assert f"{module} train" in command
    code, out = shell(f"{command} --help", project / where)
    assert code == 0, out
    if "study" in place:
        code, out = shell(f"{command.replace(' train', ' study')} --help", project / where)
        assert code == 0, out


@pytest.mark.slow
def test_the_command_of_a_script_trains(project):
    command = printed(f"{PYTHON} {PLACES['script'][1]}", project)
    code, out = shell(f"{command} --smoke", project)
    assert code == 0, out
    assert (project / "runs/x y/result.json").exists()


@pytest.mark.slow
def test_a_module_that_only_the_caller_finds_is_found(project, tmp_path):
    """The folder is not the project's root, and is on the path of this process alone."""
    code, out = shell(f"{PYTHON} 'my project/call.py'", tmp_path)
    assert code == 0, out
    command = out.strip()
    assert command.startswith("PYTHONPATH=")
    without = shlex.join(shlex.split(command)[1:])
    assert shell(f"{without} --help", tmp_path)[0] == 1  # Python finds no such module
    code, out = shell(f"{command} --help", tmp_path)
    assert code == 0, out


def loaded(monkeypatch, folder, name, text):
    path = (folder / name.replace(".", "/")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    module = types.ModuleType(name)
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, name, module)


def test_how_a_module_is_reached(monkeypatch, tmp_path):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    here, there = tmp_path / "a b", tmp_path / "c"
    here.mkdir()
    monkeypatch.chdir(here)
    program = "if __name__ == '__main__': ..."
    loaded(monkeypatch, here, "box.one", program)
    loaded(monkeypatch, here, "box.part", "x = 1")
    loaded(monkeypatch, there, "box.two", program)
    assert entry.of_module("box.one") == entry.Entry(("-m", "box.one"))
    assert entry.of_module("box.part") is None  # no program
    assert entry.of_module("box.two") == entry.Entry(("-m", "box.two"), there)
    monkeypatch.setenv("PYTHONPATH", str(there))
    assert entry.of_module("box.two") == entry.Entry(("-m", "box.two"))
    monkeypatch.setitem(sys.modules, "other", sys.modules["box.one"])
    assert entry.of_module("other") == entry.Entry(("box/one.py",))
    command = entry.Entry(("-m", "box.two"), here).command(["train", "--note", "a b"])
    assert command.endswith(" -m box.two train --note 'a b'")
    assert command.startswith(f"PYTHONPATH='{here}{os.pathsep}{there}' ")


def test_a_notebook_gets_a_call(monkeypatch):
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    text = "def experiment(width: int = 4, note: str = ''): ..."
    exec(text, vars(notebook))
    own = Recipe.of(functools.partial(notebook.experiment, width=8), seed=2)
    assert own.command("train", run_dir=Path("a b")) == (
        "import functools\ndl.fit(functools.partial(experiment, width=8), run_dir='a b', seed=2)"
    )
    command = Recipe.of(toys.experiment).command("eval", run_dir="x")
    assert command == "from tests.toys import experiment\ndl.evaluate(experiment, run_dir='x', seed=0)"
    swept = Recipe(
        toys.experiment, {**Recipe.of(toys.experiment).arguments, "learning_rate": "1e-3,1e-2"}, "tests.toys"
    )
    assert swept.command("sweep", seeds=2).splitlines()[-1] == (
        "dl.sweep(experiment, {'learning_rate': '1e-3,1e-2'}, seed=0, seeds=2)"
    )
    value = Recipe.of(toys.experiment())
    assert value.command("train", run_dir="x") == "dl.fit(experiment, run_dir='x', seed=0)"


def test_a_call_imports_what_it_names(monkeypatch):
    from tests.verbs.test_recorded_arguments import Color, Config, Inner

    given = {"config": Config(inner=Inner(hue=Color.NAN))}
    text = call_text("train", toys.experiment, "tests.toys", given, {"seed": 1})
    made = []
    monkeypatch.setattr(dl, "fit", lambda function, **options: made.append((function.keywords, options)))
    exec(text, {"dl": dl})
    assert made == [(given, {"seed": 1})]
    assert textwrap.dedent(text) == text
