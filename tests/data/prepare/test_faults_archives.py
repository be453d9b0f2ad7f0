"""Hostile and damaged archives. The numbers are rows of the project's matrix of faults."""

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def written(path, *names: str, attributes: int = 0) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes << 16
            file.writestr(info, f"content {number}")


@pytest.mark.parametrize("name", ["..\\evil", "a\\..\\..\\evil", "\\evil"])
def test_46_a_zip_with_backslashes_that_leaves_its_folder(name, tmp_path):
    written(tmp_path / "a.zip", name)
    with pytest.raises(UserError, match="outside"):
        archives.unpacked(tmp_path / "a.zip")


def test_46_a_link_in_a_zip(tmp_path):
    written(tmp_path / "a.zip", "link", attributes=0o120777)
    with pytest.raises(UserError, match="'link' is a link"):
        archives.unpacked(tmp_path / "a.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a/b", "a/b"), ("a/b", "a\\b"), ("a/b", "a/./b")])
def test_a_path_that_is_there_twice(names, tmp_path):
    written(tmp_path / "a.zip", *names)
    with pytest.raises(UserError, match="it holds 'a/b' twice"):
        archives.unpacked(tmp_path / "a.zip")


def test_a_name_that_is_not_utf8(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tarfile.TarInfo("caf\xe9"))
    with pytest.raises(UserError, match=r"the name 'caf\\udce9' is not UTF-8"):
        archives.unpacked(tmp_path / "a.tar")


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 9)], ids=["encrypted", "deflate64"])
def test_a_zip_that_python_cannot_read(place, value, tmp_path):
    written(tmp_path / "a.zip", "a")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[place] = content[content.index(b"PK\1\2") + place + 2] = value  # in both headers of the member
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpacked(tmp_path / "a.zip")


def test_archives_of_one_name_size_and_time_are_told_apart(tmp_path):
    for folder, name in (("one", "a"), ("two", "b")):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "x.zip", name)
        os.utime(tmp_path / folder / "x.zip", (0, 0))
        assert [path.name for path in archives.unpacked(tmp_path / folder / "x.zip").iterdir()] == [name]


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(["zip", "w:", "w:gz", "w:bz2", "w:xz"]), data=st.data())
def test_damage_is_content_or_an_error_with_the_name(tmp_path_factory, kind, data):
    path = tmp_path_factory.getbasetemp() / "damaged"
    if kind == "zip":
        written(path, "a", "b/c")
    else:
        with tarfile.open(path, kind) as tar:
            for name in ("a", "b/c"):
                member = tarfile.TarInfo(name)
                member.size = 4
                tar.addfile(member, io.BytesIO(b"good"))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    said = str(path)
    with tempfile.TemporaryDirectory() as folder:
        try:
            archives.extract(path, Path(folder) / "new", limit=2**20)
        except UserError as error:
            said = str(error)
    assert str(path) in said
