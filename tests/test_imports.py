"""Imports go one way: a folder is a stage, and knows the stages before it."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deeplab

ROOT = Path(deeplab.__file__).parents[1]
MAY_IMPORT = {
    "core": set(),
    "data": set(),
    "nn": set(),
    "models": {"nn"},
    "metrics": set(),
    "decode": set(),
    "tasks": {"metrics", "decode"},
    "generate": {"metrics", "tasks"},
    "optim": set(),
    "experiment": {"data", "tasks", "optim"},
    "scale": {"experiment"},
    "train": {"data", "metrics", "tasks", "optim", "experiment", "scale"},
    "runs": {"data", "metrics", "tasks", "decode", "experiment", "scale", "train"},
    "search": {"data", "metrics", "tasks", "experiment", "scale", "train", "runs"},
    "report": set(),
    "explain": {"nn", "report"},  # a notebook draws what a page does
    "representation": set(),
    "robust": {"data", "metrics", "tasks", "optim", "experiment", "train", "explain", "representation"},
    "tuning": {"optim", "experiment"},
    "hub": {"data", "models", "optim", "experiment", "scale", "tuning"},
    "verbs": {
        *("data", "metrics", "tasks", "optim", "experiment", "scale", "train", "runs", "search", "report", "explain"),
        *("representation", "robust"),
    },
    "cli": {"data", "tasks", "decode", "hub", "experiment", "scale", "train", "runs", "search", "report", "verbs"}
    | {"explain"},
    "templates": {"data"},  # experiments as a user writes them
}
FILES = sorted((ROOT / "deeplab").rglob("*.py"))
HEAVY = {
    *(
        "PIL",
        "absl",
        "datasets",
        "grain",
        "matplotlib",
        "optuna",
        "pandas",
        "pyarrow",
        "ray",
        "rich",
        "sacrebleu",
        "scipy",
        "sklearn",
        "soundfile",
    ),
    *("huggingface_hub", "jinja2", "pdoc", "tensorflow_datasets", "tokenizers", "treescope", "tyro", "wandb"),
}
"""Libraries that are optional, or that take long to import: they may be imported where they are used."""


def _stage(path: Path) -> str:
    return path.relative_to(ROOT / "deeplab").parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """The stages that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    assert not any(name.split(".")[0] in ("experiments", "tests") for name in names), f"{path} imports an experiment"
    return {name.split(".")[1] for name in names if name.startswith("deeplab.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_stage_imports_only_the_stages_before_it(path):
    stage = _stage(path)
    if stage not in ("__init__", "__main__"):  # the two front doors know every room
        assert _imports(path) <= MAY_IMPORT[stage] | {stage, "core"}


def _late_imports(path: Path) -> set[str]:
    """The libraries that a file imports below its top level: in a function, a class or an `if`."""
    tree = ast.parse(path.read_text())
    late = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) and node not in tree.body]
    modules = [[a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] for node in late]
    return {name.split(".")[0] for names in modules for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_late_imports_are_of_heavy_libraries_only(path):
    """An import of deeplab in a function, or for type checking only, would hide a cycle."""
    if path.name != "__init__.py":  # Its names are imported when they are first used, see deeplab.core.lazy.
        assert _late_imports(path) <= HEAVY


def test_no_public_name_is_that_of_a_module_beside_it():
    """Whoever imports the module first would get it in place of the name."""
    for path in FILES:
        if path.name == "__init__.py" and "lazy.attach" in path.read_text():
            package = ".".join(path.parent.relative_to(ROOT).parts)
            homes = importlib.import_module(package).__getattr__.__closure__
            named = next(cell.cell_contents for cell in homes if isinstance(cell.cell_contents, dict))
            beside = {other.stem for other in path.parent.glob("*.py")} | {
                p.name for p in path.parent.iterdir() if p.is_dir()
            }
            taken = {name for name, home in named.items() if ":" in home and name in beside}
            assert taken <= {"taps"}, f"{package}: {taken}"  # which explain imports at once


def test_no_import_cycles():
    """Of modules, which is finer than the order of the stages."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        nodes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        targets = {
            f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            for node in nodes
            for alias in node.names
        }
        known = {target if target in names else target.rpartition(".")[0] for target in targets}
        graph[name] = known & set(names)
    assert _cycle(graph) == []


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a cycle, the first one again at the end; empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_preparation_knows_no_data_set():
    for path in (ROOT / "deeplab" / "data" / "prepare").glob("*.py"):
        assert not re.search(r"deeplab\.data(\.| import )sets", path.read_text()), path


def test_private_modules_of_jax_are_imported_in_one_file():
    """A change of JAX then concerns one file, which says what is private and why it is needed."""
    assert [path.name for path in FILES if "jax._src" in path.read_text()] == ["jax_compat.py"]


def test_experiments_import_the_package_and_each_other_not():
    """A study imports its page, and a benchmark its own parts (NAME_*) and the experiment that it measures."""
    for path in (ROOT / "experiments").rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
        benchmark = path.parent.name == "benchmarks"
        forbidden, own = (
            "experiments.benchmarks." if benchmark else "experiments.",
            f"experiments.benchmarks.{path.stem}_",
        )
        assert not [
            name
            for name in names
            if name.startswith(forbidden) and not name.startswith(own if benchmark else "experiments.pages.")
        ], path


def test_no_folder_holds_more_than_sixteen_modules():
    """A reader finds a line by the names of the rooms; a room of more modules is two rooms."""
    for folder in {path.parent for path in FILES}:
        modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 16, f"{folder}: {len(modules)} modules"


def test_importing_deeplab_loads_no_stage_and_no_heavy_library():
    heavy = ["jax", "tensorflow_datasets", "matplotlib", "sklearn", "orbax", "tyro", "tensorboardX", "grain", "PIL"]
    code = f"import sys, deeplab; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_is_there():
    for name in deeplab.__all__:
        assert getattr(deeplab, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = deeplab.nonsense


def test_every_module_can_be_imported():
    """On each version of JAX that the gate tries: some are met by few tests."""
    for file in FILES:
        if file.name != "__main__.py" and "templates" not in file.parts:
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_imports_at_once_what_an_extra_brings(path):
    """The extra `test` brings no PyTorch: `pytest.importorskip` skips a file of which a plain import would fail."""
    parity = ("torch", "transformers", "captum", "shap", "peft", "librosa", "jiwer", "wfdb", "pycocotools")
    names = [
        name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    ]
    assert not {name.split(".")[0] for name in names} & set(parity)
