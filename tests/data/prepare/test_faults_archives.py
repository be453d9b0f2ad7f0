"""Hostile and damaged archives. The numbers are rows of the project's matrix of faults."""

import io
import tarfile
import zipfile

import pytest

from deeplab.core.errors import UserError
from deeplab.data.prepare import archives, cache

pytestmark = pytest.mark.usefixtures("cache")


def tar_with(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, 0 if link else 4
        tar.addfile(member, None if link else io.BytesIO(b"evil"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        tar_with("../evil"),
        tar_with("a/../../evil"),
        tar_with("link", tarfile.SYMTYPE, "/etc/passwd"),
        tar_with("link", tarfile.LNKTYPE, "../../evil"),
        tar_with("pipe", tarfile.FIFOTYPE, "nothing"),
    ],
    ids=["parent", "inner parent", "link", "hard link", "pipe"],
)
def test_46_a_tar_that_leaves_its_folder(content, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match="is refused"):
        archives.unpacked(tmp_path / "a.tar.gz")
    assert not list(cache.cache_dir().rglob("evil"))
    assert not list(tmp_path.rglob("evil"))


def test_46_an_absolute_path_in_a_tar_stays_inside(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar_with("/evil-at-the-root"))
    folder = archives.unpacked(tmp_path / "a.tar.gz")
    assert [path.name for path in folder.iterdir()] == ["evil-at-the-root"]


@pytest.mark.parametrize("name", ["../evil", "/evil"])
def test_46_a_zip_that_leaves_its_folder(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(name, "evil")
    with pytest.raises(UserError, match="outside"):
        archives.unpacked(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_47_an_archive_that_unfolds_beyond_its_limit(kind, tmp_path):
    path = tmp_path / f"bomb.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("zeros", bytes(2**20))
    else:
        with tarfile.open(path, "w:gz") as file:
            member = tarfile.TarInfo("zeros")
            member.size = 2**20
            file.addfile(member, io.BytesIO(bytes(2**20)))
    with pytest.raises(UserError, match="more than 1,000 bytes"):
        archives.unpacked(path, limit=1000)
    assert not list(cache.cache_dir().rglob("zeros"))


@pytest.mark.parametrize("name", ["broken.tar.gz", "broken.zip"])
def test_a_damaged_archive(name, tmp_path):
    (tmp_path / name).write_bytes(tar_with("a")[:-30] if "tar" in name else b"PK nothing")
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpacked(tmp_path / name)
