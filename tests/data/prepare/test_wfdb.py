"""WFDB records, encoded here after the format's specification and read back."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.prepare import wfdb


def encode_212(samples: np.ndarray) -> bytes:
    """[T, 2] of 12 bits, two in three bytes."""
    low, high = (samples.astype(np.int64) & 0xFFF).T
    return np.stack([low & 0xFF, (low >> 8) | (high >> 8) << 4, high & 0xFF], axis=1).astype(np.uint8).tobytes()


def encode_annotations(samples: list[int], codes: list[int], notes: dict[int, bytes] | None = None) -> bytes:
    """Words of code and interval; a SKIP before what does not fit ten bits; a note after the one of that number."""
    out, time = b"", 0
    for i, (sample, code) in enumerate(zip(samples, codes, strict=True)):
        gap = sample - time
        if gap > 1023:
            out += struct.pack("<Hhh", 59 << 10, gap >> 16, (gap & 0xFFFF) - ((gap & 0x8000) << 1))
            gap = 0
        out += struct.pack("<H", code << 10 | gap)
        time = sample
        if notes and i in notes:
            note = notes[i]
            out += (
                struct.pack("<HHH", 60 << 10 | 3, 62 << 10 | 1, 63 << 10 | len(note)) + note + b"\0" * (len(note) % 2)
            )
    return out + b"\0\0"


def head(length: int, names: tuple[str, ...] = ("MLII", "V5"), kind: str = "212") -> bytes:
    lines = [f"900 {len(names)} 360 {length}", *(f"900.dat {kind} 200 11 1024 995 0 0 {name}" for name in names)]
    return "\n".join([*lines, "# 69 M 1085 1629 x1", ""]).encode()


@given(st.lists(st.tuples(*[st.integers(-2048, 2047)] * 2), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_samples_are_those_that_were_written(samples):
    assert wfdb.signals_212(encode_212(np.array(samples)), 2).tolist() == [list(pair) for pair in samples]


@given(
    st.lists(st.tuples(st.integers(1, 200_000), st.sampled_from([1, 5, 8, 28, 38])), max_size=12), st.binary(max_size=5)
)
@settings(max_examples=50, deadline=None)
def test_annotations_are_those_that_were_written(steps, note):
    samples = np.cumsum([gap for gap, _ in steps]).tolist()
    codes = [code for _, code in steps]
    read = wfdb.marks(encode_annotations(samples, codes, {0: note}))
    assert [x.tolist() for x in read] == [samples, codes]


def test_beats_are_the_annotations_that_are_beats():
    peaks, symbols = wfdb.beats(encode_annotations([18, 77, 3000, 3001], [28, 1, 14, 8], {0: b"(N"}))
    assert (peaks.tolist(), symbols) == ([77, 3001], ["N", "A"])


def test_a_lead_is_found_by_its_name():
    samples = np.arange(20).reshape(10, 2)
    assert wfdb.lead(head(10, ("V5", "MLII")), encode_212(samples), "MLII").tolist() == samples[:, 1].tolist()


@pytest.mark.parametrize(
    ("header", "content", "message"),
    [
        (head(10, ("V5", "V2")), bytes(30), "no lead MLII, only V5, V2"),
        (head(11), bytes(30), "10 samples of each lead, its header declares 11"),
        (head(10), bytes(31), "31 bytes are not a whole number"),
        (head(10, kind="16"), bytes(30), "format 16, expected 212"),
        (b"900 2 360 10\n900.dat 212 200\n", bytes(30), "not one of WFDB"),
        (b"", bytes(30), "not one of WFDB"),
    ],
)
def test_what_is_no_record_is_said(header, content, message):
    with pytest.raises(UserError, match=message):
        wfdb.lead(header, content, "MLII")


def test_truncated_annotations_are_said():
    with pytest.raises(UserError, match="without an end mark"):
        wfdb.marks(encode_annotations([18], [1])[:-2])


def test_only_line_breaks_end_a_line_of_a_header():
    """Latin-1 has a character that Python takes for one."""
    head = b"100 1 360 650000\r\n100.dat 212 200 11 1024 995 -22131 0 lead \x85 II\r\n"
    assert wfdb.header(head).signals == (wfdb.Signal("100.dat", "212", "lead \x85 II"),)
