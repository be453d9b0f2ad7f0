"""Records of published files: what `originals` finds, downloads and verifies."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class File:
    """One published file, described by its uncompressed content.

    Mirrors compress the same content differently (a `.gz` holds a time stamp), so size and checksum are the content's.

    Args:
      name: File name without ".gz"; on the disk it may have the suffix or not.
      url: Address of the file, compressed if it ends in ".gz"; empty for a file that can't be downloaded, such as one
        that only its owners hand out, and that the data folder has to hold.
      size: Bytes of the content. Reading stops there, whatever a damaged or malicious wrapper unfolds to.
      sha256: Digest of the content.

    Example:
      >>> File("train.csv", "https://example.org/train.csv.gz", size=1_000_000, sha256="0" * 64).name
      'train.csv'
    """

    name: str
    url: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Archive:
    """A published archive (.tar, .tar.gz, .zip), of which some members are read.

    Mirrors pack the same members anew, so the digest is that of the members; or that of the archive itself where it
    never changes.

    Args:
      name: File name with its suffix.
      url: Address of the archive.
      size: Upper bound on the bytes of all members that are read. Reading stops there.
      pattern: Regular expression searched in the members' paths; the matching part is the member's name.
      sha256: Digest of the lines "SHA256  NAME" of the members, sorted by name; see `originals.digest`.
      archive_sha256: Digest of the archive as distributed; given instead of `sha256`.

    Example:
      >>> Archive("sounds.tar.gz", "https://example.org/sounds.tar.gz", size=10_000_000, pattern=r"[^/]+\\.wav$").size
      10000000
    """

    name: str
    url: str
    size: int
    pattern: str
    sha256: str = ""
    archive_sha256: str = ""


Original = File | Archive
