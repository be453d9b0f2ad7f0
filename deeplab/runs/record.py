"""The run directory: a record of the arguments, the source, the environment and the results of a run.

One process holds it at a time. It contains text and arrays only: `run.json` is read as JSON and `source.py` is compared
as text. Nothing in a run directory is imported, executed or unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from deeplab.core.errors import Diverged, UserError
from deeplab.core.text import dumps, loads
from deeplab.runs import evaluations, storage
from deeplab.runs.files import cut_rows, move_aside, replace, write_json
from deeplab.runs.fingerprint import fingerprints
from deeplab.runs.identity import provenance
from deeplab.runs.identity.going_on import check_same_run, warn_of_bit_changes
from deeplab.runs.lock import LOCK, hold, unwritable

ENDED = "ended.json"
_RECORD = re.compile(r"(run\.(json|lock)|ended\.json|(source\.py|diff\.patch)(\.old-\d+)?|members/plan\.json)(\.tmp)?")
"""Files that a session leaves before its first step."""


def default_directory(root: str | Path, name: str, arguments: Mapping[str, Any], source: str, seed: int = 0) -> Path:
    """The default path of a run: `root/name/hash`, with a hash of the arguments, the seed and the source.

    Args:
      root: Folder of all runs.
      name: Name of the experiment.
      arguments: JSON values of the hyper-parameters, by name.
      source: Source of the experiment; comments and layout do not change the hash.
      seed: Seed of the run.

    Example:
      >>> default_directory("runs", "digits", {"width": 8}, "def experiment(width): ...").as_posix()
      'runs/digits/fc5ae433'
    """
    text = dumps([arguments, seed, provenance.canonical(source)], sort_keys=True)
    return Path(root) / re.sub(r"[^\w.-]+", "_", name) / hashlib.sha256(text.encode()).hexdigest()[:8]


class Run:
    """A run directory locked by this process; opened by `Run.open`, and released by `close` or at the end of `with`.

    Attributes:
      directory: Path of the run directory.
      manifest: Content of `run.json`.
      step: First step of this session, see `restore`.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], previous: Mapping[str, Any], source: str, lock: int):
        self.directory, self.manifest = directory, manifest
        self._previous, self._source, self._lock = previous, source, lock
        self._rows: int | None = None
        self._is_written = False
        self.step = 0

    @classmethod
    def open(
        cls,
        directory: str | Path,
        manifest: Mapping[str, Any],
        source: str,
        *,
        fresh: bool = False,
        allow_change: bool = False,
    ) -> Run:
        """Creates a run directory, or opens that of an earlier session of the same run.

        The record of what was trained before is replaced by `go_on`, once this session has taken it up: one that fails
        before that leaves it as it was. Where nothing was trained, any run may begin.

        Args:
          directory: Path of the run directory; it is created if it does not exist.
          manifest: JSON values that identify the run ("experiment", "arguments", "seed") and describe it ("mesh",
            "num_steps", ...). Versions, devices, time and git commit are added.
          source: Source of the experiment's file.
          fresh: Whether an existing run is moved to `NAME.old-1` first.
          allow_change: Whether a run continues although its arguments or source have changed.

        Raises:
          UserError: The directory belongs to a different run, is not a run directory, is in use or is not writable.
            Nothing has been changed then.
        """
        directory = Path(directory).absolute()
        lock = hold(directory)
        try:
            if fresh and set(os.listdir(directory)) != {LOCK}:
                folder = directory.resolve()  # what a link leads to, and not the link
                move_aside(folder)
                os.close(lock)
                folder.mkdir()
                lock = hold(directory)
            new = loads(dumps({**manifest, **provenance.environment()}))
            old = _read_manifest(directory / "run.json")
            trained = None if old is None or _is_untrained(directory) else old
            if trained is not None:
                check_same_run(directory, trained, new, source, allow_change)
            new["started"] = (old or {}).get("started", new["session"])
            # Until this session has compared its data, the record tells of those that the run was trained on.
            new |= {name: trained[name] for name in ("class_names", "data") if trained and name in trained}
            sessions = (old or {}).get("history", [])
            new["history"] = [*sessions, {k: v for k, v in old.items() if k != "history"}] if old else []
            run = cls(directory, new, trained or {}, source, lock)
            if trained is None:
                run._write()
        except OSError as error:
            os.close(lock)
            raise unwritable(directory, error) from error
        except BaseException:
            os.close(lock)
            raise
        return run

    @property
    def sessions(self) -> int:
        """The number of earlier sessions of the run."""
        return len(self.manifest["history"])

    def restore(self, step: int) -> None:
        """Rewinds the record to `step`: removes later rows and the result, and moves a failure aside."""
        rows, failure, self.step = self.directory / "metrics.jsonl", self.directory / "failure", step
        cut_rows(rows, step)
        cut_rows(self.directory / evaluations.FILE, step)
        (self.directory / "result.json").unlink(missing_ok=True)
        self.go_on()
        if failure.exists():
            move_aside(failure)
        self._rows = os.open(rows, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def append(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
        """Adds a row to `metrics.jsonl` in one write, so that a kill leaves it complete or removable by `cut_rows`.

        Args:
          step: Step of the metrics.
          split: Name of the split, such as "train".
          metrics: Values by name.
        """
        if self._rows is None:
            raise ValueError("append was called before restore(step), which sets where the rows begin")
        line = (dumps({"step": step, "split": split, **metrics}) + "\n").encode()
        try:
            written = os.write(self._rows, line)
        except OSError as error:
            raise unwritable(self.directory / "metrics.jsonl", error) from error
        if written < len(line):
            raise unwritable(self.directory / "metrics.jsonl", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def go_on(self) -> None:
        """Begins the session: writes its record, and forgets why the one before ended early."""
        if not self._is_written:
            self._write()
        (self.directory / ENDED).unlink(missing_ok=True)

    def update(self, metadata: Mapping[str, Any]) -> None:
        """Adds JSON values to `run.json`, such as the number of parameters."""
        warn_of_bit_changes(self._previous, metadata)
        self.manifest |= loads(dumps(metadata))
        if self._is_written:
            write_json(self.directory / "run.json", self.manifest)

    def _write(self) -> None:
        try:
            _write_sources(self.directory, self._source)
            write_json(self.directory / "run.json", self.manifest)
        except OSError as error:
            raise unwritable(self.directory, error) from error
        self._is_written = True

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes `result.json`."""
        write_json(self.directory / "result.json", dict(result))

    def end(self, status: Literal["stopped", "crashed"], message: str, step: int = 0) -> None:
        """Writes `ended.json`, which tells why the session ended before the run did.

        Args:
          status: "stopped" where the state is saved; "crashed" after an error.
          message: One line.
          step: Last step, where it is known.
        """
        about = {"status": status, "message": message, "step": step, "time": provenance.now()}
        write_json(self.directory / ENDED, about)

    def save_failure(self, step: int, state: Any, batch: Any, origin: Any, message: str) -> Path:
        """Saves what replays a failed step: `failure/state/` with state and batch, and `failure/report.json`.

        Args:
          step: Step that failed.
          state: State before the step.
          batch: Batch of the step.
          origin: First layer and primitive with a NaN, from `find_origin`; None where none was found.
          message: Description of the failure.

        Returns:
          The folder.
        """
        folder, tree = self.directory / "failure", {"state": state, "batch": batch}
        if folder.exists():
            move_aside(folder)
        folder.mkdir()
        storage.write(folder / "state", tree, list(fingerprints(tree).values()), step=step, metrics={}, extra={})
        where = {"layer": getattr(origin, "layer", None), "primitive": getattr(origin, "primitive", None)}
        write_json(folder / "report.json", {"step": step, **where, "message": message})
        return folder

    def close(self) -> None:
        """Releases the lock of the directory."""
        for descriptor in (self._rows, self._lock):
            if descriptor is not None:
                os.close(descriptor)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        """Notes an error, unless it refused to go on with the run, or `save_failure` tells more; then closes."""
        refused = isinstance(error, UserError) and self._rows is None and self.sessions
        if isinstance(error, Exception | KeyboardInterrupt) and not refused and not isinstance(error, Diverged):
            with contextlib.suppress(OSError, UserError):  # of a full disk, which must not hide the first error
                self.end("crashed", _first_line(error))
        self.close()


def _first_line(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), "")[:300]
    return line if isinstance(error, UserError) else f"{type(error).__name__}: {line}".removesuffix(": ")


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = loads(path.read_bytes())
        if not isinstance(manifest, dict) or not isinstance(manifest.get("history", []), list):
            raise ValueError("not the JSON object of a run")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({error}), so it cannot be compared with this run; restore it from a copy, or give "
            "--fresh (the directory is moved aside, not deleted)"
        ) from error
    return manifest


def _is_untrained(directory: Path) -> bool:
    """Whether a directory holds no more than the record of sessions that failed before their first step."""
    files = (path for path in directory.rglob("*") if path.is_symlink() or (path.is_file() and path.stat().st_size))
    return all(_RECORD.fullmatch(path.relative_to(directory).as_posix()) for path in files)


def _write_sources(directory: Path, source: str) -> None:
    """Writes `source.py` and `diff.patch`; those of earlier sessions that differ are moved aside."""
    for name, text in (("source.py", source), ("diff.patch", provenance.patch())):
        path = directory / name
        if path.exists() and path.read_bytes().rstrip(b"\n") != text.encode().rstrip(b"\n"):
            move_aside(path)
        if text and not path.exists():
            replace(path, text.encode())
