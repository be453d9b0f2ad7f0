"""Text files of one's own: any mark and any line ends, and no other change; or an error with the line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data import Packed, Text, text_lines
from deeplab.data.prepare import texts


@settings(max_examples=250, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"))),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_a_text_is_its_lines(tmp_path_factory, lines, ends, mark):
    """As Python's own text files, but for what is never a part of them; U+2028, form feeds and the like end no line."""
    if lines and lines[0].startswith("\ufeff"):
        lines[0] = "x" + lines[0]
    path = tmp_path_factory.getbasetemp() / "mine.txt"
    path.write_bytes(mark + ends.join(lines).encode())
    assert texts.read(path).split("\n") == (lines or [""])
    assert texts.read(path) == path.read_text(encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo caf\xe9\n", "is not UTF-8 text: byte 0xe9 in line 2, at 11 of the file; save it as UTF-8"),
        (b"\xef\xbb\xbfone\r\n\r\n\xff", "byte 0xff in line 3, at 10 of the file"),
        (b"a\rb\r\xc3", "byte 0xc3 in line 3, at 4 of the file"),
        ("text".encode("utf-16"), "is not UTF-8 text: byte 0xff in line 1, at 0"),
        ("text".encode("utf-16-le"), "is no text: a NUL character in line 1"),
        (b"one\n\0", "is no text: a NUL character in line 2"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, message):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(UserError, match=f"bad.txt .*{message}"):
        texts.read(tmp_path / "bad.txt")
    with pytest.raises(UserError, match=f"bad.txt .*{message}"):
        Text(text_lines(tmp_path), context=2).open("train")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"gone.txt cannot be read \(No such file"):
        texts.read(tmp_path / "gone.txt")


@pytest.mark.parametrize("vocabulary", ["byte", "char", "bpe:280"])
def test_a_text_of_windows_is_the_text(tmp_path, vocabulary):
    """The same tokens, splits and documents as without marks and with plain line ends."""
    plain = "".join(f"Document {i} says:\nnaïve words.\n\n" for i in range(40))
    (tmp_path / "plain.txt").write_bytes(plain.encode())
    (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode())
    ours, theirs = (
        Text(text_lines(tmp_path / name), vocabulary, context=8, batch_size=4, num_steps=3)
        for name in ("plain.txt", "windows.txt")
    )
    assert theirs.builder.splits == ours.builder.splits
    for split in ("train", "validation"):
        np.testing.assert_array_equal(theirs.open(split).arrays["tokens"], ours.open(split).arrays["tokens"])
    documents = [Packed(data, separator="\n\n").open("train").arrays["segments"] for data in (ours, theirs)]
    np.testing.assert_array_equal(*documents)
    assert documents[0].max() > 1


def read(folder, split="train", **how) -> str:
    dataset = text_lines(folder, **how)
    text = dataset.read(split, lambda _: b"")
    assert len(text) == dataset.splits[split]
    return text.decode()


def test_each_file_begins_a_line(tmp_path):
    for name, content in {
        "a.txt": "one",
        "b.TXT": "",
        "c.txt": "\ufefftwo\r",
        "._a.txt": "\0",
        "d.txt": "three",
    }.items():
        (tmp_path / name).write_text(content, newline="")
    assert read(tmp_path, validation=0.0) == "one\ntwo\nthree"


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_splits_as_people_name_them(tmp_path, name):
    for stem in ("train", name, "test"):
        (tmp_path / f"{stem}.txt").write_text(f"{stem}\r\n", newline="")
    assert [read(tmp_path, split) for split in text_lines(tmp_path).splits] == ["train\n", f"{name}\n", "test\n"]


def test_what_is_left_out_is_told(tmp_path):
    for name in ("train.txt", "test.txt", "notes.txt", "more/deep.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("words\n")
    with (
        pytest.warns(UserWarning, match=r"1 files are of no split, and are left out: .*notes\.txt"),
        pytest.warns(UserWarning, match=r"1 text files lie in folders below, and are left out: more/deep\.txt"),
    ):
        assert dict(text_lines(tmp_path).splits) == {"train": 6, "test": 6}


def test_two_files_of_one_split(tmp_path):
    for name in ("train.txt", "val.txt", "valid.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="are both the split 'validation'; keep one"):
        _ = text_lines(tmp_path).splits
