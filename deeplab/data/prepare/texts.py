"""A user's own text files: UTF-8 with or without a byte-order mark, lines that end in any way."""

from __future__ import annotations

from pathlib import Path

from deeplab.core.errors import UserError


def read(path: Path) -> str:
    r"""The text of a file; see `decode`.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "a.txt")
      >>> _ = path.write_bytes(b"\xef\xbb\xbfone\r\ntwo")
      >>> read(path)
      'one\ntwo'
    """
    return decode(read_bytes(path), str(path))


def lines(path: Path) -> dict[int, str]:
    r"""The lines of a file that are not blank, by their number, from 1 on.

    Example:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp(), "a.txt")
      >>> _ = path.write_text("one\n\ntwo\n", encoding="utf-8")
      >>> lines(path)
      {1: 'one', 3: 'two'}
    """
    return {number: line for number, line in enumerate(read(path).split("\n"), start=1) if line.strip()}


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
      UserError: it cannot be read.

    Example:
      >>> read_bytes(Path("no-such-text.txt"))
      Traceback (most recent call last):
      deeplab.core.errors.UserError: no-such-text.txt cannot be read (No such file or directory)
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error


def decode(content: bytes, name: str) -> str:
    r"""The text of a UTF-8 file: without its byte-order mark, and with "\n" for "\r\n" and "\r".

    Nothing else is changed: characters are not normalized, and only these end a line (`str.splitlines` knows ten more,
    such as U+2028).

    Args:
      content: Bytes of the file.
      name: Name of the file, for messages.

    Raises:
      UserError: the content is not UTF-8, or holds a NUL character, which no text does; the message names the line.

    Example:
      >>> decode(b"\xef\xbb\xbfone\r\ntwo", "a.txt")
      'one\ntwo'
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (len(content) - len(error.object))  # the decoder counts from after the mark
        where = f"in line {_line(content[:at])}, at {at} of the file"
        raise UserError(f"{name} is not UTF-8 text: byte 0x{content[at]:02x} {where}; save it as UTF-8") from error
    if "\0" in text:
        at = content.index(b"\0")
        raise UserError(f"{name} is no text: a NUL character in line {_line(content[:at])}; save it as UTF-8 text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line(before: bytes) -> int:
    r"""Number of the line that follows these bytes, whether lines end in "\n", "\r\n" or "\r"."""
    return 1 + before.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n")
