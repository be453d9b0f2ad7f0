"""`deeplab data`: what is listed, prepared, shown and deleted, and what never is."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from deeplab.cli.index import run
from deeplab.core.errors import UserError
from deeplab.data.prepare import cache as caches
from deeplab.data.prepare import kept
from deeplab.data.sets import SETS


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_set_is_prepared_listed_and_deleted(cache, capsys):
    prepared = run(["data", "prepare", "digits"])
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.suffix in (".npy", ".json"))
    assert prepared == {"prepared": "digits", "bytes": size}
    assert capsys.readouterr().out == "digits: train 1,437 examples\ndigits: test 360 examples\n"
    assert run(["data"]) == {"sets": [*SETS], "bytes": size}
    listed = capsys.readouterr().out
    assert any(line.split()[:2] == ["digits", "image"] and "123 kB" in line for line in listed.splitlines())
    assert run(["data", "clean", "digits", "--yes"]) == {"deleted": size}
    assert not [*cache.rglob("*.npy")]
    assert run(["data", "prepare", "digits"])["bytes"] == size  # as before


def test_only_what_the_cache_wrote_is_deleted(cache):
    """Although the user's files lie in the same folders."""
    run(["data", "prepare", "digits"])
    (version,) = {path.parents[1] for path in cache.rglob("*.npy")}
    caches.publish(cache / "downloads" / "digits" / "a.zip", lambda path: path.write_bytes(b"abc"))
    caches.publish(cache / "unpacked" / "a.zip-1", lambda path: path.mkdir())
    own = [cache / "photos/cat.png", version / "notes.txt", cache / "downloads/digits/mine.zip", cache / "digits/x"]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    assert [(one.kind, one.name) for one in kept.kept()] == [
        *[("prepared", "digits")] * 2, ("download", "digits"), ("unpacked", "a.zip-1"),
    ]  # fmt: skip
    run(["data", "clean", "digits", "--yes"])
    assert [one.kind for one in kept.kept()] == ["download", "unpacked"]
    assert run(["data", "clean", "--all", "--downloads", "--yes"]) == {"deleted": 3}
    assert kept.kept() == []
    assert all(path.read_text() == "mine" for path in own)


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_it_asks_before_it_deletes(cache, monkeypatch, capsys, answer, left):
    run(["data", "prepare", "digits"])
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    run(["data", "clean", "digits"])
    assert "? [y/N] " in capsys.readouterr().out  # which `rich` took for markup
    assert len(kept.kept()) == left


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "minst"], "no data set 'minst'; did you mean 'mnist'"),
        (["show", "minst"], "no data set 'minst'; did you mean 'mnist'"),
        (["clean"], "neither a name nor --all; give one"),
        (["clean", "digits", "--all"], "a name and --all; give one"),
        (["clean", "mnist"], "keeps nothing of 'mnist', only digits"),
        (["clean", "digits"], "nobody answers whether to delete them; give --yes"),
    ],
)
def test_what_is_wrong_is_told(cache, monkeypatch, words, message):
    run(["data", "prepare", "digits"])
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(UserError, match=message):
        run(["data", *words])
    assert len(kept.kept()) == 2


def make(folder: Path, kind: str) -> Path:
    """A folder or file of a kind."""
    if kind == "table":
        (folder / "table.csv").write_text("size,town\n1,Ulm\n2,Bonn\n?,Ulm\n")
        return folder / "table.csv"
    if kind == "text":
        (folder / "novel.txt").write_text("Call me Ishmael.\n" * 100)
        return folder / "novel.txt"
    for i in range(10):
        where = folder / "ab"[i % 2]
        where.mkdir(exist_ok=True)
        if kind == "sounds":
            soundfile.write(where / f"{i}.wav", np.sin(np.arange(1600)), 16_000)
        else:
            Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(where / f"{i}.png")
    if kind == "masks":
        (folder / "a").rename(folder / "photos")
        (folder / "b").rename(folder / "masks")
        for i, path in enumerate(sorted((folder / "masks").iterdir())):
            Image.fromarray(np.eye(8, dtype=np.uint8)).save(path)
            path.rename(path.with_name(f"{2 * i}.png"))
    return folder


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("table", ["table.csv: 3 rows\n", "size    number    1        1 to 2"]),
        ("text", ["text_lines: train", "'Call me Ishmael."]),
        ("images", ["image_folder: train 8 examples, test 2 examples", "uint8[64, 64, 3]"]),
        ("sounds", ["sounds: train 8 examples, test 2 examples", "int16[1600]"]),
        ("masks", ["masks: train 4 examples, test 1 examples", "uint8[64, 64]"]),
    ],
)
def test_a_path_of_the_users_own_is_shown(cache, tmp_path, capsys, monkeypatch, kind, told):
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "own").mkdir()
    run(["data", "show", str(make(tmp_path / "own", kind))])
    printed = capsys.readouterr().out
    for part in told:
        assert part in printed


def test_an_unknown_kind_of_folder_is_told(cache, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/a.bin").write_bytes(b"1")
    with pytest.raises(UserError, match="holds no images, sounds, texts or Parquet files"):
        run(["data", "show", str(tmp_path / "own")])
