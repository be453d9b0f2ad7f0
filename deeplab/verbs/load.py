"""`load`: loads a run from its directory."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any, Literal

import jax

from deeplab import scale
from deeplab.core.arguments import from_json, kinds_of, same
from deeplab.core.errors import CheckpointError, UserError
from deeplab.core.precision import PRECISIONS, Precision
from deeplab.core.runtime import Runtime
from deeplab.core.text import loads, read_rows
from deeplab.experiment import Experiment
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.identity import datasets, provenance
from deeplab.train.contracts.checked import state_shapes
from deeplab.train.state import State
from deeplab.verbs.recipe import Recipe, imported
from deeplab.verbs.run import Run

Checkpoint = Literal["last", "best"]


def load(
    run_dir: str | Path,
    experiment: Any = None,
    *,
    checkpoint: Checkpoint = "last",
    mesh: str = "auto",
    data_dir: str | Path | None = None,
) -> Run:
    """Loads a run from its directory, with the state of one of its checkpoints.

    Args:
      run_dir: Run directory.
      experiment: Function of the experiment, whose arguments come from the run's record; imported by the module's name
        in that record when None. Code in the run directory is never run.
      checkpoint: Name of the checkpoint: "last", or "best" by the experiment's monitor.
      mesh: Devices that hold the state.
      data_dir: Folder with the original files of the data set.

    Raises:
      UserError: The folder is not a run directory, or its experiment cannot be imported.
      CheckpointError: The run has no valid checkpoint.

    Example:
      >>> import tempfile
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> directory = dl.fit(experiment, run_dir=tempfile.mkdtemp() + "/run", smoke=True).directory
      >>> load(directory).step
      4
    """
    directory = Path(run_dir)
    manifest = read_manifest(directory)
    arguments = dict(manifest["arguments"])
    precision, accumulate = arguments.pop("precision", "f32"), int(arguments.pop("accumulate", 1))
    smoke = bool(arguments.pop("smoke", False))
    row = PRECISIONS[precision] if isinstance(precision, str) else Precision(**precision)
    runtime = Runtime(mesh=mesh, precision=row, accumulate=accumulate)
    function = experiment or imported(manifest["experiment"], manifest.get("function") or "experiment")
    if not isinstance(function, Experiment):
        function = _with_arguments(function, arguments)
    folder = None if data_dir is None else Path(data_dir)
    recipe = Recipe.of(function, seed=int(manifest["seed"]), runtime=runtime, data_dir=folder, smoke=smoke)
    _warn_of_changes(directory, recipe)
    value = recipe.experiment()
    state = read_state(value, directory, checkpoint, runtime, folder)
    result = _json(directory / "result.json") or {}
    page = directory / "report.html"
    return Run(
        recipe,
        value,
        state,
        directory,
        metrics=result.get("metrics", {}),
        seconds=float(result.get("seconds", 0.0)),
        report=page if page.exists() else None,
        rows=tuple(read_rows(directory / "metrics.jsonl")[0]),
    )


def _with_arguments(function: Any, stored: dict[str, Any]) -> Any:
    """The function with the arguments of the run's record, which those of a partial must not contradict."""
    given = function.keywords if isinstance(function, functools.partial) else {}
    kinds = kinds_of(function.func if isinstance(function, functools.partial) else function)
    arguments = {name: from_json(value, kinds.get(name, Any)) for name, value in stored.items()}
    for name, value in given.items():
        if name in stored and not same(value, arguments[name]):
            raise UserError(f"the run was made with {name}={arguments[name]!r}, and load was given {name}={value!r}")
    return functools.partial(function, **arguments)


def read_state(
    experiment: Experiment,
    directory: Path,
    checkpoint: Checkpoint,
    runtime: Runtime,
    data_dir: Path | None = None,
) -> State:
    """Loads the state of a run's last or best checkpoint onto the runtime's mesh."""
    datasets.check_loaded(directory, _json(directory / "run.json") or {}, experiment.data, data_dir)
    mesh = scale.make_mesh(runtime.mesh)
    shapes = state_shapes(experiment, runtime)
    shardings = scale.state_shardings(shapes, experiment.sharding_rules, mesh, offload=runtime.offload)
    abstract = jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)
    folder = directory / "checkpoints"
    with Checkpoints(folder, best=experiment.monitor) as checkpoints:
        step = checkpoints.best() if checkpoint == "best" else None
        found = checkpoints.latest(abstract) if step is None else checkpoints.load(step, abstract)
    if found is None:
        raise CheckpointError(f"{folder} holds no checkpoint; train first")
    return found[0]


def read_manifest(directory: Path) -> dict[str, Any]:
    """Reads the record `run.json` of a run directory.

    Raises:
      UserError: There is no record, or it is not that of a single run.
    """
    manifest = _json(directory / "run.json")
    if manifest is None or not {"experiment", "arguments", "seed"} <= manifest.keys():
        raise UserError(f"{directory} is no run directory; give one that train has written, such as runs/NAME/HASH")
    return manifest


def _warn_of_changes(directory: Path, recipe: Recipe) -> None:
    """Warns if the experiment's source has changed since the run."""
    old = directory / "source.py"
    if (
        recipe.source
        and old.exists()
        and provenance.canonical(old.read_text(encoding="utf-8")) != provenance.canonical(recipe.source)
    ):
        difference = provenance.differences({}, {}, old.read_text(encoding="utf-8"), recipe.source)
        warnings.warn(f"{directory}: the experiment has changed since it was trained:\n{difference}", stacklevel=3)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
