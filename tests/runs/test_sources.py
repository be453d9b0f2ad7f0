"""The source of an experiment: every change of what it reaches changes the text, and nothing else does."""

import functools
import importlib
import linecache
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.runs.identity.provenance import canonical
from deeplab.runs.identity.sources import source_of

PROJECT = {  # indented as the test is; `written` takes the indentation away
    "main.py": """
        from toy import helper
        import toy_values

        def experiment(width: int = 8):
            from toy.late import block
            return helper.layer(width), block, toy_values.RATE
    """,
    "toy/__init__.py": "NAME = 'toy'",
    "toy/helper.py": """
        from .deeper import base

        def layer(width, scale=1.0):
            return base(width) * scale
    """,
    "toy/deeper.py": "def base(width): return width + 1",
    "toy/late.py": "def block(): return 3",
    "toy/unused.py": "def other(): return 4",
    "toy_values.py": "RATE = 0.1",
}
REACHED = [name for name in PROJECT if name != "toy/unused.py"]


def written(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))


def text_of(folder, monkeypatch):
    """The source of the project's experiment, in this process, from modules that were never imported before."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in [n for n in sys.modules if n in ("main", "toy_values") or n.partition(".")[0] == "toy"]:
        monkeypatch.delitem(sys.modules, name)
    return canonical(source_of(importlib.import_module("main").experiment))


@pytest.mark.parametrize("name", REACHED)
def test_a_module_that_is_reached_counts(name, tmp_path, monkeypatch):
    written(tmp_path, PROJECT)
    before = text_of(tmp_path, monkeypatch)
    written(tmp_path, {name: textwrap.dedent(PROJECT[name]) + "\n# only a comment\n"})
    assert text_of(tmp_path, monkeypatch) == before
    written(tmp_path, {name: textwrap.dedent(PROJECT[name]) + "\nADDED = 1\n"})
    assert text_of(tmp_path, monkeypatch) != before


def test_a_module_that_is_not_reached_does_not_count(tmp_path, monkeypatch):
    written(tmp_path, PROJECT)
    before = text_of(tmp_path, monkeypatch)
    written(tmp_path, {"toy/unused.py": "def other(): return 5"})
    assert text_of(tmp_path, monkeypatch) == before


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_packages_of_another_environment_are_no_part(folder, tmp_path, monkeypatch):
    """As in a virtual environment above another one, and in the user's own folder: torch alone is 100 MB of source."""
    written(tmp_path, {"main.py": "import toy\ndef experiment(width: int = 8): return toy.NAME"})
    packages = tmp_path / "elsewhere" / folder
    packages.mkdir(parents=True)
    written(packages, {"toy/__init__.py": "NAME = 'toy'"})
    monkeypatch.syspath_prepend(packages)
    assert "NAME =" not in text_of(tmp_path, monkeypatch)


def test_a_file_alone_is_its_own_source():
    """So that the directories of earlier runs keep their names."""
    from experiments import image_digits

    with open(image_digits.__file__, encoding="utf-8") as file:
        assert source_of(image_digits.experiment) == file.read()


@pytest.fixture(autouse=True)
def notebook(monkeypatch):
    """The main module of a notebook has no file."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))


def cell(text, held=None):
    """Runs a cell of a notebook and gives its names."""
    name = f"<cell {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    held = {"__name__": "__main__", "np": np} if held is None else held
    exec(compile(text, name, "exec"), held)
    return held


CELL = """
RATE = 0.1
TABLE = np.arange(6)
SIZES = {"a": [1, 2], "b": (3,)}
activation = lambda x: x * 2
class Block:
    scale = 3
    def __call__(self, x): return deeper(x)
def deeper(x): return x + 1
def helper(x, power=2): return Block()(x) ** power
def experiment(width: int = 8):
    def inner(): return helper(width) * RATE + TABLE[0] + SIZES["a"][0]
    return activation(inner())
