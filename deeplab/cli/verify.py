"""`verify`: proof that a killed run ends where an undisturbed one does, bit by bit.

Two runs of the same experiment, each in processes of its own: one is left alone, the other is killed (SIGKILL, no
warning, no clean-up) again and again and started anew with the same command. Then every bit is compared: parameters,
moments, position and logged metrics.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from deeplab import scale
from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.evaluate import load
from deeplab.core.errors import CheckpointError, UserError

_POLL = 0.005
WALL = ("seconds", "steps_per_second", "stalled")  # of a row of metrics: the clock's, not the run's


@dataclasses.dataclass(frozen=True)
class VerifyFlags(CommonFlags):
    """Flags of verify.

    Args:
      kills: How often the second run is killed; every third time while a checkpoint is being written.
    """

    kills: int = 3


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Trains twice, kills one, and compares.

    Returns:
      kills, kills_during_save, steps, leaves, differing_leaves, rows, differing_rows; and exit_code 3 on a difference.
    """
    flags: VerifyFlags = call.flags
    if flags.kills < 1:
        raise UserError(f"--kills {flags.kills} proves nothing; give 1 or more")
    root = flags.run_dir or Path(tempfile.mkdtemp(prefix="deeplab-verify-"))
    experiment = call.experiment()
    console.print(f"one run undisturbed, one killed {flags.kills} times, in {root}", highlight=False, soft_wrap=True)
    straight = _start(call, root / "straight")
    _finish(straight, root / "straight")
    during_save = _train_with_kills(call, root / "killed", experiment.num_steps, flags, console)

    mesh = scale.make_mesh(flags.mesh)
    states = [load(experiment, root / name / "checkpoints", mesh, "last", call) for name in ("straight", "killed")]
    leaves, differing = _compare(*states)
    rows = [_rows(root / name / "metrics.jsonl") for name in ("straight", "killed")]
    differing_rows = sum(a != b for a, b in zip(*rows, strict=False)) + abs(len(rows[0]) - len(rows[1]))
    equal = not differing and not differing_rows
    console.print(
        f"{flags.kills} kills ({during_save} during a save), {leaves} leaves and {len(rows[0])} rows of metrics: "
        + ("equal, bit by bit" if equal else f"DIFFERENT in {differing or 'no leaf'} and {differing_rows} rows"),
        highlight=False,
    )
    return {
        "kills": flags.kills,
        "kills_during_save": during_save,
        "steps": int(states[0].step),
        "leaves": leaves,
        "differing_leaves": differing,
        "rows": len(rows[0]),
        "differing_rows": differing_rows,
        "exit_code": 0 if equal else CheckpointError.exit_code,
    }


def _start(call: Invocation, directory: Path) -> subprocess.Popen:
    command = call.command("train", run_dir=directory, json=False).split(" ", 1)[1]
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(directory.parent / f"{directory.name}.log", "ab") as log:
        return subprocess.Popen(f'exec "{sys.executable}" {command}', shell=True, stdout=log, stderr=subprocess.STDOUT)


def _finish(process: subprocess.Popen, directory: Path) -> None:
    if code := process.wait():
        log = (directory.parent / f"{directory.name}.log").read_text(errors="replace")
        raise UserError(f"training in {directory} ended with exit code {code}:\n{log[-2000:]}")


def _train_with_kills(call: Invocation, directory: Path, num_steps: int, flags: VerifyFlags, console: Console) -> int:
    """Kills the run each time it has come a part of the way further; the number of kills that hit a save."""
    rng = random.Random(flags.seed)
    during_save = 0
    for kill in range(flags.kills):
        process = _start(call, directory)
        goal = int(num_steps * (kill + rng.random()) / (flags.kills + 1))
        while process.poll() is None and _last_step(directory) < goal:
            time.sleep(_POLL)
        if kill % 3 == 2:
            during_save += _wait_for_save(process, directory)
        else:
            time.sleep(rng.uniform(0, 0.2))
        if process.poll() is not None:
            raise UserError(
                f"the run ended before kill {kill + 1} of {flags.kills}; give it more steps, or fewer --kills"
            )
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        console.print(f"kill {kill + 1}: after step {_last_step(directory):,}", highlight=False)
    _finish(_start(call, directory), directory)
    return during_save


def _wait_for_save(process: subprocess.Popen, directory: Path) -> bool:
    """Until a checkpoint is being written: it is STEP.new until it is whole."""
    while process.poll() is None:
        if any((directory / "checkpoints").glob("*.new")):
            return True
        time.sleep(_POLL / 5)
    return False


def _last_step(directory: Path) -> int:
    rows = _rows(directory / "metrics.jsonl")
    return rows[-1]["step"] if rows else 0


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows of metrics without the clock's; a torn last line is left out."""
    rows = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            break
        rows.append({name: value for name, value in row.items() if name not in WALL})
    return rows


def _compare(a: Any, b: Any) -> tuple[int, list[str]]:
    """The number of leaves, and the paths of those that differ in a bit."""

    def raw(leaf: jax.Array) -> bytes:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf).tobytes()

    pairs = zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)
    return len(jax.tree.leaves(a)), [
        jax.tree_util.keystr(path, simple=True, separator="/") for (path, x), y in pairs if raw(x) != raw(y)
    ]
