"""Archives from untrusted sources: unpacked below one folder and within a size limit, or refused."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from deeplab.core.errors import UserError
from deeplab.data.prepare import cache

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError)
"""Exceptions that reading a damaged archive raises."""

_BY_HAND = "unpack it by hand if you trust it"
_LIMIT = 64 * 2**30  # bytes, ten times the unpacked ImageNet validation set


def unpacked(archive: Path, limit: int = _LIMIT) -> Path:
    """The folder of the cache with the content of `archive` (.tar, .tar.gz, .tar.xz, .zip), unpacked on first use."""
    stat = archive.stat()
    folder = cache.cache_dir() / "unpacked" / f"{archive.name}-{stat.st_size}-{stat.st_mtime_ns}"
    return cache.publish(folder, lambda partial: extract(archive, partial, limit))


def extract(archive: Path, folder: Path, limit: int = _LIMIT) -> None:
    """Unpacks an archive into a new folder.

    Raises:
      UserError: the archive is damaged or holds more than `limit` bytes, or a member is a link, a device, or would land
        outside `folder` (an absolute path, "..").
    """
    folder.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder, limit)
        else:
            _extract_tar(archive, folder, limit)
    except DAMAGE as error:
        raise UserError(f"{archive} cannot be unpacked: {error}") from error


def members(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """(path, size, function that reads it) of each file in an archive, in order; to be called before the next file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zip_file:
            for info in zip_file.infolist():
                if not info.is_dir():
                    yield info.filename, info.file_size, lambda info=info: zip_file.read(info)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                yield member.name, member.size, lambda member=member: tar.extractfile(member).read()  # type: ignore[union-attr]  # a file has one


def _extract_tar(archive: Path, folder: Path, limit: int) -> None:
    """Member by member, without `TarFile.extract`: the first releases of Python 3.11 follow any path."""
    total = 0
    with tarfile.open(archive) as tar:
        for member in tar:  # a member cannot hold more than its header says: the rest would be the next header
            path = PurePosixPath(member.name.lstrip("/"))
            if not member.isfile() and not member.isdir():
                raise UserError(f"{archive} is refused: {member.name!r} is a link or a device; {_BY_HAND}")
            total = _add(total, member.size, archive, limit)
            _write(path, tar.extractfile(member), archive, folder)


def _extract_zip(archive: Path, folder: Path, limit: int) -> None:
    total = 0
    with zipfile.ZipFile(archive) as zip_file:
        for member in zip_file.infolist():
            total = _add(total, member.file_size, archive, limit)  # zipfile stops at the declared size
            with zip_file.open(member) as source:
                _write(PurePosixPath(member.filename), None if member.is_dir() else source, archive, folder)


def _write(path: PurePosixPath, source: IO[bytes] | None, archive: Path, folder: Path) -> None:
    """Writes a file below the folder; a member that is a folder is created with its first file."""
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive} is refused: '{path}' would be extracted outside {folder}")
    if source is None:
        return
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _add(total: int, size: int, archive: Path, limit: int) -> int:
    if total + size > limit:
        raise UserError(f"{archive} is refused: it unpacks to more than {limit:,} bytes; {_BY_HAND}")
    return total + size
