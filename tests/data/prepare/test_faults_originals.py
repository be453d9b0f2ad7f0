"""Missing, damaged and hostile originals. The numbers are rows of the project's matrix of faults."""

import gzip
import hashlib
import http.server
import socket
import threading
import time
import tracemalloc
import urllib.request

import pytest

from deeplab.core.errors import UserError
from deeplab.data import Images
from deeplab.data.prepare import cache, originals
from deeplab.data.sets.image.mnist import MNIST, parse

pytestmark = pytest.mark.usefixtures("cache")
CONTENT = bytes(range(256)) * 4  # of the set `one_file`


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
    assert not (cache.cache_dir() / "mnist" / "1.0.0" / "train").exists()


def test_4_the_error_comes_within_five_seconds():
    assert originals._TIMEOUT < 5


def test_4_files_are_not_in_the_folder(tmp_path):
    with pytest.raises(UserError, match=r"has no train-images-idx3-ubyte \(nor train-images-idx3-ubyte.gz\)"):
        Images("mnist", epochs=1).open("train", tmp_path)


@pytest.mark.parametrize("folder", [".", "one_file", "One-File", "one", "sets", "sets/one_file", "b/c"])
def test_originals_are_found_in_any_layout(one_file, folder, tmp_path, cache):
    """Beside a file of the same name that belongs to another set."""
    for name, content in (("other", CONTENT[::-1]), (folder, CONTENT)):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "pixels.gz").write_bytes(gzip.compress(content))
    source = one_file().open("train", tmp_path)
    assert source.arrays["image"].tobytes() == CONTENT


def test_what_is_not_found_says_where_it_was_looked_for(one_file, tmp_path, cache):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/pixels").write_bytes(CONTENT)
    with pytest.raises(UserError, match=r"has no pixels \(nor pixels.gz\), neither itself nor in its folders"):
        one_file().open("train", tmp_path)


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
def test_5_and_47_damaged_original(one_file, kind, tmp_path, cache):
    path = tmp_path / "pixels.gz"
    path.write_bytes(damaged(kind))
    with pytest.raises(UserError, match="get it again from http://data") as error:
        one_file().open("train", tmp_path)
    assert str(path) in str(error.value)
    size = {"short": "holds 1,023 bytes", "bomb": "holds more than 1,024 bytes", "empty": "holds 0 bytes"}.get(kind, "")
    assert size in str(error.value)
    path.write_bytes(gzip.compress(CONTENT))
    assert one_file().open("train", tmp_path).size == 16  # nothing of the damaged one was kept


def test_47_a_bomb_is_not_unfolded(one_file, tmp_path):
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


def test_5_a_damaged_download_is_not_kept(one_file, url, monkeypatch, cache):
    monkeypatch.setattr(Server, "answer", damaged("truncated"))
    with pytest.raises(UserError, match="cannot be read"):
        one_file(f"{url}/pixels.gz").open("train")
    assert not [path for path in cache.rglob("*.gz") if not path.name.startswith(".lock")]
    monkeypatch.setattr(Server, "answer", gzip.compress(CONTENT))
    assert one_file(f"{url}/pixels.gz").open("train").size == 16
    monkeypatch.setattr(Server, "answer", b"")
    assert one_file(f"{url}/pixels.gz").open("train").size == 16  # from the cache


def test_5_a_download_that_does_not_end(one_file, url, monkeypatch):
    monkeypatch.setattr(Server, "answer", bytes(2**18))
    with pytest.raises(UserError, match="sends more than 1,024 bytes"):
        one_file(f"{url}/pixels.gz").open("train")


def test_5_a_file_that_is_not_there(one_file, url):
    with pytest.raises(UserError, match=r"404[\s\S]*--data-dir DIR"):
        one_file(f"{url}/elsewhere.gz").open("train")


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x0d\x01", b"\x00\x00\x08\x01\x00\x00\x00\x05ab"])
def test_5_no_idx_file(content):
    with pytest.raises(UserError, match="IDX"):
        parse(content)


@pytest.mark.parametrize("address", ["", "not an address"])
def test_4_a_file_without_an_address_is_asked_for(one_file, address, tmp_path):
    with pytest.raises(UserError) as error:
        one_file(address).open("train")
    assert f"    pixels: 1,024 bytes uncompressed, sha256 {hashlib.sha256(CONTENT).hexdigest()}" in str(error.value)
    assert "put them into a folder DIR, or into folders of it, and give --data-dir DIR" in str(error.value)
    (tmp_path / "pixels").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=rf"pixels holds 1,023 bytes, .* get it again( from {address})?$"):
        one_file(address).open("train", tmp_path)
    (tmp_path / "pixels").write_bytes(CONTENT)
    assert one_file(address).open("train", tmp_path).size == 16
