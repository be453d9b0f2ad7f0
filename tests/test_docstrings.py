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


# Those that compile models and whole runs; of each of these there is a test that does the same and looks closer.
DEAR = (ROOT / "deeplab" / "models", ROOT / "deeplab" / "verbs", ROOT / "deeplab" / "nn" / "state_space")
CASES = [pytest.param(path, marks=[pytest.mark.slow] * any(map(path.is_relative_to, DEAR))) for path in FILES]


@pytest.mark.parametrize("path", CASES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted
    assert not result.failed, "see above what was expected, and what came"
