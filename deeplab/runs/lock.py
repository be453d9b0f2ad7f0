"""One process to a run directory: the second is refused, and a killed one leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from deeplab.core.errors import UserError

LOCK = "run.lock"
"""The file that is locked; it says by whom, for the error."""


def hold(directory: Path) -> int:
    """Makes the directory and holds its lock, which the system frees when this process ends, however it ends."""
    try:
        names = os.listdir(directory) if directory.exists() else []
        if names and not {"run.json", LOCK} & set(names):
            raise UserError(
                f"{directory} is no run directory, and not empty ({', '.join(sorted(names)[:5])}): nothing written; "
                "give --run-dir a directory that is empty or does not exist yet"
            )
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock), os.stat(directory / LOCK)):  # moved aside by --fresh meanwhile
            raise BlockingIOError
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except (BlockingIOError, FileNotFoundError):
        holder = os.pread(lock, 200, 0).decode(errors="replace") or "another process"
        os.close(lock)
        raise UserError(
            f"{directory} is in use by {holder}: wait for it or end it, or give another --run-dir (or another --seed)"
        ) from None
    except OSError as error:
        os.close(lock)
        raise unwritable(directory, error) from error
    return lock


def unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {path}: {error.strerror or error}; make room or give another --run-dir")
