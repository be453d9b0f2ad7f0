"""A lock on a run directory: a second process is refused, and a killed process leaves no lock behind."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from deeplab.core.errors import UserError

LOCK = "run.lock"
"""The file that is locked; it names the process that holds the lock."""


def hold(directory: Path) -> int:
    """Creates the directory and locks it; the system releases the lock when this process ends, for whatever reason.

    Args:
      directory: Path of the run directory.

    Returns:
      A file descriptor; closing it releases the lock.

    Raises:
      UserError: The directory is not a run directory, is locked by another process, or is not writable.
    """
    try:
        names = os.listdir(directory) if directory.exists() else []
        if names and not {"run.json", LOCK} & set(names):
            raise UserError(
                f"{directory} is no run directory, and not empty ({', '.join(sorted(names)[:5])}): nothing written; "
                "give --run-dir a directory that is empty or does not exist"
            )
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        _lock(lock)
        if not os.path.samestat(os.fstat(lock), os.stat(directory / LOCK)):  # Moved aside by --fresh.
            raise BlockingIOError
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except (BlockingIOError, FileNotFoundError):
        holder = os.pread(lock, 200, 0).decode(errors="replace") or "another process"
        os.close(lock)
        raise UserError(
            f"{directory} is in use by {holder}: wait for it, stop it, or give another --run-dir (or another --seed)"
        ) from None
    except OSError as error:
        os.close(lock)
        raise unwritable(directory, error) from error
    return lock


def _lock(file: int) -> None:
    """Locks an open file; tries for 0.1 s, because whoever lists the runs holds a lock for an instant."""
    for last in (False, False, True):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if last:
                raise
            time.sleep(0.05)


def unwritable(path: Path, error: OSError) -> UserError:
    """The error for a path that cannot be written."""
    return UserError(f"cannot write to {path}: {error.strerror or error}; free disk space or give another --run-dir")
