"""Archives from untrusted sources: unpacked below one folder and within a size limit, or refused."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from deeplab.core.errors import UserError
from deeplab.data.prepare import cache
from deeplab.data.prepare.folders import is_junk, is_utf8

DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error, OSError, ValueError),
    RuntimeError,  # an encrypted zip; as NotImplementedError, a kind of compression that zipfile does not know
)
"""Exceptions that reading a damaged archive raises, or one that Python cannot read."""

_BY_HAND = "unpack it by hand if you trust it"
_FORMAT = 2  # of the unpacked folders; raised when the same archive is unpacked otherwise
_UTF8_FLAG = 0x800  # of a member of a zip
_LIMIT = 64 * 2**30  # bytes, ten times the unpacked ImageNet validation set


def folder(path: str | Path) -> Path:
    """A folder of the user's, or the one that an archive of it is unpacked to.

    Raises:
      UserError: there is neither, or the archive is damaged or refused.

    Example:
      >>> import tempfile
      >>> archive = Path(tempfile.mkdtemp(), "letters.zip")
      >>> with zipfile.ZipFile(archive, "w") as file:
      ...     file.writestr("letters/a.txt", "abc")
      >>> (folder(archive) / "letters" / "a.txt").read_text(encoding="utf-8")
      'abc'
    """
    given = Path(path).expanduser().resolve()
    root = unpacked(given) if given.is_file() else given
    if not root.is_dir():
        raise UserError(f"there is no folder or archive {given}")
    return root


def unpacked(archive: Path, limit: int = _LIMIT) -> Path:
    """The folder of the cache with the content of `archive` (.tar, .tar.gz, .tar.xz, .zip), unpacked on first use.

    Example:
      >>> import tempfile
      >>> archive = Path(tempfile.mkdtemp(), "letters.zip")
      >>> with zipfile.ZipFile(archive, "w") as file:
      ...     file.writestr("a.txt", "abc")
      >>> unpacked(archive, limit=2)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: ... is refused: it unpacks to more than 2 bytes; unpack it by hand if you trust it
      >>> [path.name for path in unpacked(archive).iterdir()]
      ['a.txt']
    """
    status = archive.stat()
    made_from = (_FORMAT, str(archive.resolve()), status.st_size, status.st_mtime_ns)
    digest = hashlib.sha256(ascii(made_from).encode()).hexdigest()[:16]
    folder = cache.cache_dir() / "unpacked" / f"{archive.name}-{digest}"
    return cache.publish(folder, lambda partial: extract(archive, partial, limit))


def extract(archive: Path, folder: Path, limit: int = _LIMIT) -> None:
    """Unpacks an archive into a new folder.

    Raises:
      UserError: the archive is damaged, encrypted or holds more than `limit` bytes, a path is there twice, or a member
        is a link, a device, or would land outside `folder` (an absolute path, "..").

    Example:
      >>> import tempfile
      >>> archive = Path(tempfile.mkdtemp(), "letters.zip")
      >>> with zipfile.ZipFile(archive, "w") as file:
      ...     file.writestr("../a.txt", "abc")
      >>> extract(archive, archive.with_name("out"))  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: ... is refused: '../a.txt' would be extracted outside ...
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
    """(path, size, function that reads it) of each file in an archive, in order; to be called before the next file.

    What systems add when an archive is packed anew, such as `__MACOSX/._a.png`, is skipped.

    Example:
      >>> import tempfile
      >>> archive = Path(tempfile.mkdtemp(), "letters.zip")
      >>> with zipfile.ZipFile(archive, "w") as file:
      ...     file.writestr("a.txt", "abc")
      ...     file.writestr("__MACOSX/._a.txt", "")
      >>> [(name, size, read()) for name, size, read in members(archive)]
      [('a.txt', 3, b'abc')]
    """
    for name, size, read in _members(archive):
        if not any(map(is_junk, map(PurePosixPath, PurePosixPath(name).parts))):
            yield name, size, read


def _members(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zip_file:
            for info in zip_file.infolist():
                if not _zip_name(info).endswith("/"):
                    yield _zip_name(info), info.file_size, lambda info=info: zip_file.read(info)
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
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UserError(f"{archive} is refused: {member.filename!r} is a link; {_BY_HAND}")
            name = _zip_name(member)
            with zip_file.open(member) as source:
                _write(PurePosixPath(name), None if name.endswith("/") else source, archive, folder)


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The path of a member as it was meant: macOS writes UTF-8 without saying so, and some of Windows a backslash."""
    name = member.filename
    if not member.flag_bits & _UTF8_FLAG:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()  # zipfile has decoded it as code page 437, which loses nothing
    return name.replace("\\", "/")


def _write(path: PurePosixPath, source: IO[bytes] | None, archive: Path, folder: Path) -> None:
    """Writes a file below the folder; a member that is a folder is created with its first file."""
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive} is refused: '{path}' would be extracted outside {folder}")
    if source is None:
        return
    if not is_utf8(str(path)):
        raise UserError(f"{archive} is refused: the name {str(path)!a} is not UTF-8; {_BY_HAND}")
    target = folder / path
    if target.exists():
        raise UserError(f"{archive} is refused: it holds '{path}' twice; {_BY_HAND}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _add(total: int, size: int, archive: Path, limit: int) -> int:
    if total + size > limit:
        raise UserError(f"{archive} is refused: it unpacks to more than {limit:,} bytes; {_BY_HAND}")
    return total + size
