"""Archives from elsewhere: unpacked below one folder and within a limit, or refused."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from deeplab.data import prepared
from deeplab.errors import UserError

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError)
"""What reading a damaged archive raises."""

_LIMIT = 64 * 2**30  # bytes; the unpacked ImageNet validation set is a tenth of it


def unpacked(archive: Path, limit: int = _LIMIT) -> Path:
    """The folder of the cache into which `archive` (.tar, .tar.gz, .tar.xz, .zip) was unpacked, now or earlier."""
    stat = archive.stat()
    folder = prepared.cache_dir() / "unpacked" / f"{archive.name}-{stat.st_size}-{stat.st_mtime_ns}"
    return prepared.publish(folder, lambda partial: extract(archive, partial, limit))


def extract(archive: Path, folder: Path, limit: int = _LIMIT) -> None:
    """Unpacks an archive into a new folder.

    Raises:
      UserError: it is damaged, a member would land outside `folder` (an absolute path, "..", a link that leads
        out), or more than `limit` bytes would come out of it.
    """
    folder.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder, limit)
        else:
            _extract_tar(archive, folder, limit)
    except tarfile.FilterError as error:
        raise UserError(f"{archive} is refused: {error}") from error
    except DAMAGE as error:
        raise UserError(f"{archive} cannot be unpacked: {error}") from error


def members(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """(path, size, how to read it) of each file in an archive, in its order; to be read at once, or not at all."""
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
    total = 0
    with tarfile.open(archive) as tar:
        for member in tar:  # a member cannot hold more than its header says: the rest would be the next header
            total = _add(total, member.size, archive, limit)
            tar.extract(member, folder, filter="data")  # Python 3.11 without a filter follows any path


def _extract_zip(archive: Path, folder: Path, limit: int) -> None:
    total = 0
    with zipfile.ZipFile(archive) as zip_file:
        for member in zip_file.infolist():
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts:  # zipfile would drop such parts and go on in silence
                raise UserError(f"{archive} is refused: {member.filename!r} would be extracted outside {folder}")
            if member.is_dir():
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with zip_file.open(member) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)  # zipfile stops at the declared size
            total = _add(total, member.file_size, archive, limit)


def _add(total: int, size: int, archive: Path, limit: int) -> int:
    if total + size > limit:
        raise UserError(
            f"{archive} is refused: it unpacks to more than {limit:,} bytes; unpack it yourself if you trust it"
        )
    return total + size
