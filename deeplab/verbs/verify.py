"""`verify`: checks that a run which is killed and resumed equals an uninterrupted one, bit for bit.

Two runs of the same experiment train in processes of their own. One is not interrupted; the other is killed (SIGKILL,
without cleanup) repeatedly and resumed with the same command. Then every bit of the parameters, the optimizer state,
the step and the logged metrics is compared.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.core.backend import same_bits_hint
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.core.text import read_rows
from deeplab.verbs.load import read_state
from deeplab.verbs.recipe import Recipe

_POLL = 0.005
_RUNS = ("straight", "killed")
WALL = ("seconds", "steps_per_second", "stalled")  # fields of a row of metrics that measure time


@dataclasses.dataclass(frozen=True)
class Verification(Printable):
    """Comparison of a killed run with an uninterrupted one.

    Attributes:
      kills: Number of kills.
      kills_during_save: Number of kills during a save.
      steps: Number of steps of the runs.
      leaves: Number of compared arrays.
      differing_leaves: Paths of the arrays that differ in a bit.
      rows: Number of compared rows of metrics.
      differing_rows: Number of rows that differ.
    """

    kills: int
    kills_during_save: int
    steps: int
    leaves: int
    differing_leaves: Sequence[str]
    rows: int
    differing_rows: int

    @property
    def equal(self) -> bool:
        """Whether the runs are equal, bit for bit."""
        return not self.differing_leaves and not self.differing_rows

    def __rich__(self) -> Any:
        differing = f"DIFFERENT in {self.differing_leaves or 'no leaf'} and {self.differing_rows} rows"
        return (
            f"{self.kills} kills ({self.kills_during_save} during a save), {self.leaves} leaves and {self.rows} rows "
            f"of metrics: {'equal, bit by bit' if self.equal else differing}"
        )


@ranges.checked(kills=ranges.COUNT)
def verify(
    experiment: Any,
    *,
    kills: int = 3,
    run_dir: str | Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Verification:
    """Trains twice, kills one of the runs repeatedly, and compares the results.

    Args:
      experiment: Function of hyper-parameters in a module that another process can run.
      kills: Number of kills; every third while a checkpoint is being written.
      run_dir: Folder of the two runs; a temporary one when None.
      say: Function that prints a line of text.
      **options: Further fields of `Recipe`, such as `seed` and `runtime`.

    Raises:
      UserError: `kills` is below 1, the folder holds such runs already, a run fails, or the runs end before the last
        kill.

    Example:
      >>> import functools
      >>> from experiments.image_digits import experiment
      >>> verify(functools.partial(experiment, epochs=1), kills=1).equal  # doctest: +SKIP
      True
      >>> verify(lambda: experiment(), kills=1)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: verify trains in processes of its own: ...
    """
    recipe = Recipe.of(experiment, **options)
    if recipe.reached is None:
        raise UserError(
            "verify trains in processes of its own: the experiment must be a function that a file runs by dl.main"
        )
    root = Path(os.path.expanduser(run_dir) if run_dir else tempfile.mkdtemp(prefix="deeplab-verify-"))
    if held := [name for name in _RUNS if (root / name).exists()]:
        raise UserError(
            f"{root} holds {' and '.join(held)} of an earlier verify, which would not be trained and killed anew; give "
            "another --run-dir, or delete them"
        )
    say(f"one run undisturbed, one killed {kills} times, in {root}")
    if hint := same_bits_hint(jax.default_backend()):
        say(f"hint: {hint}")
    folders = [root / name for name in _RUNS]
    _finish(_start(recipe, folders[0]), folders[0])
    during_save = _train_with_kills(recipe, folders[1], kills, say)
    value = recipe.experiment()
    straight, killed = (read_state(value, folder, "last", recipe.runtime) for folder in folders)
    leaves, differing = _compare(straight, killed)
    rows = [_rows(folder / "metrics.jsonl") for folder in folders]
    differing_rows = sum(a != b for a, b in zip(*rows, strict=False)) + abs(len(rows[0]) - len(rows[1]))
    return Verification(kills, during_save, int(straight.step), leaves, differing, len(rows[0]), differing_rows)


def _start(recipe: Recipe, directory: Path) -> subprocess.Popen:
    entry, words = recipe.reached, recipe.words("train", run_dir=directory)
    if entry is None or not words:
        raise UserError("verify trains in processes of its own, and no command line gives them these arguments")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with open(directory.parent / f"{directory.name}.log", "ab") as log:
        command = [sys.executable, *words]
        return subprocess.Popen(command, env=entry.environment(), stdout=log, stderr=subprocess.STDOUT)


def _finish(process: subprocess.Popen, directory: Path) -> None:
    if code := process.wait():
        log = (directory.parent / f"{directory.name}.log").read_text(errors="replace", encoding="utf-8")
        raise UserError(f"training in {directory} ended with exit code {code}:\n{log[-2000:]}")


def _train_with_kills(recipe: Recipe, directory: Path, kills: int, say: Callable[[str], None]) -> int:
    """Kills the run at increasing steps, then lets it finish; returns the number of kills during a save."""
    rng, num_steps = random.Random(recipe.seed), recipe.experiment().num_steps
    during_save = 0
    for kill in range(kills):
        process = _start(recipe, directory)
        goal = int(num_steps * (kill + rng.random()) / (kills + 1))
        while process.poll() is None and _last_step(directory) < goal:
            time.sleep(_POLL)
        if kill % 3 == 2:
            during_save += _wait_for_save(process, directory)
        else:
            time.sleep(rng.uniform(0, 0.2))
        if process.poll() is not None:
            raise UserError(f"the run ended before kill {kill + 1} of {kills}; give it more steps, or fewer --kills")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        say(f"kill {kill + 1}: after step {_last_step(directory):,}")
    _finish(_start(recipe, directory), directory)
    return during_save


def _wait_for_save(process: subprocess.Popen, directory: Path) -> bool:
    """Waits until a checkpoint is being written, as STEP.new; returns False if the process ends before."""
    while process.poll() is None:
        if any((directory / "checkpoints").glob("*.new")):
            return True
        time.sleep(_POLL / 5)
    return False


def _last_step(directory: Path) -> int:
    rows = _rows(directory / "metrics.jsonl")
    return rows[-1]["step"] if rows else 0


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows of metrics without fields that measure time; an incomplete last line is left out."""
    return [{name: value for name, value in row.items() if name not in WALL} for row in read_rows(path)[0]]


def _compare(a: Any, b: Any) -> tuple[int, list[str]]:
    """Number of leaves, and paths of those that differ in a bit."""

    def raw(leaf: jax.Array) -> bytes:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf).tobytes()

    pairs = zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)
    return len(jax.tree.leaves(a)), [
        jax.tree_util.keystr(path, simple=True, separator="/") for (path, x), y in pairs if raw(x) != raw(y)
    ]
