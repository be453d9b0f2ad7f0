"""Words of a command line as axes; and which settings are made of them."""

import enum
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.experiment import Fold, StaticFloat
from deeplab.report.sweeps import page
from deeplab.report.sweeps.summary import Axis as Shown
from deeplab.report.sweeps.summary import summarize
from deeplab.search.axes import Axis, of, parse
from deeplab.search.proposals import search


class Pace(enum.Enum):
    FAST = 1
    SLOW = 2


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("0.0,0.1", float, (0.0, 0.1)),
        ("3e-3", float, (3e-3,)),
        ("1e-3..1e-1:3", float, (1e-3, 1e-2, 1e-1)),
        ("1e-1..5e-1:3", float, (0.1, 0.3, 0.5)),
        ("log:1..4:3", float, (1.0, 2.0, 4.0)),
        ("lin:1e-3..1e-1:3", float, (1e-3, 0.0505, 1e-1)),
        ("-1..1:3", float, (-1.0, 0.0, 1.0)),
        ("16,32", int, (16, 32)),
        ("8..128:5", int, (8, 16, 32, 64, 128)),
        ("1..3:9", int, (1, 2, 3)),
        ("a,b..c", str, ("a", "b..c")),
        ("true,False", bool, (True, False)),
        ("2,0", Literal[0, 1, 2], (2, 0)),
        ("0..3", Fold, (0, 1, 2, 3)),
        ("1,3", Fold, (1, 3)),
        ("0.5..2.0:2", StaticFloat, (0.5, 2.0)),
        ("relu", Literal["relu", "gelu"], ("relu",)),
        ("8,None", int | None, (8, None)),
        ("8..16:2", int | None, (8, 16)),
        ("0.5,relu", float | Literal["relu"], (0.5, "relu")),
        ("a..b,/c", Path, (Path("a..b"), Path("/c"))),
        ("FAST,SLOW", Pace, (Pace.FAST, Pace.SLOW)),
    ],
)
def test_words_are_values(text, kind, values):
    assert parse(text, kind).values == values
    assert [type(value) for value in parse(text, kind).values] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("0.1,x", float, "'x' is no number"),
        ("1e-3..x:3", float, "'x' is no number"),
        ("nan", float, "'nan' is no number"),
        ("1.5", int, "'1.5' is no integer"),
        ("0.1,0.1", float, "twice"),
        ("0.2..0.1:3", float, "not below"),
        ("log:0..1:3", float, "begins above 0"),
        ("0..1:1", float, "2 to 10,000 values"),
        ("maybe", bool, "none of true, false"),
        ("swish", Literal["relu", "gelu"], "none of relu, gelu"),
        ("none", int | None, "'none' is no integer"),
        ("fast", Pace, "none of FAST, SLOW"),
        ("8,16", tuple[int, ...], "this argument is itself a list; sweep it in Python"),
        ("8,16", list[int], "this argument is itself a list; sweep it in Python"),
    ],
)
def test_what_is_no_axis_is_told(text, kind, message):
    with pytest.raises(ValueError, match=message):
        parse(text, kind)


@pytest.mark.parametrize(
    "given", [np.array([1, 2]), iter([1, 2]), range(1, 3), "1,2", [1, 2]], ids=lambda given: type(given).__name__
)
def test_what_a_caller_gives_is_values(given):
    """An array and an iterator were one value."""
    assert of(given, int).values == (1, 2)


@pytest.mark.parametrize(
    ("given", "message"), [((), "width of a sweep is given no value"), ("a", "width: 'a' is no integer")]
)
def test_what_a_caller_gives_wrong_is_told(given, message):
    with pytest.raises(UserError, match=message):
        of(given, int, "width")


def test_a_page_of_tuples_that_json_has_made_lists():
    values = ((4, 4), (8, 8))
    rows = [
        {"arguments": {"widths": list(value)}, "seed": 0, "curve": [{"step": 2, "evaluation": {"loss": value[0] / 8}}],
         "diverged": False, "steps": 2, "rungs": [], "stopped": False, "seconds": 1.0, "compiled": [],
         "execution": "serial"}
        for value in values
    ]  # fmt: skip
    axis = of(values, tuple[int, ...])
    summary = summarize(rows, {"widths": Shown(axis.values, axis.log, axis.position, axis.at)}, "-loss")
    assert [entry["setting"] for entry in summary["settings"]] == [{"widths": (4, 4)}, {"widths": (8, 8)}]
    text = "".join(page.sections(summary | {"split": "test", "command": ""}, rows))
    assert "<td>(4, 4)</td>" in text


@given(st.floats(0, 1, exclude_max=True), st.sampled_from(["1e-3..1e-1", "0..0.5", "-2..7", "a,b,c"]))
def test_a_position_is_where_the_value_was_drawn(u, text):
    axis = parse(text, str if text.startswith("a") else float)
    assert axis.position(axis.at(u)) == pytest.approx(u, abs=0.17 if axis.values else 2e-3)


AXES = {"rate": parse("1e-3..1e-1", float), "width": parse("8,16", int), "depth": parse("1..4", int)}


def test_a_grid_is_the_product():
    axes = {"rate": parse("1e-3..1e-1:3", float), "width": parse("8,16", int)}
    (settings,) = search(axes, "grid", 16, 0, 8)
    assert settings == [{"rate": r, "width": w} for r in (1e-3, 1e-2, 1e-1) for w in (8, 16)]
    with pytest.raises(UserError, match=r"--rate 1e-3\.\.1e-1: a grid needs to know how many"):
        next(search(AXES, "grid", 16, 0, 8))
    assert list(search({}, "grid", 16, 0, 8)) == [[{}]]


@pytest.mark.parametrize("how", ["random", "quasi"])
def test_draws_lie_in_the_ranges_and_more_of_them_begin_with_the_same(how):
    few, many = (next(search(AXES, how, n, 0, 8)) for n in (8, 32))
    assert many[: len(few)] == few
    assert next(search(AXES, how, 32, 1, 8)) != many
    assert all(1e-3 <= s["rate"] <= 1e-1 and s["width"] in (8, 16) and s["depth"] in (1, 2, 3, 4) for s in many)
    below = sum(s["rate"] < 1e-2 for s in many)
    assert 15 <= below <= 17 if how == "quasi" else 8 <= below <= 24  # half of the logarithm


def test_proposals_learn_from_scores_and_are_repeated_by_them():
    pytest.importorskip("optuna")

    def play():
        proposals, seen = search(AXES, "tpe", 40, 0, 5), []
        settings = next(proposals)
        while True:
            seen += settings
            scores = [-abs(s["rate"] - 2e-3) if s["width"] == 8 else float("-inf") for s in settings]
            try:
                settings = proposals.send(scores)
            except StopIteration:
                return seen

    seen = play()
    assert len(seen) == 40
    assert seen == play()
    early, late = seen[:10], seen[-10:]
    assert sum(s["rate"] < 5e-3 for s in late) > sum(s["rate"] < 5e-3 for s in early)


def test_an_axis_of_one_value_is_fixed():
    assert Axis.of(0.1).fixed
    assert str(Axis.of("relu")) == "relu"
    assert not parse("1..2", float).fixed
    assert parse("1e-3..1e-1:3", float).drawn().values == ()
