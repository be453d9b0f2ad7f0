"""Strict JSON holds every value, and gives it back; a damaged row is none."""

import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.text import dumps, encode, loads, parse_row, read_rows


def strict(text):
    """The value of a standard parser, which knows no NaN."""

    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def same(a, b):
    """Equality that tells 1 from 1.0 and -0.0 from 0.0, and takes NaN for NaN."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


TEXTS = st.text() | st.sampled_from(["NaN", "Infinity", "-Infinity", "\\NaN", "\\\\-Infinity", "nan", "\\", "NaN\n"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_strict_json_gives_back_every_value(value):
    text = dumps(value)
    strict(text)
    assert same(loads(text), value)
    assert same(loads(json.dumps(value, indent=1)), value) or "NaN" in text or "Infinity" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (-0.0, -0.0),
        (10**400, 10**400),
        (np.float32(0.1), 0.10000000149011612),
        (np.float64("nan"), "NaN"),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array(math.inf), "Infinity"),
        (jnp.bfloat16(1.5), 1.5),
        (jnp.array(2.5), 2.5),
        (np.array([[1.0, math.nan]]), [[1.0, "NaN"]]),
        ((1, (2,)), [1, [2]]),
        ({1: None, "b": Path("x/NaN")}, {"1": None, "b": "x/NaN"}),
        (Path("NaN"), "\\NaN"),
    ],
    ids=repr,
)
def test_what_json_holds(value, expected):
    assert same(strict(dumps(value)), expected)


def test_what_has_no_form_is_told():
    with pytest.raises(TypeError, match=r"<object object.*has no form in JSON"):
        dumps({"a": [object()]})
    assert encode({"a": {1j}}, str) == {"a": "{1j}"}


def test_bare_numbers_of_earlier_files_are_read():
    assert same(loads('[NaN, Infinity, -Infinity, "NaN"]'), [math.nan, math.inf, -math.inf, math.nan])


GARBAGE = ["12", '"text"', "[]", "{}", "[" * 10**5,
           '{"step": Infinity, "split": "a"}', '{"step": 1e999, "split": "a"}',
           '{"step": "Infinity", "split": "a"}',
           '{"step": true, "split": "a"}', '{"step": 1}', '{"step": 2, "split": 1}',
           "\ufffd\x00", "9" * 5000, '{"step": 3, "split": "t']  # fmt: skip


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: ascii(line)[:40])
def test_a_damaged_line_is_no_row(line):
    assert parse_row(line) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(GARBAGE) | st.integers(0, 10**6) | st.binary(max_size=30), max_size=8), st.booleans())
def test_rows_are_read_around_damaged_lines(tmp_path_factory, lines, ended):
    """The reference is the list of what was written."""
    path = tmp_path_factory.getbasetemp() / "metrics.jsonl"
    rows = [{"step": x, "split": "test", "loss": -0.0, "text": "a\u2028b"} if type(x) is int else x for x in lines]
    data = [
        json.dumps(row).encode() if isinstance(row, dict) else row if isinstance(row, bytes) else row.encode()
        for row in rows
    ]
    data = [line.replace(b"\n", b"") for line in data]
    path.write_bytes(b"\n".join(data) + b"\n" * ended)
    found, damaged = read_rows(path)
    assert found == [row for row in rows if isinstance(row, dict)]
    nonempty = [i for i, line in enumerate(data) if line]
    assert damaged == [i + 1 for i in nonempty[:-1] if not isinstance(rows[i], dict)]
