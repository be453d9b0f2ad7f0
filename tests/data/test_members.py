"""Archives of originals: the members count, and not their wrapper."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from deeplab.core.errors import UserError
from deeplab.data.prepare import originals
from deeplab.data.sets import Archive, File

MEMBERS = {"a/1.wav": b"one", "a/2.wav": b"two"}


def tar(prefix: str, mode: str, **more: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        files = {f"{prefix}{k}": v for k, v in MEMBERS.items()} | more | {f"{prefix}a/README": b"!"}
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(prefix: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(prefix + name, data)
    return out.getvalue()


def archive(**changes) -> Archive:
    given = {"size": 6, "pattern": r"a/\d\.wav$", "sha256": originals.digest(MEMBERS)} | changes
    return Archive("sounds.tar.gz", "http://data.invalid/sounds.tar.gz", **given)


def members(content: bytes, folder, given: Archive) -> dict[str, bytes]:
    (folder / given.name).write_bytes(content)
    return originals.contents("sounds", [given], folder).members(given.name)


# An archive holds the time of its making: as a test's name it would differ between the processes that share the tests.
@pytest.mark.parametrize(
    "content", [tar("", "w:gz"), tar("repository-0123abc/", "w"), zipped("x/")], ids=["gzip", "tar", "zip"]
)
def test_whatever_the_wrapper(content, tmp_path):
    assert members(content, tmp_path, archive()) == MEMBERS


def test_of_a_wrapper_that_never_changes_the_digest_is_its_own(tmp_path):
    content = zipped("")
    whole = archive(sha256="", archive_sha256=hashlib.sha256(content).hexdigest())
    assert members(content, tmp_path, whole) == MEMBERS
    with pytest.raises(UserError, match="not the published archive"):
        members(content + b"\0", tmp_path, whole)


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        (tar("", "w:gz", **{"a/3.wav": b"three"}), {"size": 100}, "3 members .* are not the published ones"),
        (tar("", "w:gz", **{"a/3.wav": b"three"}), {}, "more than 6 bytes"),
        (tar("", "w:gz")[:60], {}, "cannot be unpacked"),
        (b"", {}, "cannot be unpacked"),
    ],
    ids=["another size", "another digest", "half", "empty"],
)
def test_others_are_refused(content, changes, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        members(content, tmp_path, archive(**changes))
    assert "get it again from http://data.invalid" in str(error.value)


def test_a_missing_archive_is_described(tmp_path):
    with pytest.raises(UserError, match=r"(?s)an archive, of which up to 6 bytes in members like a/.*--data-dir DIR"):
        originals.contents("sounds", [archive()], tmp_path).members("sounds.tar.gz")


def test_a_file_may_lie_in_place_of_the_originals(tmp_path):
    """It is read where it is there, checked as any other, and is None where it isn't."""
    content = b"packed"
    file = File("packed.bin", "https://example.org/", len(content), hashlib.sha256(content).hexdigest())
    given = originals.contents("set", (), tmp_path)
    assert given.instead(file) is None
    assert originals.contents("set", ()).instead(file) is None
    (tmp_path / "packed.bin").write_bytes(content)
    assert given.instead(file) == content
    (tmp_path / "packed.bin").write_bytes(b"pocked")
    with pytest.raises(UserError, match="is not the published file"):
        given.instead(file)


def test_what_a_mac_adds_is_no_member(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in MEMBERS.items():
            packed.writestr(f"x/{name}", data)
            packed.writestr(f"__MACOSX/x/{name}", b"resource fork")
            packed.writestr(f"x/a/._{name[-5:]}", b"resource fork")
    assert members(out.getvalue(), tmp_path, archive()) == MEMBERS


def test_two_members_of_one_name_are_refused(tmp_path):
    given = archive(sha256="", size=100)
    assert members(tar("", "w", **{"old/a/1.wav": b"one"}), tmp_path, given) == MEMBERS  # the same twice
    with pytest.raises(UserError, match=r"holds two files a/1\.wav \(one is old/a/1\.wav\)"):
        members(tar("", "w", **{"old/a/1.wav": b"older"}), tmp_path, given)
