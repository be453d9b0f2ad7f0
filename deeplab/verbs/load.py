"""`load`: loads a run from its directory."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from deeplab import scale
from deeplab.core import ranges
from deeplab.core.arguments import from_json, kinds_of, same, told, unbound
from deeplab.core.errors import CheckpointError, UserError
from deeplab.core.monitor import Monitor
from deeplab.core.precision import PRECISIONS, Precision
from deeplab.core.runtime import Runtime
from deeplab.core.text import loads, read_rows
from deeplab.experiment import Experiment
from deeplab.runs import evaluations, storage
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.fingerprint import leaf_differences, leaves_by_path
from deeplab.runs.identity import datasets, provenance
from deeplab.train.contracts.checked import state_shapes
from deeplab.train.initialize import init
from deeplab.train.state import State
from deeplab.verbs.recipe import Recipe, imported
from deeplab.verbs.run import Run

Checkpoint = Literal["last", "best"]


@ranges.checked(checkpoint=ranges.OneOf(Checkpoint))
def load(
    run_dir: str | Path,
    experiment: Any = None,
    *,
    checkpoint: Checkpoint = "last",
    mesh: str = "auto",
    data_dir: str | Path | None = None,
) -> Run:
    """Loads a run from its directory, with the state of one of its checkpoints.

    Where the code has changed since, a warning tells what differs: arguments that exist no more or are new, sources and
    versions. The run is loaded if its arrays still fit; of a changed optimizer, the state begins anew.

    Args:
      run_dir: Run directory.
      experiment: Function of the experiment, whose arguments come from the run's record; imported by the module's name
        in that record when None. Code in the run directory is never run.
      checkpoint: Name of the checkpoint: "last", or "best" by the experiment's monitor.
      mesh: Devices that hold the state.
      data_dir: Folder with the original files of the data set.

    Raises:
      UserError: The folder is not a run directory, or its experiment cannot be imported.
      CheckpointError: The run has no valid checkpoint, or its parameters do not fit the model; the message lists those
        that are missing, new or of another shape.

    Example:
      >>> import tempfile
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> directory = dl.fit(experiment, run_dir=tempfile.mkdtemp() + "/run", smoke=True).directory
      >>> load(directory).step
      4
    """
    directory = Path(os.path.expanduser(run_dir)).absolute()  # also after a change of the current folder
    manifest = read_manifest(directory)
    arguments = dict(manifest["arguments"])
    precision, accumulate = arguments.pop("precision", "f32"), int(arguments.pop("accumulate", 1))
    smoke = bool(arguments.pop("smoke", False))
    row = PRECISIONS[precision] if isinstance(precision, str) else Precision(**precision)
    runtime = Runtime(mesh=mesh, precision=row, accumulate=accumulate)
    function, other = experiment or imported(manifest["experiment"], manifest.get("function") or "experiment"), []
    if not isinstance(function, Experiment):
        function, other = _with_arguments(function, arguments)
    folder = None if data_dir is None else Path(data_dir)
    recipe = Recipe.of(function, seed=int(manifest["seed"]), runtime=runtime, data_dir=folder, smoke=smoke)
    _warn_of_changes(directory, manifest, recipe, other)
    value = recipe.experiment()
    state = read_state(value, directory, checkpoint, runtime, folder)
    result = _json(directory / "result.json") or {}
    page = directory / "report.html"
    return Run(
        recipe,
        value,
        state,
        directory,
        metrics=evaluations.by_split(directory) | result.get("metrics", {}),
        seconds=float(result.get("seconds", 0.0)),
        report=page if page.exists() else None,
        rows=tuple(read_rows(directory / "metrics.jsonl")[0]),
        best_step=result.get("stopped_early", {}).get("best_step"),
    )


def opened(run: Run | str | Path, checkpoint: Checkpoint = "last", **options: Any) -> Run:
    """A run as it is given, or loaded from the directory that is given.

    Args:
      run: Run, or its directory.
      checkpoint: Name of the checkpoint.
      **options: Further arguments of `load`.

    Raises:
      UserError: Options are given with a run, which has its state already.
    """
    if not isinstance(run, Run):
        return load(run, checkpoint=checkpoint, **options)
    given = [f"checkpoint={checkpoint!r}"] * (checkpoint != "last") + [f"{name}={x!r}" for name, x in options.items()]
    if given:
        raise UserError(
            f"{', '.join(given)} was given with a Run, which has its state already; give its directory in its place, "
            "or leave it out"
        )
    return run


def best_of(directory: Path, monitor: Monitor) -> int | None:
    """The step of a run's best checkpoint by a monitor; None where none of them was evaluated."""
    with Checkpoints(directory / "checkpoints", best=monitor) as checkpoints:
        return checkpoints.best()


