"""Checkpoints of a run: saved asynchronously, verified on restore, never silently discarded.

The training loop waits for a dispatch, not for the disk. Resuming loads the newest *valid* checkpoint. The choice of
the best checkpoint is not affected by NaN (Orbax's `BestN` deletes the true best after one).

A save is read back in the background before it counts: before the rename that makes it a checkpoint (see `storage`),
and before older ones are deleted (see `retention`). One that differs from the state is a failed save.

Several processes write their parts of one checkpoint into a shared directory. They wait until it is written, because
the collectives of Orbax must not interleave with those of a step. Only process 0 prepares, verifies and deletes.
"""

from __future__ import annotations

import concurrent.futures
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from deeplab.core.errors import CheckpointError, UserError
from deeplab.core.monitor import Monitor
from deeplab.core.text import dumps
from deeplab.runs import storage
from deeplab.runs.retention import Folder
from deeplab.runs.snapshot import copied, fits_twice, uncopied
from deeplab.scale import processes

_ATTEMPTS = 3  # failed saves in a row before the run stops


class Checkpoints:
    """The checkpoints of one run, with at most one writer at a time.

    Close it, or use it in a `with` statement, because the last save may still be in progress. With several processes,
    each has one and calls the same methods in the same order.

    Args:
      directory: Directory of the checkpoints, created by the first save.
      keep: Number of the newest checkpoints that are kept.
      best: Monitor by which the best checkpoints are also kept.
      keep_best: Number of the best checkpoints that are kept.

    Example:
      >>> import tempfile
      >>> state = {"step": jax.numpy.int32(7), "w": jax.numpy.ones(3)}
      >>> with Checkpoints(tempfile.mkdtemp()) as checkpoints:
      ...     saved = checkpoints.save(7, state, extra={"seconds": 1.5})
      ...     state, extra = checkpoints.latest(state)
      >>> int(state["step"]), extra
      (7, {'seconds': 1.5})
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, keep: int = 2, best: Monitor | None = None, keep_best: int = 1
    ):
        if keep < 1 or keep_best < 0:
            raise UserError(f"keep={keep}, keep_best={keep_best}: the newest checkpoint is always kept, so keep >= 1")
        self.directory = Path(directory).absolute()
        storage.check_path(self.directory)
        self._best, self._folder = best, Folder(self.directory, keep, best, keep_best)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: concurrent.futures.Future[None] | None = None
        self._step: int | None = None  # metrics of the save in progress, or of the last one that succeeded
        self._failures: list[BaseException] = []  # errors since the last save that succeeded
        self._copies: bool | None = None
        self._owns = False  # whether later steps on disk are known to be obsolete

    def prepare(self, state: Any) -> None:
        """Compiles the programs of `save` in the background (0.3 s for 60 arrays), so that the first save is fast."""
        if jax.process_count() == 1:
            self._thread.submit(copied.lower(state).compile)

    def save(
        self,
        step: int,
        state: Any,
        *,
        metrics: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> bool:
        """Starts an asynchronous save and returns; the state may be donated immediately.

        While another save is in progress, a save with `metrics` or `force` waits for it, and any other is skipped.
        Checkpoints of later steps, which are obsolete after a resume from an earlier step, are removed.

        Args:
          step: Step of the state, the name of the checkpoint; further saves of the same step are skipped.
          state: Pytree of arrays and typed keys.
          metrics: Metrics of an evaluation, by which the best checkpoint is chosen.
          extra: Other values that a resume needs, as JSON.
          force: Whether to save in any case, as at the end of a run.

        Returns:
          Whether the state is being saved, or has been saved before.

        Raises:
          CheckpointError: Three saves in a row have failed (the first two are warnings; with several processes the
            first ends the run); or later checkpoints would be removed, and none was loaded.
          UserError: `metrics` lacks the monitored metric.
        """
        about = {"step": step, "metrics": dict(metrics or {}), "extra": dict(extra or {})}
        dumps(about)  # raises here, in the calling thread, if a value is not JSON
        if self._best and metrics:
            self._best.score(metrics)  # raises here, in the calling thread, if the metric is missing
        if self._saving and not self._saving.done() and not force and not metrics:
            return False
        self.wait()
        if step == self._step:
            return True
        if not self._owns and any(saved >= step for saved in self._folder.numbered()):
            raise CheckpointError(
                f"{self.directory} holds {self._folder.numbered()}: load one before saving step {step} there"
            )
        self._owns = True
        if self._copies is None:
            self._copies = jax.process_count() == 1 and fits_twice(state)
        copy, fingerprints = (copied if self._copies else uncopied)(state)
        self._step = step
        self._saving = self._thread.submit(self._write, copy, fingerprints, about)
        if not self._copies:  # before the donation, or the collectives of Orbax
            concurrent.futures.wait([self._saving])
        if jax.process_count() > 1:
            self._settle(patience=0)  # if one process has failed, the others cannot retry without it
        return True

    def wait(self) -> None:
        """Waits for the save in progress. A failure is a warning, the third in a row a `CheckpointError`."""
        self._settle(patience=_ATTEMPTS - 1)

    def close(self) -> None:
        """Waits for the save in progress, and raises a `CheckpointError` if it failed, since no other save follows."""
        self._thread.shutdown()
        self._settle(patience=0)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._thread.shutdown()
        self._settle(patience=0 if error is None else _ATTEMPTS)  # must not hide the first error

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending; a checkpoint is verified when it is loaded."""
        return self._folder.steps()

    def best(self) -> int | None:
        """Step of the best checkpoint by the monitor; None if there is none."""
        self.wait()
        return next(iter(self._folder.ranked(self.steps())), None)

    def latest(self, abstract_state: Any, *, cast: bool = False) -> tuple[Any, dict[str, Any]] | None:
        """Loads the newest valid checkpoint as (state, extra); None if there is no checkpoint.

        Args:
          abstract_state: Tree of `jax.ShapeDtypeStruct`s with the shardings of the loaded arrays, or of arrays.
          cast: Whether floating-point leaves may be stored in another precision.

        Raises:
          CheckpointError: There are checkpoints, but none is valid; or the newest valid one is of another model.
        """
        self.wait()
        self._owns = True
        self._folder.warn_of_strays()
        for step in reversed(processes.allgather_json(self.steps())[0]):
            try:
                return storage.read(self._folder.path(step), abstract_state, cast=cast)
            except storage.Damage as damage:
                warnings.warn(f"checkpoint {self._folder.path(step)} is damaged and not used: {damage}", stacklevel=2)
        if found := self._folder.numbered():
            raise CheckpointError(
                f"none of the checkpoints {found} in {self.directory} can be used, and a run does not start "
                "over by itself: restore one from a copy, or give --fresh (this run is moved aside, not deleted)"
            )
        return None

    def load(self, step: int, abstract_state: Any, *, cast: bool = False) -> tuple[Any, dict[str, Any]]:
        """Loads the checkpoint of one step, like `latest`; a `CheckpointError` if it is damaged or missing."""
        self.wait()
        self._owns = True
        if step not in self.steps():
            raise CheckpointError(f"no checkpoint of step {step} in {self.directory}; there are {self.steps()}")
        try:
            return storage.read(self._folder.path(step), abstract_state, cast=cast)
        except storage.Damage as damage:
            raise CheckpointError(
                f"checkpoint {self._folder.path(step)} is damaged: {damage}; there are {self.steps()}"
            ) from damage

    def _write(self, state: Any, fingerprints: jax.Array, about: dict[str, Any]) -> None:
        """Waits for the device in the background, writes, then deletes checkpoints that are no longer kept."""
        step, primary = about["step"], jax.process_index() == 0
        with jax.transfer_guard("allow"):
            numbers = jax.device_get(fingerprints).tolist()
            try:
                if primary:
                    self.directory.mkdir(parents=True, exist_ok=True)
                    self._folder.sweep()
                    self._folder.discard(step)  # damaged, or from before the run was resumed at an earlier step
                    self._folder.check_space(state)
                storage.write(self._folder.path(step), state, numbers, **about)
            except Exception:
                if primary:
                    self._folder.sweep()  # frees the disk, which may be full, of the partial checkpoint
                raise
        self._folder.score(step, about["metrics"])
        if primary:
            self._folder.prune(step)

    def _settle(self, patience: int) -> None:
        """Waits, and warns of a failure, or raises it if more than `patience` saves in a row have failed."""
        saving, self._saving = self._saving, None
        error = saving.exception() if saving else None
        if saving:
            self._failures = [*self._failures, error] if error else []
        if error:
            self._step = None
        if len(self._failures) > patience:
            raise CheckpointError(f"{self._report()}. Fix the cause, then run the same command again") from error
        if error:
            count = f"{len(self._failures)} of {_ATTEMPTS} failed"
            warnings.warn(f"{self._report()}; the next save tries again ({count})", stacklevel=3)

    def _report(self) -> str:
        return (
            f"a checkpoint could not be saved: {storage.reason(self._failures[-1])}. "
            f"Those of steps {self.steps()} in {self.directory} are intact"
        )
