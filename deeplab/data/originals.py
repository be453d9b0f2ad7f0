"""Original files: found on the disk or downloaded, and used only if their content is the one that was published."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import queue
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab.data import prepared
from deeplab.errors import UserError

if TYPE_CHECKING:
    from deeplab.data.builders.base import File

_TIMEOUT = 4.0  # seconds to the first answer; tfds' own downloader retries for 205 s when there is no network
_STALL = 30.0  # seconds without a byte, once there was an answer

Content = Callable[[str], bytes]
"""The content of an original file, by its name."""


def contents(name: str, files: Sequence[File], data_dir: str | Path | None = None) -> Content:
    """How to get at the original files of a data set: a function from a file's name to its verified content.

    Args:
      name: of the data set.
      files: what is wanted.
      data_dir: the folder that holds them, or one with a subfolder of the set's name; plain files or ".gz". When
        None they are downloaded, once, into the cache.

    Raises:
      UserError: at the call of the result; a file is missing or is not the published one, or there is no network.
    """
    by_name = {file.name: file for file in files}

    def content(file_name: str) -> bytes:
        file = by_name[file_name]
        if data_dir is not None:
            return read(_look_for(file, name, files, Path(data_dir).expanduser()), file)
        try:
            return read(_download(name, file), file)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(f"cannot download {file.url} ({error})\n{_wanted(name, files)}") from error

    return content


def _look_for(file: File, name: str, files: Sequence[File], data_dir: Path) -> Path:
    for folder in (data_dir, data_dir / name, data_dir / name.replace("_", "")):
        for path in (folder / file.name, folder / f"{file.name}.gz"):
            if path.is_file():
                return path
    raise UserError(f"{data_dir} has no {file.name} (nor {file.name}.gz)\n{_wanted(name, files)}")


def _wanted(name: str, files: Sequence[File]) -> str:
    """What to do about missing files."""
    lines = [f"  {f.url}\n    {f.name}: {f.size:,} bytes uncompressed, sha256 {f.sha256}\n" for f in files]
    return (
        f"{name} is made from these files (plain or .gz):\n{''.join(lines)}"
        f"put them into a folder DIR (or DIR/{name}) and give --data-dir DIR; or try --smoke, which needs no data"
    )


def read(path: Path, file: File) -> bytes:
    """The content of an original file, unpacked up to the size it must have and no further.

    Raises:
      UserError: truncated, too long, or not the content that was published.
    """
    again = f"delete it, and get it again from {file.url}"
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


def _download(name: str, file: File) -> Path:
    def write(partial: Path) -> None:
        with _open_url(file.url) as response, partial.open("wb") as out:
            received = 0
            while chunk := response.read(2**16):
                received += len(chunk)
                if received > file.size + 2**16:  # a compressed file is no larger than its content, bar the wrapper
                    raise UserError(f"{file.url} sends more than {file.size:,} bytes: it is not the published file")
                out.write(chunk)
        read(partial, file)  # raises before the file gets its name

    path = prepared.cache_dir() / "downloads" / name / Path(file.url).name
    return prepared.publish(path, write)


def _open_url(url: str) -> Any:
    """Opens a URL within `_TIMEOUT`, the look-up of its name included (which a socket's own timeout leaves out)."""
    answers: queue.Queue[Any] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=_STALL))
        except Exception as error:  # handed over, whatever it is, and raised by whoever asked
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