"""
CHANGES = [
    ("RATE = 0.1", "RATE = 0.2"),
    ("np.arange(6)", "np.arange(6) + 1"),
    ("[1, 2]", "[1, 3]"),
    ("x * 2", "x * 3"),
    ("scale = 3", "scale = 4"),
    ("return deeper(x)", "return deeper(x) + 1"),
    ("return x + 1", "return x + 2"),
    ("power=2", "power=3"),
    ("** power", "* power"),
    ("width: int = 8", "width: int = 9"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_another_cell_counts(old, new):
    assert CELL.count(old) == 1
    before = canonical(source_of(cell(CELL)["experiment"]))
    assert canonical(source_of(cell(CELL)["experiment"])) == before
    assert canonical(source_of(cell(CELL.replace(old, new))["experiment"])) != before


def test_a_cell_that_is_run_again_counts():
    held = cell(CELL)
    before = source_of(held["experiment"])
    cell("def deeper(x): return x - 1", held)
    assert source_of(held["experiment"]) != before


def test_values_that_a_function_holds_count():
    def make(rate, table=0, *, inner=None):
        return lambda: (rate, table, inner)

    texts = [
        source_of(make(0.1)),
        source_of(make(0.2)),
        source_of(make(0.1, np.ones(2))),
        source_of(make(0.1, inner=functools.partial(max, 3))),
        source_of(make(0.1, inner=functools.partial(max, 4))),
        source_of(functools.partial(make(0.1), 5)),
    ]
    assert len(set(texts)) == len(texts)
    assert texts[0] == source_of(make(0.1))


def test_code_without_a_source_is_told_apart():
    made = [eval(text, {"__name__": "__main__"}) for text in ("lambda: 0", "lambda: 1", "lambda: 1")]
    first, second, third = map(source_of, made)
    assert first != second == third


@settings(max_examples=200)
@given(st.data())
def test_no_edit_of_a_chain_of_helpers_goes_unseen(data):
    """Random functions that call one another in a notebook: an edit counts exactly where it is reached."""
    size = data.draw(st.integers(2, 7))
    calls = [data.draw(st.sets(st.integers(0, size - 1), max_size=3)) for _ in range(size)]
    numbers = [data.draw(st.integers(0, 9)) for _ in range(size)]

    def project(numbers):
        lines = [
            f"def f{i}(): return {n}, [{', '.join(f'f{j}' for j in sorted(calls[i]))}]" for i, n in enumerate(numbers)
        ]
        return source_of(cell("\n".join(lines))["f0"])

    reached, todo = set(), [0]
    while todo:
        if (i := todo.pop()) not in reached:
            reached.add(i)
            todo += calls[i]
    edited = data.draw(st.integers(0, size - 1))
    changed = [n + (i == edited) for i, n in enumerate(numbers)]
    assert (project(numbers) != project(changed)) == (edited in reached)


def test_packages_that_pip_put_into_a_folder_do_not_count(tmp_path, monkeypatch):
    """As by `pip install --target`: they are told apart by their versions, as those of an environment are."""
    own, packages = tmp_path / "own", tmp_path / "packages"
    own.mkdir()
    (packages / "toy-1.0.dist-info").mkdir(parents=True)
    written(own, {name: text for name, text in PROJECT.items() if not name.startswith("toy/")})
    written(packages, {name: text for name, text in PROJECT.items() if name.startswith("toy/")})
    monkeypatch.syspath_prepend(packages)
    text = text_of(own, monkeypatch)
    assert "RATE = 0.1" in text
    assert "def base" not in text


def test_an_experiment_value_is_what_it_holds(tmp_path):
    """Two processes describe equal values equally: no address, and no order of a set, is in the text."""
    program = """
        import sys
        import numpy as np, optax, deeplab as dl
        from deeplab.runs.identity.sources import source_of
        from deeplab.verbs.recipe import Recipe
        arrays = {"train": {"image": np.zeros((8, 4, 4, 1), np.uint8), "label": np.arange(8) % 2}}
        for rate in map(float, sys.argv[1:]):
            experiment = dl.Experiment(
                dl.data.Examples({**arrays, "test": arrays["train"]}, batch_size=4, num_steps=3),
                dl.models.MLP(features=(4,), num_classes=2), dl.tasks.Classification(), optax.adamw(rate),
            )
            print(source_of(Recipe.of(experiment).function), end="\\0")
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    told = [
        subprocess.run(
            [sys.executable, tmp_path / "program.py", *rates], capture_output=True, text=True, check=True
        ).stdout
        for rates in (("0.1", "0.2"), ("0.1",))
    ]
    (first, other, _), (again, _) = (text.split("\0") for text in told)
    assert first == again != other
    assert "0x" not in first
