"""What a run is made of: each of twelve kinds of change is refused with the difference, and none goes unseen."""

import importlib
import itertools
import linecache
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.runs.identity import provenance
from deeplab.runs.identity.sources import source_of
from deeplab.verbs.recipe import Recipe

FILES = {
    "box/__init__.py": "",
    "box/helper.py": """
import functools
import flax.linen as nn
from box.deeper import scaled

WIDTH = 4

class Net(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(2)(activation(nn.Dense(self.width)(x)))

def rate(value, factor=1.0):
    return scaled(value) * factor

activation = lambda x: nn.relu(x)
least = functools.partial(max, 0.01)
""",
    "box/deeper.py": "def scaled(x): return 1.0 * x\n",
    "box/unused.py": "X = 1\n",
    "data.csv": "size,kind\n" + "".join(f"{i},{'yes' if i % 3 else 'no'}\n" for i in range(24)),
}
CELL = """
import deeplab as dl
import optax
from box import helper

def shift(x): return x + 0.0

def experiment(fold: int = 0) -> dl.Experiment:
    data = dl.data.table(FILE, "kind", fold=fold, batch_size=8, num_steps=2)
    task = dl.tasks.Classification(fields=("numbers",))
    rate = helper.least(helper.rate(shift(0.1)) + float(GIVEN[0]))
    return dl.Experiment(data, helper.Net(helper.WIDTH), task, optax.sgd(rate))
"""
_NUMBERS = itertools.count()


def project(folder, given=None):
    """The experiment of a notebook's cell, whose helpers are the modules of a folder."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "box"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    text = (folder / "cell.txt").read_text()
    name = f"<cell {next(_NUMBERS)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    held = vars(main) | {"FILE": str(folder / "data.csv"), "GIVEN": np.zeros(3) if given is None else given}
    exec(compile(text, name, "exec"), held)
    return held["experiment"]


@pytest.fixture
def surroundings(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [str(trained), *sys.path])


def written(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project, and the run that it made."""
    folder = tmp_path_factory.mktemp("kinds") / "project"
    written(folder, FILES | {"cell.txt": CELL})
    main, path = sys.modules["__main__"], [*sys.path]
    sys.path.insert(0, str(folder))
    try:
        dl.fit(project(folder), run_dir=folder / "run")
    finally:
        sys.modules["__main__"], sys.path[:] = main, path
    return folder


def edit(name, old, new):
    def change(folder, monkeypatch):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def library(folder, monkeypatch):
    monkeypatch.setattr(provenance, "_version", lambda package: "99")


KINDS = {
    "cell": (edit("cell.txt", "x + 0.0", "x + 1.0"), r"sources that differ: __main__\.shift"),
    "helper": (edit("box/helper.py", "* factor", "+ factor"), r"sources that differ: box\.helper"),
    "array": (None, r"sources that differ: GIVEN"),
    "file": (edit("data.csv", "5,yes", "50,yes"), r"split 'train': 20 examples with digest \w+, now 20"),
    "class names": (edit("data.csv", "yes", "si"), r"class 1: 'yes', now 'si'"),
    "library": (library, r"\(jax\) +\S+ +\"99\""),
    "default of a helper": (edit("box/helper.py", "factor=1.0", "factor=2.0"), r"(?s)helper.*\+def rate.*factor=2"),
    "a helper's helper": (edit("box/deeper.py", "1.0 * x", "2.0 * x"), r"sources that differ: box\.deeper"),
    "a lambda": (edit("box/helper.py", "lambda x: nn.relu", "lambda x: nn.gelu"), r"(?s)box\.helper.*nn\.gelu"),
    "a partial": (edit("box/helper.py", "max, 0.01", "max, 0.02"), r"(?s)box\.helper.*partial\(max, 0\.02"),
    "a constant of a module": (edit("box/helper.py", "WIDTH = 4", "WIDTH = 5"), r"(?s)box\.helper.*\+WIDTH = 5"),
    "another split of the file": (edit("cell.txt", "fold: int = 0", "fold: int = 1"), r"fold +0 +1"),
}  # fmt: skip


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_change_is_refused_with_the_difference(kind, trained, monkeypatch):
    change, match = KINDS[kind]
    before = Recipe.of(project(trained)).directory
    try:
        if change is not None:
            change(trained, monkeypatch)
        experiment = project(trained, np.ones(3) if change is None else None)
        with pytest.raises(UserError, match=match) as error:
            dl.fit(experiment, run_dir=trained / "run")
        assert "--allow-change" in str(error.value)
        elsewhere = Recipe.of(experiment).directory != before
        assert elsewhere == (kind not in ("file", "class names", "library"))
    finally:
        written(trained, FILES | {"cell.txt": CELL})


@pytest.mark.usefixtures("surroundings")
def test_what_is_not_reached_changes_nothing(trained):
    before = source_of(project(trained))
    written(trained, {"box/unused.py": "X = 2\n"})
    assert source_of(project(trained)) == before


@pytest.mark.usefixtures("surroundings")
def test_a_constant_that_a_cell_sets_in_a_module_counts(trained):
    """And so does the value of its file again; a name that the module itself changes does not."""
    experiment = project(trained)
    before, helper = source_of(experiment), sys.modules["box.helper"]
    for value, same in ((5, False), (4.0, False), (4, True)):
        helper.WIDTH = value
        assert (source_of(experiment) == before) == same
    written(
        trained,
        {"box/deeper.py": FILES["box/deeper.py"] + "COUNT = 0\ndef count():\n    global COUNT\n    COUNT += 1\n"},
    )
    experiment = project(trained)
    before = source_of(experiment)
    sys.modules["box.deeper"].COUNT = 7
    assert source_of(experiment) == before
    written(trained, FILES)


EDITS = ("{n}", "{n} + (lambda: {n})()", "sum(({n},))")


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_edit_of_a_project_goes_unseen(data):
    """Modules that import one another at random: an edit of a number in any of them counts where it is reached."""
    size = data.draw(st.integers(2, 5))
    imports = [data.draw(st.sets(st.integers(0, size - 1), max_size=2)) for _ in range(size)]
    forms = [data.draw(st.sampled_from(EDITS)) for _ in range(size)]

    def text_of(numbers):
        with tempfile.TemporaryDirectory() as folder:
            for i, n in enumerate(numbers):
                lines = [f"from pile.m{j} import f{j} as g{j}" for j in imports[i] if j > i]
                lines += [f"def late():\n    from pile import m{j}" for j in imports[i] if j <= i]
                lines += [f"def f{i}(x={n}): return {forms[i].format(n=n)}"]
                written(Path(folder), {f"pile/m{i}.py": "\n".join(lines)})
            written(Path(folder), {"pile/__init__.py": ""})
            sys.path.insert(0, folder)
            for name in [name for name in sys.modules if name.partition(".")[0] == "pile"]:
                del sys.modules[name]
            importlib.invalidate_caches()
            try:
                return provenance.canonical(source_of(importlib.import_module("pile.m0").f0))
            finally:
                sys.path.remove(folder)

    reached, todo = set(), [0]
    while todo:
        if (i := todo.pop()) not in reached:
            reached.add(i)
            todo += imports[i]
    edited = data.draw(st.integers(0, size - 1))
    numbers = [10 * i for i in range(size)]
    before = text_of(numbers)
    numbers[edited] += 1
    assert (text_of(numbers) != before) == (edited in reached)
