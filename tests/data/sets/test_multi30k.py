"""Captions in two languages: a vocabulary of the training part, texts that come back, and a user's own lines."""

import dataclasses
import functools
import gzip
import hashlib

import jax
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data.sets.text.multi30k import Multi30k
from deeplab.data.sets.text.parallel import BEGIN, END

_WORDS = {"en": ("a man", "two dogs", "Snow"), "de": ("ein Mann", "zwei Hunde", "Schnee über")}


@functools.cache
def contents() -> dict[str, bytes]:
    """As many captions as the set has, a few words each."""
    made = {}
    for file in Multi30k().files:
        stem, _, language = file.name.partition(".")
        split = {"val": "validation"}.get(stem, stem)
        words = _WORDS[language]
        lines = [f"{words[i % 3]} {words[i // 3 % 3]}." for i in range(Multi30k().splits[split])]
        made[file.name] = ("\n".join(lines) + "\n").encode()
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("captions")
    for name, content in contents().items():
        (path / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    return path


def captions(**changes) -> Multi30k:
    """The set, with the digests of the made-up files."""
    dataset = Multi30k(**({"vocab_size": 290, "length": 16} | changes))

    def described(file):
        content = contents()[file.name]
        return dataclasses.replace(file, size=len(content), sha256=hashlib.sha256(content).hexdigest())

    return dataclasses.replace(dataset, files=tuple(map(described, dataset.files)))


def test_both_sides_come_back_as_text(folder, cache):
    dataset = captions()
    for split, size in dataset.splits.items():
        arrays = dataset.open(split, folder).arrays
        assert len(arrays["source"]) == size
        for side, language in (("source", "en"), ("target", "de")):
            name = f"{ {'validation': 'val'}.get(split, split) }.{language}"
            line = contents()[name].decode().split("\n")[4]
            assert bytes(arrays[f"{side}_text"][4]).rstrip(b"\0").decode() == line
            assert dataset.text(arrays[side][4]) == line.lower()
            assert arrays[side][4, arrays[f"{side}_length"][4] - 1] == END
    other = captions(source="de", target="en").open("train", folder).arrays
    np.testing.assert_array_equal(other["source"], captions().open("train", folder).arrays["target"])


@pytest.mark.slow
def test_the_vocabulary_is_of_the_training_part(folder, cache):
    """Frequent words are one token, at the beginning as elsewhere; what was never seen is spelled."""
    dataset = captions()
    source = dataset.open("train", folder).arrays["source"]
    assert source.max() < dataset.vocab_size
    beginnings, second = source[[0, 1, 2], 0], source[[3, 6, 0], 1:]  # "a man" begins 0, 3 and 6, and ends 0
    assert len(set(beginnings.tolist())) == 3
    assert (second == beginnings[0]).any()


def test_a_user_s_lines(folder, cache, tmp_path):
    (tmp_path / "mine.txt").write_text("Two dogs.\n\n \n犬も\n" + "xq " * 20, encoding="utf-8")
    examples = dict(captions().read_file(tmp_path / "mine.txt", folder))
    name = "mine.txt"
    assert list(examples) == [f"{name}:1", f"{name}:4 (no known token)", f"{name}:5 (no known token, cut to 15 tokens)"]
    assert captions().text(examples[f"{name}:1"]["source"]) == "two dogs."
    assert captions().text(examples[f"{name}:4 (no known token)"]["source"]) == "犬も"
    assert all(e["source"][e["source_length"] - 1] == END for e in examples.values())
    again = dict(captions().read_file(tmp_path / "mine.txt"))  # the vocabulary is kept: no originals are needed
    np.testing.assert_array_equal(again[f"{name}:1"]["source"], examples[f"{name}:1"]["source"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9", "is not UTF-8 text: byte 0xe9 in line 1"),
        (b"", "holds no sentence"),
        (b" \n\t\n", "holds no sentence"),
    ],
)
def test_files_that_are_no_text(content, message, tmp_path):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(UserError, match=f"bad.txt {message}"):
        list(captions().read_file(tmp_path / "bad.txt"))


def test_tokens_without_a_vocabulary_are_numbers(cache):
    assert Multi30k().text([BEGIN, 8, 3, END, 9]) == "5 0"


def test_two_languages_are_needed():
    with pytest.raises(UserError, match="en was to be translated into en; name two languages"):
        Multi30k("en", "en")


def test_preparations_are_told_apart():
    different = [Multi30k(), Multi30k("de", "en"), Multi30k(vocab_size=4096), Multi30k(length=40)]
    assert len({dataset.version for dataset in different}) == 4


def test_lines_of_windows_are_lines(folder, cache, tmp_path):
    """A byte-order mark is no word, and only line breaks end a line."""
    for name, text in {
        "plain.txt": "Two dogs.\nA\u2028man\n",
        "windows.txt": "\ufeffTwo dogs.\r\nA\u2028man\r\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    plain, windows = (dict(captions().read_file(tmp_path / f"{name}.txt", folder)) for name in ("plain", "windows"))
    assert [name.partition(":")[2].split()[0] for name in windows] == ["1", "2"]
    for ours, theirs in zip(plain.values(), windows.values(), strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