def warn_of_no_best(folder: Path, step: int) -> None:
    """Warns that the last checkpoint stands for the best one."""
    warnings.warn(
        f"{folder} holds no checkpoint that was evaluated, so none is the best: the last, of step {step:,}, stands "
        "for it",
        stacklevel=4,
    )


def _with_arguments(function: Any, stored: dict[str, Any]) -> tuple[Any, list[str]]:
    """The function with the arguments of the run's record, and lines about those that it has not, or that are new.

    Raises:
      UserError: The arguments of a partial contradict the record.
    """
    inner, given = unbound(function)
    kinds, parameters = kinds_of(inner), inspect.signature(inner).parameters
    arguments = {name: from_json(value, kinds.get(name, Any)) for name, value in stored.items() if name in parameters}
    for name, value in given.items():
        if name in arguments and not same(value, arguments[name]):
            raise UserError(f"the run was made with {name}={arguments[name]!r}, and load was given {name}={value!r}")
    lines = [
        f"  argument {name}={told(value)} exists no more" for name, value in stored.items() if name not in parameters
    ]
    new = {name: given.get(name, p.default) for name, p in parameters.items() if name not in stored}
    lines += [f"  argument {name} is new, and {value!r} here" for name, value in new.items()]
    return functools.partial(inner, **{**given, **arguments}), lines


@ranges.checked(checkpoint=ranges.OneOf(Checkpoint))
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
        best = checkpoints.best() if checkpoint == "best" else None
        steps = [best] if best is not None else checkpoints.steps()[-1:]
        if checkpoint == "best" and best is None and steps:
            warn_of_no_best(folder, steps[0])
        if steps and _only_optimizer_differs(folder / str(steps[0]), abstract):
            return _with_new_optimizer(folder / str(steps[0]), experiment, abstract, runtime)
        found = checkpoints.latest(abstract) if best is None else checkpoints.load(best, abstract)
    if found is None:
        raise CheckpointError(f"{folder} holds no checkpoint; train first")
    return found[0]


def _only_optimizer_differs(folder: Path, abstract: State) -> bool:
    try:
        stored = storage.read_manifest(folder)["leaves"]
    except storage.Damage:
        return False
    lines = leaf_differences(leaves_by_path(abstract), stored, cast=False)
    return bool(lines) and all(line.startswith("opt_state/") for line in lines)


def _with_new_optimizer(folder: Path, experiment: Experiment, abstract: State, runtime: Runtime) -> State:
    """The state of a checkpoint whose optimizer was another one: of that, the state is the first one."""
    warnings.warn(f"{folder} is of another optimizer, whose state begins anew", stacklevel=4)
    make = functools.partial(init, experiment, runtime=runtime)
    state = jax.jit(make, out_shardings=jax.tree.map(lambda x: x.sharding, abstract))(jax.random.key(0))
    part = {f.name: getattr(abstract, f.name) for f in dataclasses.fields(abstract) if f.name != "opt_state"}
    held = {name: value for name, value in part.items() if jax.tree.leaves(value)}
    try:
        return dataclasses.replace(state, **storage.read_part(folder, held))
    except storage.Damage as damage:
        raise CheckpointError(f"checkpoint {folder} is damaged: {damage}") from damage


def read_manifest(directory: Path) -> dict[str, Any]:
    """Reads the record `run.json` of a run directory.

    Raises:
      UserError: There is no record, or it is not that of a single run.
    """
    manifest = _json(directory / "run.json")
    if manifest and (verb := (manifest.get("arguments") or {}).get("verb")) and manifest.get("task") == verb:
        raise UserError(
            f"{directory} holds the many runs of a {verb}, whose states are not kept; train one of them alone and load "
            "that: the page of the sweep has the command of the best one"
        )
    if manifest is None or not {"experiment", "arguments", "seed"} <= manifest.keys():
        raise UserError(f"{directory} is no run directory; give one that train has written, such as runs/NAME/HASH")
    return manifest


def _warn_of_changes(directory: Path, manifest: Mapping[str, Any], recipe: Recipe, lines: Sequence[str]) -> None:
    """Warns of what has changed since the run: arguments, versions and sources."""
    old = directory / "source.py"
    text = old.read_text(encoding="utf-8") if recipe.source and old.exists() else recipe.source
    before = {name: manifest[name] for name in ("versions", "sources") if name in manifest}
    now = {"versions": provenance.versions(), "sources": recipe.sources}
    if difference := "\n".join([*lines, *filter(None, [provenance.differences(before, now, text, recipe.source)])]):
        warnings.warn(f"{directory}: the experiment has changed since it was trained:\n{difference}", stacklevel=3)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
