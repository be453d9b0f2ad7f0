"""A start from the weights of another run."""

from __future__ import annotations

import hashlib
import numbers
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from deeplab.core.errors import CheckpointError, UserError
from deeplab.core.monitor import Monitor
from deeplab.experiment import Weights
from deeplab.optim.paths import several
from deeplab.runs import storage
from deeplab.runs.checkpoint import Checkpoints
from deeplab.runs.fingerprint import leaf_differences, leaves_by_path
from deeplab.verbs.load import read_manifest, warn_of_no_best
from deeplab.verbs.run import Run


def weights_of(
    run: Run | str | Path,
    checkpoint: Literal["best", "last"] | int = "best",
    *,
    path: str = "params",
    skip: str | Sequence[str] = (),
    of: str | None = None,
) -> Weights:
    """Weights of another run as the first ones of an experiment: `dl.Experiment(..., weights=dl.weights_of(DIR))`.

    They are known by the digest of their content: a run that began with others is another run.

    Args:
      run: Run with a directory, or its directory.
      checkpoint: "best" by the other run's monitor, "last", or the step of a checkpoint.
      path: Part of the new state that is filled, such as "params" or "params/encoder".
      skip: Regular expressions of parameter paths, relative to `path`, that keep their initial values.
      of: Part of the other run's state that is read; `path` when None.

    Raises:
      UserError: It is no run directory, or parameters do not fit (when the run starts); the message lists all of them.
      CheckpointError: The other run has no such checkpoint.

    Example:
      >>> import tempfile
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> first = dl.fit(experiment, run_dir=tempfile.mkdtemp() + "/run", smoke=True)
      >>> weights_of(first, "last", skip=["head"]).path
      'params'
    """
    skip, directory = several(skip), run.directory if isinstance(run, Run) else Path(os.path.expanduser(run))
    if directory is None:
        raise UserError("the run was kept in memory: make it with a run_dir, from which its weights are read")
    folder = _checkpoint(directory.absolute(), checkpoint)
    prefix = of or path
    try:
        stored = storage.read_manifest(folder)["leaves"]
    except storage.Damage as damage:
        raise CheckpointError(f"checkpoint {folder} is damaged: {damage}") from damage
    leaves = {name.removeprefix(f"{prefix}/"): x for name, x in stored.items() if name.startswith(f"{prefix}/")}
    if not leaves:
        known = sorted({"/".join(name.split("/")[:2]) for name in stored if name.startswith("params")})
        raise UserError(f"{folder} holds nothing under {prefix!r}; it holds {', '.join(known)}")
    content = repr(sorted((name, x["shape"], x["dtype"], x["fingerprint"]) for name, x in leaves.items()))

    def load(tree: Any) -> Any:
        wanted = leaves_by_path(tree)
        kept = {name for name in wanted if any(re.search(pattern, name) for pattern in skip)}
        _check(folder, prefix, {name: x for name, x in wanted.items() if name not in kept}, leaves)
        parts = {
            name: jax.ShapeDtypeStruct(x.shape, jax.numpy.dtype(leaves[name]["dtype"]), sharding=x.sharding)
            for name, x in wanted.items()
            if name not in kept
        }
        try:
            found = leaves_by_path(storage.read_part(folder, _nested(prefix, parts)))
        except storage.Damage as damage:
            raise CheckpointError(f"checkpoint {folder} is damaged: {damage}") from damage
        # Those that are skipped keep their initial values, whatever stands for them here.
        filled = [found.get(f"{prefix}/{name}", x) for name, x in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(tree), filled)

    return Weights(str(folder), load, path, skip, hashlib.sha256(content.encode()).hexdigest())


def _checkpoint(directory: Path, which: str | int) -> Path:
    """Folder of a checkpoint of a run."""
    if which not in ("best", "last") and (not isinstance(which, numbers.Integral) or isinstance(which, bool)):
        raise UserError(f"checkpoint is {which!r}, expected 'best', 'last', or the step of a checkpoint as an integer")
    monitor = Monitor.parse(read_manifest(directory).get("monitor") or "-loss")
    with Checkpoints(directory / "checkpoints", best=monitor) as checkpoints:
        steps = checkpoints.steps()
        step = checkpoints.best() if which == "best" else None if which == "last" else int(which)
    if not steps or (step is not None and step not in steps):
        raise CheckpointError(f"{directory} has no checkpoint {which}; it has those of steps {steps}")
    if which == "best" and step is None:
        warn_of_no_best(directory / "checkpoints", steps[-1])
    return directory / "checkpoints" / str(steps[-1] if step is None else step)


def _check(folder: Path, prefix: str, wanted: dict[str, Any], leaves: dict[str, Any]) -> None:
    """Refuses parameters that are missing or have another shape, all in one error."""
    lines = leaf_differences(wanted, {name: leaves[name] for name in wanted if name in leaves}, cast=True)
    if lines:
        unused = sorted(set(leaves) - set(wanted))
        lines += [f"not read: {', '.join(unused)}"] * bool(unused)
        raise UserError(
            f"{prefix} of {folder} does not fit the model:\n  "
            + "\n  ".join(lines)
            + "\nGive skip= regular expressions of those that start anew"
        )


def _nested(prefix: str, leaves: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *path, last = f"{prefix}/{name}".split("/")
        inner = tree
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = leaf
    return tree
