"""The examples of docstrings run, and give what they say they give."""

import doctest
import importlib
from pathlib import Path

import pytest

import deeplab

ROOT = Path(deeplab.__file__).parents[1]
FILES = [
    path
    for folder in ("deeplab", "experiments")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text()
]


# Those that compile models, layers and whole runs, or explain them; of each there is a test that looks closer.
DEAR = [
    ROOT / "deeplab" / folder
    for folder in ("models", "verbs", "nn", "decode", "data/augment", "explain", "hub", "train")
]
COSTLY = [path for path in FILES if any(map(path.is_relative_to, DEAR))]
CASES = [pytest.param(path, marks=[pytest.mark.slow] * (path in COSTLY)) for path in FILES]


def module_of(path):
    return importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


@pytest.mark.parametrize("path", CASES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples(path):
    result = doctest.testmod(module_of(path))
    assert result.attempted
    assert not result.failed, "see above what was expected, and what came"


@pytest.mark.parametrize("path", COSTLY, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_costly_example_imports_is_there(path):
    """Every day: its lines are Python, and what they import is there."""
    found = [test for test in doctest.DocTestFinder().find(module_of(path)) if test.examples]
    assert found
    for test in found:
        names = dict(test.globs)
        for line in test.examples:
            code = compile(line.source, test.name, "single")
            if line.source.startswith(("import ", "from ")):
                exec(code, names)
