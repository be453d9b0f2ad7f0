"""Command lines that nobody should write: what they give is what they say, or an error of the user."""

import contextlib
import io
import math
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.cli import arguments
from deeplab.cli.main import VERBS
from deeplab.core.errors import UserError
from deeplab.experiment import Experiment
from tests import toys


def experiment(
    width: int = 8, rate: float = 0.1, norm: bool = True, name: str = "a", kind: Literal["relu", "gelu"] = "relu"
) -> Experiment:
    del width, rate, norm, name, kind
    return toys.experiment()


DEFAULTS = {"width": 8, "rate": 0.1, "norm": True, "name": "a", "kind": "relu"}
REFUSED = "refused"


def outcome(argv: list[str]) -> object:
    """The arguments by name, or that they are refused; every other exception is raised."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            return arguments.parse(experiment, "toys", VERBS, argv).arguments
        except UserError as error:
            told.write(str(error))
        except SystemExit as end:
            told.write("" if end.code == 2 else f"exit code {end.code}")
    return REFUSED if told.getvalue() and "exit code" not in told.getvalue() else told.getvalue()


def number(kind: type, text: str) -> object:
    try:
        value = kind(text)
    except ValueError:
        return REFUSED
    overflows = isinstance(value, float) and math.isinf(value) and text.strip()[-1].isdigit()
    return REFUSED if overflows else value


def meant(flag: str, text: str) -> object:
    """What a flag with a value says, by a reference of its own."""
    if flag in ("width", "rate"):
        return number({"width": int, "rate": float}[flag], text)
    if flag == "kind":
        return text if text in ("relu", "gelu") else REFUSED
    return text


HOSTILE = ["", "-3", "3.5", "1e3", "1_000", "0x10", "nan", "inf", "-inf", "1e999", "-1e-3", "9" * 30, "9" * 5000,
           "None", "true", "ä", "☃", "relu", "RELU", "gelu", "a b", "..", "1..3", "'", "[red]", "%s", "\\n", "=",
           "a=b"]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.integers().map(str), st.floats().map(repr), st.text(max_size=5))
WORDS = st.tuples(st.sampled_from(["width", "rate", "name", "kind"]), TEXTS)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=3))
def test_values_are_those_that_were_given(words):
    """The last one of a flag counts."""
    expected = dict(DEFAULTS)
    argv = []
    for flag, text in words:
        argv.append(f"--{flag}={text}")
        expected[flag] = meant(flag, text)
    refused = any(meant(flag, text) == REFUSED for flag, text in words)
    found = outcome(argv)
    if refused and found != REFUSED:  # an earlier value of the same flag may be one that the last replaces
        refused = any(value == REFUSED for value in expected.values())
    assert repr(found) == repr(REFUSED if refused else expected)  # 1 is no 1.0, and NaN is NaN


@settings(max_examples=15, deadline=None)
@given(WORDS.filter(lambda word: not word[1].startswith("-")))
def test_a_value_may_be_a_word_of_its_own(word):
    flag, text = word
    assert repr(outcome([f"--{flag}", text])) == repr(outcome([f"--{flag}={text}"]))  # NaN is NaN


@pytest.mark.parametrize(
    "argv",
    [
        ["trian"], ["x"], [""], ["train", "x"], ["--widht", "3"], ["--wid", "3"], ["--WIDTH", "3"], ["-width", "3"],
        ["--width"], ["--width", "3", "4"], ["--width:3"], ["--norm", "false"], ["--norm=0"], ["--json=true"], ["-"],
        ["--run-dir", ""], ["--run-dir="], ["--run_dir="], ["--data-dir", ""], ["--precision", "f8"], ["--seed", "1.0"],
        ["--name", "--width"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_flag_or_no_value_is_refused(argv):
    assert outcome(argv) == REFUSED


@pytest.mark.parametrize("flag", ["rate", "width"])
@pytest.mark.parametrize(
    "text",
    ["1..", "..3", "1..3:0", "1..3:1", "1..3:-2", "1..3:", "3..1", "a..b", "1..1", "nan..1:3", "0..inf:3", ",", "1,",
     "1,1", "1..2:3:4", "1..3:99999999", "1..3:1000000000000", "log:0..1:3", "LOG:1..2:3", "lin:", "-1e308..1e308:3",
     "", " ", "1e309,1", "true", "1...3"],
)  # fmt: skip
def test_ranges_that_are_none(flag, text):
    assert outcome(["sweep", f"--{flag}={text}"]) == REFUSED


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_a_range_has_its_ends_and_is_ordered(low, high, count):
    found = outcome(["sweep", f"--rate={low!r}..{high!r}:{count}"])
    if low >= high:
        assert found == REFUSED
        return
    assert isinstance(found, dict)
    values = found["rate"].values
    assert (values[0], values[-1]) == (low, high)
    assert list(values) == sorted(set(values))
    assert 2 <= len(values) <= count
