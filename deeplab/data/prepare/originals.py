"""Original files: found on the disk or downloaded, and verified against the published checksums."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.client
import queue
import re
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.core.errors import UserError
from deeplab.data.prepare import archives, cache
from deeplab.data.prepare.files import Archive, File, Original

_TIMEOUT = 4.0  # seconds to the first answer; TFDS' downloader retries for 205 s when there is no network
_STALL = 30.0  # seconds without a byte, after the first answer


@dataclasses.dataclass(frozen=True)
class Content:
    """Access to the verified original files of a data set; made by `contents`.

    Args:
      name: Name of the data set.
      files: Original files of the data set.
      data_dir: Folder that holds them; downloaded when None.

    Example:
      >>> Content("letters", [File("a.txt", url="", size=3, sha256="0" * 64)])("a.txt")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: a.txt has no address to download it from...
    """

    name: str
    files: Sequence[Original]
    data_dir: Path | None = None

    def __call__(self, file_name: str) -> bytes:
        """The verified content of a `File`, by its name."""
        return self._get(file_name, _read)

    def members(self, archive_name: str) -> dict[str, bytes]:
        """The verified members of an `Archive`, by the part of their path that its pattern matches, sorted."""
        return self._get(archive_name, _read_members)

    def instead(self, file: File) -> bytes | None:
        """The verified content of a file that may replace the originals in the folder; None where it is not there."""
        paths = [] if self.data_dir is None else _found(file, self.name, self.data_dir)
        return _first(paths, file, _read) if paths else None

    def _get(self, file_name: str, read: Callable[[Path, Any], Any]) -> Any:
        file = next(file for file in self.files if file.name == file_name)
        if self.data_dir is not None:
            if not (paths := _found(file, self.name, self.data_dir)):
                packed = "" if file.name.endswith(".gz") else f" (nor {file.name}.gz)"
                raise UserError(
                    f"{self.data_dir} has no {file.name}{packed}, neither itself nor in its folders or theirs\n"
                    f"{_wanted(self.name, self.files)}"
                )
            return _first(paths, file, read)
        if not file.url:
            raise UserError(f"{file.name} has no address to download it from\n{_wanted(self.name, self.files)}")
        try:
            return read(_download(self.name, file, read), file)
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: what is no address
            raise UserError(f"cannot download {file.url} ({error})\n{_wanted(self.name, self.files)}") from error


def contents(name: str, files: Sequence[Original], data_dir: str | Path | None = None) -> Content:
    """Access to the original files of a data set, as a function from a file's name to its verified content.

    Args:
      name: Name of the data set.
      files: Original files of the data set.
      data_dir: Folder that holds them, itself or in its folders or theirs, in any with the published content; plain
        files or ".gz". When None they are downloaded, once, into the cache.

    Raises:
      UserError: when the result is called: a file is missing or not the published one, or there is no network.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> _ = (folder / "a.txt").write_bytes(b"abc")
      >>> contents("letters", [File("a.txt", "", 3, hashlib.sha256(b"abc").hexdigest())], folder)("a.txt")
      b'abc'
    """
    return Content(name, files, None if data_dir is None else Path(data_dir).expanduser())


def _found(file: Original, name: str, data_dir: Path) -> list[Path]:
    """Where a file of the set `name` may be: in the folder itself, in its folders, or in theirs.

    Several sets have files of one name, so folders that are called like the set come first.
    """
    wanted = _plain(name)

    def likeness(path: Path) -> tuple[bool, bool, Path]:
        given = _plain(path.relative_to(data_dir).parts[0])
        return given != wanted, not wanted.startswith(given), path

    here, below = [], []
    for suffix in ("", ".gz"):
        here.append(data_dir / f"{file.name}{suffix}")
        below += [*data_dir.glob(f"*/{file.name}{suffix}"), *data_dir.glob(f"*/*/{file.name}{suffix}")]
    return [path for path in [*here, *sorted(below, key=likeness)] if path.is_file()]


def _plain(name: str) -> str:
    return re.sub("[-_ ]", "", name).lower()


def _first(paths: Sequence[Path], file: Any, read: Callable[[Path, Any], Any]) -> Any:
    """The content of the first of these files that is the published one; if none is, the error of the first."""
    errors = []
    for path in paths:
        try:
            return read(path, file)
        except UserError as error:
            errors.append(error)
    raise errors[0]


def _wanted(name: str, files: Sequence[Original]) -> str:
    """Instructions for getting missing files."""
    lines = [f"  {f.url or 'without an address'}\n    {f.name}: {_described(f)}\n" for f in files]
    return (
        f"{name} is made from these files (plain or .gz):\n{''.join(lines)}"
        "put them into a folder DIR, or into folders of it, and give --data-dir DIR; or try --smoke, which needs no "
        "data"
    )


def _from(file: Original) -> str:
    return f" from {file.url}" if file.url else ""


def _described(file: Original) -> str:
    if isinstance(file, Archive):
        return f"an archive, of which up to {file.size:,} bytes in members like {file.pattern} are read"
    return f"{file.size:,} bytes uncompressed, sha256 {file.sha256}"


def _read(path: Path, file: File) -> bytes:
    """The content of an original file, unpacked up to its published size and no further; UserError if it is another."""
    again = f"delete it, and get it again{_from(file)}"
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(file.size + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); {again}") from error
    if len(content) != file.size:
        given = f"more than {file.size:,}" if len(content) > file.size else f"{len(content):,}"
        raise UserError(f"{path} holds {given} bytes, expected {file.size:,}; {again}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise UserError(f"{path} is not the published file: sha256 {digest}, expected {file.sha256}; {again}")
    return content


def _read_members(path: Path, archive: Archive) -> dict[str, bytes]:
    """The members of an archive that its pattern matches, up to their published size and no further.

    UserError if they are others. Nothing is written: a member's path is only a name.
    """
    again = f"delete it, and get it again{_from(archive)}"
    if archive.archive_sha256:
        with path.open("rb") as stream:
            given = hashlib.file_digest(stream, "sha256").hexdigest()
        if given != archive.archive_sha256:
            wanted = archive.archive_sha256
            raise UserError(f"{path} is not the published archive: sha256 {given}, expected {wanted}; {again}")
    members, total = {}, 0
    try:
        for name, size, load in archives.members(path):
            if (match := re.search(archive.pattern, name)) is None:
                continue
            total += size
            if total > archive.size:
                raise UserError(f"{path} holds more than {archive.size:,} bytes in the members to read; {again}")
            key, content = match.group(0), load()
            if members.setdefault(key, content) != content:
                raise UserError(f"{path} holds two files {key} (one is {name}); {again}")
    except archives.DAMAGE as error:
        raise UserError(f"{path} cannot be unpacked ({error}); {again}") from error
    if archive.sha256 and (given := digest(members)) != archive.sha256:
        raise UserError(
            f"the {len(members)} members of {path} that match {archive.pattern} are not the published ones: digest "
            f"{given}, expected {archive.sha256}; {again}"
        )
    return dict(sorted(members.items()))


def digest(members: Mapping[str, bytes]) -> str:
    """SHA-256 of the lines "SHA256  NAME" of an archive's members, sorted by name; independent of the archive format.

    Example:
      >>> digest({"b": b"2", "a": b"1"}) == digest({"a": b"1", "b": b"2"})
      True
    """
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(members.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _download(name: str, file: Original, read: Callable[[Path, Any], Any]) -> Path:
    def write(partial: Path) -> None:
        with _open_url(file.url) as response, partial.open("wb") as out:
            received = 0
            while chunk := response.read(2**16):
                received += len(chunk)
                if received > _most(file):
                    raise UserError(f"{file.url} sends more than {file.size:,} bytes: it is not the published file")
                out.write(chunk)
        read(partial, file)  # raises before the file gets its name

    path = cache.cache_dir() / "downloads" / name / Path(file.url).name
    return cache.publish(path, write)


def _most(file: Original) -> int:
    """Upper bound on a download in bytes: a file's content and 64 KiB; for an archive, which may hold other members,
    twice what is read of it and 64 MiB."""
    return 2 * file.size + 2**26 if isinstance(file, Archive) else file.size + 2**16


def _open_url(url: str) -> Any:
    """Opens a URL within `_TIMEOUT`, including the name look-up, which a socket's own timeout does not cover."""
    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=_STALL))
        except Exception as error:  # of any kind: raised again in the thread that waits
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_TIMEOUT)
    except queue.Empty:
        raise TimeoutError(f"no answer within {_TIMEOUT:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
