"""Bad data gets a clear error and loses nothing. The numbers are rows of the project's matrix of faults."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import shutil
import socket
import tarfile
import threading
import time
import tracemalloc
import urllib.request
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from deeplab.data import Images, Text, archives, arrays, image_folder, originals, prepared, text_lines, tfds, write
from deeplab.data.builders.base import File, ImageSet
from deeplab.data.builders.idx import MNIST, parse
from deeplab.errors import UserError

CONTENT = bytes(range(256)) * 4


@dataclasses.dataclass(frozen=True)
class OneFile(ImageSet):
    """Sixteen images of 8 x 8 in one file of raw bytes."""

    files: tuple[File, ...]
    name: str = "one_file"
    version: str = "1.0.0"
    citation: str = ""
    image_shape: tuple[int, int, int] = (8, 8, 1)
    class_names: tuple[str, ...] = ("a",)
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    @property
    def splits(self):
        return {"train": 16}

    def read(self, split, content):
        image = np.frombuffer(content("pixels"), np.uint8).reshape(16, 8, 8, 1)
        return {"image": image, "label": np.zeros(16, np.int32)}


def one_file(url: str = "http://data.invalid/pixels.gz") -> OneFile:
    return OneFile((File("pixels", url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()),))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DEEPLAB_CACHE", str(folder))
    return folder


def split(size=12, shape=(6, 6, 1), classes=3):
    return np.random.default_rng(0).integers(0, 256, (size, *shape), np.uint8), np.arange(size) % classes


@pytest.mark.parametrize(
    ("name", "near"), [("minst", "'mnist'"), ("fashion-mnist", "'fashion_mnist'"), ("zzz", "known are")]
)
def test_3_unknown_data_set(name, near):
    with pytest.raises(UserError, match=near) as error:
        Images(name, epochs=1)
    assert error.value.exit_code == 2
    assert len(str(error.value)) < 200


def test_3_unknown_text():
    with pytest.raises(UserError, match="did you mean 'tiny_shakespeare'"):
        Text("shakespeare").num_examples("train")


@pytest.mark.parametrize("seconds", [0, 60])
def test_4_no_network(seconds, monkeypatch):
    """Refused at once, or never answered."""

    def look_up(*_, **__):
        time.sleep(seconds)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(originals, "_TIMEOUT", 1.0)  # for the test's sake; the constant itself is checked below
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        Images("mnist", epochs=1).open("train")
    assert time.monotonic() - start < 3
    for file in MNIST.files:
        assert file.url in str(error.value)
        assert file.sha256 in str(error.value)
    assert "--data-dir DIR" in str(error.value)
    assert "--smoke" in str(error.value)
    assert not (prepared.cache_dir() / "mnist" / "1.0.0" / "train").exists()


def test_4_the_error_comes_within_five_seconds():
    assert originals._TIMEOUT < 5


def test_4_files_are_not_in_the_folder(tmp_path):
    with pytest.raises(UserError, match=r"has no train-images-idx3-ubyte \(nor train-images-idx3-ubyte.gz\)"):
        Images("mnist", epochs=1).open("train", tmp_path)


def damaged(kind: str) -> bytes:
    wrapped = gzip.compress(CONTENT)
    return {
        "truncated": wrapped[:-20],
        "no gzip": b"<html>404</html>",
        "flipped": gzip.compress(CONTENT[:-1] + b"\x00"),
        "short": gzip.compress(CONTENT[:-1]),
        "bomb": gzip.compress(bytes(2**24)),
        "empty": b"",
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "no gzip", "flipped", "short", "bomb", "empty"])
def test_5_and_47_damaged_original(kind, tmp_path, cache):
    path = tmp_path / "pixels.gz"
    path.write_bytes(damaged(kind))
    with pytest.raises(UserError, match="get it again from http://data") as error:
        one_file().open("train", tmp_path)
    assert str(path) in str(error.value)
    size = {"short": "holds 1,023 bytes", "bomb": "holds more than 1,024 bytes", "empty": "holds 0 bytes"}.get(kind, "")
    assert size in str(error.value)
    path.write_bytes(gzip.compress(CONTENT))
    assert one_file().open("train", tmp_path).size == 16  # nothing of the damaged one was kept


def test_47_a_bomb_is_not_unfolded(tmp_path):
    (tmp_path / "pixels.gz").write_bytes(damaged("bomb"))
    tracemalloc.start()
    with pytest.raises(UserError, match="holds more than"):
        one_file().open("train", tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 2**20  # of its 16 MB
    tracemalloc.stop()


class Server(http.server.BaseHTTPRequestHandler):
    answer = b""

    def do_GET(self):
        self.send_response(200 if self.path == "/pixels.gz" else 404)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_5_a_damaged_download_is_not_kept(url, monkeypatch, cache):
    monkeypatch.setattr(Server, "answer", damaged("truncated"))
    with pytest.raises(UserError, match="cannot be read"):
        one_file(f"{url}/pixels.gz").open("train")
    assert not [path for path in cache.rglob("*.gz") if not path.name.startswith(".lock")]
    monkeypatch.setattr(Server, "answer", gzip.compress(CONTENT))
    assert one_file(f"{url}/pixels.gz").open("train").size == 16
    monkeypatch.setattr(Server, "answer", b"")
    assert one_file(f"{url}/pixels.gz").open("train").size == 16  # from the cache


def test_5_a_download_that_does_not_end(url, monkeypatch):
    monkeypatch.setattr(Server, "answer", bytes(2**18))
    with pytest.raises(UserError, match="sends more than 1,024 bytes"):
        one_file(f"{url}/pixels.gz").open("train")


def test_5_a_file_that_is_not_there(url):
    with pytest.raises(UserError, match=r"404[\s\S]*--data-dir DIR"):
        one_file(f"{url}/elsewhere.gz").open("train")


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x0d\x01", b"\x00\x00\x08\x01\x00\x00\x00\x05ab"])
def test_5_no_idx_file(content):
    with pytest.raises(UserError, match="IDX"):
        parse(content)


def flip_byte(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_7_a_flipped_byte_in_a_prepared_array(tmp_path, cache):
    (tmp_path / "pixels.gz").write_bytes(gzip.compress(CONTENT))
    one_file().open("train", tmp_path)
    path = next(cache.rglob("image.npy"))
    flip_byte(path)
    with pytest.raises(
        UserError, match=r"image.npy is damaged: examples 0 to 15 .* delete the folder .*/train and run"
    ) as error:
        one_file().open("train", tmp_path)
    assert str(path) in str(error.value)
    shutil.rmtree(path.parent)
    assert one_file().open("train", tmp_path).size == 16


@pytest.mark.parametrize("fault", ["truncated", "no index", "other dtype"])
def test_7_a_damaged_prepared_folder(fault, tmp_path, cache):
    (tmp_path / "pixels.gz").write_bytes(gzip.compress(CONTENT))
    one_file().open("train", tmp_path)
    path = next(cache.rglob("image.npy"))
    prepared._open.cache_clear()  # as a new process would
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif fault == "no index":
        (path.parent / "arrays.json").write_text("{")
    else:
        np.save(path, np.load(path).view(np.int8))
    with pytest.raises(UserError, match=r"image.npy .*run again"):
        one_file().open("train", tmp_path)


def test_7_a_corrupted_record(tmp_path):
    directory = write(arrays({"train": split(40), "test": split()}), tmp_path)
    file = next(directory.glob("*train.array_record*"))
    flip_byte(file, place=1000)  # among the first records: so small a file is mostly padding
    for keep in ("records", "arrays"):
        data = Images(tfds(directory, keep=keep), batch_size=40, epochs=1)
        with pytest.raises(UserError, match=r"record \d+ of .*train.array_record.* is corrupted"):
            next(data.batches())


def test_8_images_of_another_shape():
    with pytest.raises(
        UserError, match=r"split 'test'.*shape \(12, 5, 6, 1\), expected \[N, H, W, C\] = \(12, 6, 6, 1\)"
    ):
        arrays({"train": split(), "test": split(shape=(5, 6, 1))}).open("test")


@pytest.mark.parametrize(("label", "named"), [(3, "label 3 of example 5"), (-1, "label -1 of example 5")])
def test_9_label_out_of_range(label, named):
    image, labels = split()
    labels[5] = label
    with pytest.raises(UserError, match=f"{named} .*outside 0 to 2"):
        arrays({"train": (image, labels)}, class_names=("a", "b", "c")).open("train")


def test_9_labels_that_are_no_integers():
    image, labels = split()
    with pytest.raises(UserError, match=r"labels .* float64\[12\], expected integers"):
        arrays({"train": (image, labels.astype(float))}, class_names=("a", "b", "c")).open("train")


def test_10_unscaled_floats():
    image, label = split()
    with pytest.warns(UserWarning, match=r"float32 from \d+ to \d+, expected \[0, 1\]"):
        arrays({"train": (image.astype(np.float32), label)}).open("train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays({"train": (image / np.float32(255), label)}).open("train")


def test_10_integers_that_are_no_pixels():
    image, label = split()
    with pytest.raises(UserError, match="int32, expected uint8, or floats"):
        arrays({"train": (image.astype(np.int32), label)}).open("train")


def test_an_empty_split():
    with pytest.raises(UserError, match="split 'test' of arrays is empty"):
        arrays({"train": split(), "test": split(0)}).open("test")


def test_an_unknown_split():
    with pytest.raises(UserError, match="digits has no split 'validation', only train, test"):
        Images("digits", epochs=1).num_examples("validation")


def test_a_text_shorter_than_its_context(tmp_path):
    (tmp_path / "a.txt").write_text("short\n" * 10)
    with pytest.raises(UserError, match="expected more than the context of 64"):
        Text(text_lines(tmp_path)).num_examples("train")


@pytest.mark.parametrize("make", [image_folder, text_lines, tfds])
def test_a_folder_that_is_not_there(make, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        _ = make(tmp_path / "nowhere").splits


def test_an_image_that_cannot_be_read(tmp_path):
    (tmp_path / "cat").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / "cat" / f"{name}.png")
    (tmp_path / "cat" / "b.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b.png is not an image"):
        image_folder(tmp_path).open("train")


def test_32_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write [^;]*; set DEEPLAB_CACHE"):
        Images("digits", epochs=1).open("train")


def test_43_a_prepared_array_with_objects(tmp_path, cache):
    (tmp_path / "pixels.gz").write_bytes(gzip.compress(CONTENT))
    one_file().open("train", tmp_path)
    path = next(cache.rglob("image.npy"))
    np.save(path, np.array([{"code": "run"}], object), allow_pickle=True)
    with pytest.raises(UserError, match="Python objects in dtype"):
        one_file().open("train", tmp_path)


def tar_with(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, 0 if link else 4
        tar.addfile(member, None if link else io.BytesIO(b"evil"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [tar_with("../evil"), tar_with("a/../../evil"), tar_with("link", tarfile.SYMTYPE, "/etc/passwd")],
    ids=["parent", "inner parent", "link"],
)
def test_46_a_tar_that_leaves_its_folder(content, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match="is refused"):
        archives.unpacked(tmp_path / "a.tar.gz")
    assert not list(prepared.cache_dir().rglob("evil"))
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
    assert not list(prepared.cache_dir().rglob("zeros"))


@pytest.mark.parametrize("name", ["broken.tar.gz", "broken.zip"])
def test_a_damaged_archive(name, tmp_path):
    (tmp_path / name).write_bytes(tar_with("a")[:-30] if "tar" in name else b"PK nothing")
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpacked(tmp_path / name)
