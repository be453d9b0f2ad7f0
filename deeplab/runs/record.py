"""The run directory: held by one process, and a record of what was asked, what ran, and what came out.

Everything in it is text or arrays. `run.json` is read as JSON and `source.py` is compared as text: nothing that a run
directory holds is ever imported, run or unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab.core.errors import UserError
from deeplab.runs import provenance, storage
from deeplab.runs.fingerprint import fingerprints
from deeplab.runs.lock import LOCK, hold, unwritable


def default_directory(root: str | Path, name: str, arguments: Mapping[str, Any], source: str, seed: int = 0) -> Path:
    """`root/name/hash` of all that a run is: its arguments, its seed and its source without comments.

    Example:
      >>> default_directory("runs", "digits", {"width": 8}, "def experiment(width): ...").as_posix()
      'runs/digits/fc5ae433'
    """
    text = json.dumps([dict(arguments), seed, provenance.canonical(source)], sort_keys=True)
    return Path(root) / re.sub(r"[^\w.-]+", "_", name) / hashlib.sha256(text.encode()).hexdigest()[:8]


class Run:
    """A run directory that this process holds; made by `Run.open`, and to be closed.

    Attributes:
      directory: where it is.
      manifest: `run.json`.
      step: where this session begins, see `restore`.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], previous: Mapping[str, Any], lock: int):
        self.directory, self.manifest = directory, manifest
        self._previous, self._lock = previous, lock
        self._rows: int | None = None
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
        """Takes an empty or missing directory, or that of the same run to go on with it.

        Args:
          directory: of the run.
          manifest: JSON: what is asked ("experiment", "arguments", "seed") and known ("mesh", "num_steps", ...);
            versions, devices, time and git commit are added.
          source: of the experiment's file.
          fresh: moves what is there to `NAME.old-1` first.
          allow_change: goes on although arguments or source are other than the old run's.

        Raises:
          UserError: the directory is another run's, no run's, in use or not writable. Nothing has been changed then.
        """
        directory = Path(directory).absolute()
        lock = hold(directory)
        try:
            if fresh and set(os.listdir(directory)) != {LOCK}:
                _move_aside(directory)
                os.close(lock)
                lock = hold(directory)
            new = json.loads(json.dumps({**manifest, **provenance.environment()}))
            old = _read_manifest(directory / "run.json")
            if old is not None:
                _go_on(directory, old, new, source, allow_change)
            new["started"] = (old or {}).get("started", new["session"])
            sessions = (old or {}).get("history", [])
            new["history"] = [*sessions, {k: v for k, v in old.items() if k != "history"}] if old else []
            _write_sources(directory, source)
            write_json(directory / "run.json", new)
        except OSError as error:
            os.close(lock)
            raise unwritable(directory, error) from error
        except BaseException:
            os.close(lock)
            raise
        return cls(directory, new, old or {}, lock)

    @property
    def sessions(self) -> int:
        """How many processes have worked on the run before this one."""
        return len(self.manifest["history"])

    def restore(self, step: int) -> None:
        """Makes the record that of a run at `step`: later rows of metrics are cut, a result or a failure is no more."""
        rows, failure, self.step = self.directory / "metrics.jsonl", self.directory / "failure", step
        cut_rows(rows, step)
        (self.directory / "result.json").unlink(missing_ok=True)
        if failure.exists():
            _move_aside(failure)
        self._rows = os.open(rows, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def append(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
        """One row of `metrics.jsonl`, in one write: it survives a kill of this process whole, or is cut later."""
        if self._rows is None:
            raise ValueError("restore(step) says where the rows begin, and comes first")
        line = (json.dumps({"step": step, "split": split, **metrics}) + "\n").encode()
        try:
            written = os.write(self._rows, line)
        except OSError as error:
            raise unwritable(self.directory / "metrics.jsonl", error) from error
        if written < len(line):
            raise unwritable(self.directory / "metrics.jsonl", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def update(self, facts: Mapping[str, Any]) -> None:
        """Adds to `run.json` what became known later, such as the number of parameters."""
        _warn_of_bits(self._previous, facts)
        self.manifest |= json.loads(json.dumps(dict(facts)))
        write_json(self.directory / "run.json", self.manifest)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes `result.json`."""
        write_json(self.directory / "result.json", dict(result))

    def save_failure(self, step: int, state: Any, batch: Any, origin: Any, message: str) -> Path:
        """Keeps what replays a step that failed: `failure/state/` (state and batch) and `failure/report.json`."""
        folder, tree = self.directory / "failure", {"state": state, "batch": batch}
        if folder.exists():
            _move_aside(folder)
        folder.mkdir()
        storage.write(folder / "state", tree, list(fingerprints(tree).values()), step=step, metrics={}, extra={})
        where = {"layer": getattr(origin, "layer", None), "primitive": getattr(origin, "primitive", None)}
        write_json(folder / "report.json", {"step": step, **where, "message": message})
        return folder

    def close(self) -> None:
        """Lets another process have the directory."""
        for descriptor in (self._rows, self._lock):
            if descriptor is not None:
                os.close(descriptor)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def cut_rows(path: Path, step: int) -> None:
    """Removes, at once or not at all, the rows after `step` and a last line that a kill has torn."""
    # Lines end at newlines alone: `splitlines` would cut what a kill has torn at a carriage return, too.
    lines = io.BytesIO(path.read_bytes()).readlines() if path.exists() else []
    steps = [_step_of(line) for line in lines]
    damaged = [i + 1 for i, s in enumerate(steps[:-1]) if s is None]
    if damaged:
        warnings.warn(f"{path}: lines {damaged[:5]} are no rows of metrics, and are dropped", stacklevel=3)
    kept = [line for line, s in zip(lines, steps, strict=True) if s is not None and s <= step]
    if kept != lines:
        _replace(path, b"".join(kept))


def write_json(path: Path, value: Any) -> None:
    """Replaces a file at once: a reader finds the old one or the new one."""
    _replace(path, (json.dumps(value, indent=1) + "\n").encode())


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.tmp")
    partial.write_bytes(data)
    os.replace(partial, path)


def _step_of(line: bytes) -> int | None:
    """The step of a row; None for what is no row, or is torn."""
    try:
        row = json.loads(line)
        return int(row["step"]) if line.endswith(b"\n") else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _read_manifest(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads(path.read_bytes())
        if not isinstance(manifest, dict) or not isinstance(manifest.get("history", []), list):
            raise ValueError("not the JSON object that was written")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({error}): whether this is the same run cannot be told; "
            "restore it from a copy, or give --fresh (the directory is moved aside, not deleted)"
        ) from error
    return manifest


def _go_on(directory: Path, old: Mapping[str, Any], new: Mapping[str, Any], source: str, allow_change: bool) -> None:
    """Refuses to go on with another run than the one in the directory."""
    path = directory / "source.py"
    table = provenance.differences(old, new, path.read_text(errors="replace") if path.exists() else source, source)
    if table and not allow_change:
        raise UserError(
            f"{directory} holds a run with other settings:\n{table}\n"
            "Nothing was changed. Go on with the new ones by --allow-change, begin anew by --fresh (the old run is "
            "moved aside, not deleted), or give another --run-dir"
        )
    if table:
        warnings.warn(f"{directory} goes on with other settings than it was begun with:\n{table}", stacklevel=4)
    _warn_of_bits(old, new)


def _warn_of_bits(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    changes = provenance.bit_changes(old, new)
    if changes:
        warnings.warn(
            f"the run was begun with {', '.join(changes)}: it goes on with the same examples in the same order, but "
            "not bitwise as if it had never stopped",
            stacklevel=4,
        )


def _write_sources(directory: Path, source: str) -> None:
    """Keeps the experiment's source and the working tree's patch, and those of earlier sessions that differ."""
    for name, text in (("source.py", source), ("diff.patch", provenance.patch())):
        path = directory / name
        if path.exists() and path.read_bytes() != text.encode():
            _move_aside(path)
        if text and not path.exists():
            _replace(path, text.encode())


def _move_aside(path: Path) -> None:
    number = next(n for n in range(1, 10_000) if not path.with_name(f"{path.name}.old-{n}").exists())
    path.rename(path.with_name(f"{path.name}.old-{number}"))
