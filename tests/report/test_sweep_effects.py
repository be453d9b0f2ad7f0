"""What a sweep's page says of each argument: nothing averaged in silence, edges, folds, and what did not finish."""

import math
import re

import numpy as np
import pytest

from deeplab.report.sweeps import page, points, responses
from deeplab.report.sweeps.summary import Axis, summarize
from deeplab.search.axes import of, parse


def row(setting, seed, accuracy, **more):
    evaluation = {"accuracy": accuracy, "loss": 1 - accuracy}
    kept = {"arguments": setting, "seed": seed, "curve": [{"step": 9, "evaluation": evaluation}], "steps": 9}
    kept |= {"diverged": False, "stopped": False, "rungs": [], "execution": "x", "seconds": 1.0, "compiled": []}
    return kept | more


def axes(**texts):
    parsed = {name: parse(text, kind) for name, (text, kind) in texts.items()}
    return {name: Axis(axis.values, axis.log, axis.position, axis.at) for name, axis in parsed.items()}


MODELS = {"cnn": {0.01: 0.9, 0.1: 0.5}, "lstm": {0.01: 0.6, 0.1: 0.8}}
"""A mean over the rate would call both equal in nothing: each has a rate of its own."""
GRID = axes(model=("cnn,lstm", str), rate=("0.01,0.1", float))


def grid():
    return [
        row({"model": model, "rate": rate}, seed, value + seed / 100)
        for model, rates in MODELS.items()
        for rate, value in rates.items()
        for seed in (0, 1, 2)
    ]


def text_of(summary, rows):
    return "".join(page.sections(summary | {"command": "python -m x train", "split": "test"}, rows))


def test_with_one_other_argument_each_of_its_values_is_a_line():
    summary = summarize(grid(), GRID, "accuracy")
    series = responses._series(summary, "rate")
    shown = {(label, e["setting"]["rate"]): e["mean"] for label, found in series.lines.items() for e in found}
    assert shown == {(m, r): pytest.approx(v + 0.01) for m, rates in MODELS.items() for r, v in rates.items()}
    text = text_of(summary, grid())
    assert "one line for each model" in text
    assert "one color for each rate" in text
    assert "70.00 %" not in text  # the mean of cnn over the rates
    assert "mean accuracy" not in text


def test_with_several_others_each_value_has_the_best_of_them_and_the_page_says_which():
    rows = [r | {"arguments": r["arguments"] | {"width": w}} for r in grid() for w in (8, 16)]
    summary = summarize(rows, GRID | axes(width=("8,16", int)), "accuracy")
    series = responses._series(summary, "model")
    assert {e["setting"]["model"]: e["setting"]["rate"] for e in series.lines[""]} == {"cnn": 0.01, "lstm": 0.1}
    assert "each value at the rate and width that is best with it" in text_of(summary, rows)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_tuple_and_another_argument_are_lines_and_a_heat_map(kind):
    """The values of an axis were lists, and those of the settings tuples: equal to none, and no keys."""
    widths, scores = [kind((8, 8)), kind((16, 16))], {8: 0.9, 16: 0.6}
    rows = [
        row({"widths": list(width), "rate": rate}, seed, scores[width[0]] - rate + seed / 100)
        for width in widths for rate in (0.01, 0.1, 0.2, 0.3) for seed in (0, 1)
    ]  # fmt: skip
    axis = of(widths, tuple[int, ...])
    given = {"widths": Axis(axis.values, axis.log, axis.position, axis.at)} | axes(rate=("0.01,0.1,0.2,0.3", float))
    summary = summarize(rows, given, "accuracy")
    lines = responses._series(summary, "rate").lines
    assert {label: len(found) for label, found in lines.items()} == {"(8, 8)": 4, "(16, 16)": 4}
    assert summary["importance"]["settings"] == 8
    text = text_of(summary, rows)
    assert "<h3>widths and rate</h3>" in text
    assert text.count("80.50 %") >= 2  # (8, 8) and 0.1, in the table and in the map


def test_truth_values_and_literals_are_points_with_their_seeds_and_interval():
    rows = [row({"norm": norm}, seed, 0.5 + norm / 4 + seed / 100) for norm in (False, True) for seed in (0, 1, 2)]
    summary = summarize(rows, axes(norm=("false,true", bool)), "accuracy")
    assert summary["axes"]["norm"]["categorical"]
    (figure,) = re.findall(r"<svg.*?</svg>", responses._points(summary, "norm", "a"), flags=re.DOTALL)
    assert figure.count("<use") == 8  # three seeds and a mean of each
    best = summary["settings"][0]
    assert (best["from"], best["to"]) == (pytest.approx(0.76 - 4.3027 * 0.01 / 3**0.5, abs=1e-5), best["high"])


def test_an_interval_that_is_much_wider_than_the_runs_does_not_set_the_scale():
    low, high = points._limits([points.Mark("a", [0.50, 0.51], -0.2, 1.2), points.Mark("b", [0.6, 0.61])])
    assert 0.2 < low < 0.5
    assert 0.61 < high < 0.9


@pytest.mark.parametrize(
    ("text", "kind", "best", "remark"),
    [
        ("1e-3..1e-1:3", float, 0.1, ["x 0.1 is the largest tried: try larger"]),
        ("1e-3..1e-1:3", float, 0.001, ["x 0.001 is the smallest tried: try smaller"]),
        ("1e-3..1e-1:3", float, 0.01, []),
        ("8..64:4", int, 64, ["x 64 is the largest tried: try larger"]),
        ("16,8,32", int, 8, ["x 8 is the smallest tried: try smaller"]),
        ("1,2,4", int, 1, []),  # no fewer than one
        ("0.0,0.1,0.2", float, 0.0, []),  # no less than none
        ("0.3", float, 0.3, []),
        ("a,b", str, "a", []),
        ("false,true", bool, True, []),
    ],
)
def test_a_best_value_at_the_edge_is_remarked(text, kind, best, remark):
    axis = parse(text, kind)
    rows = [row({"x": value}, 0, 0.9 if value == best else 0.1) for value in axis.values]
    summary = summarize(rows, {"x": Axis(axis.values, axis.log, axis.position, axis.at)}, "accuracy")
    assert summary["remarks"] == remark
    assert all(f"{told}." in text_of(summary, rows) for told in remark)


def test_the_edge_of_a_range_of_draws_is_its_outer_tenth():
    axis = parse("1e-4..1e-1", float)
    view = {"x": Axis(axis.values, axis.log, axis.position, axis.at)}
    for best, remark in ((0.08, "at the upper end of its range: try larger"), (0.02, None), (1.2e-4, "try smaller")):
        rows = [row({"x": x}, 0, 0.9 if x == best else 0.1) for x in (1e-3, best)]
        remarks = summarize(rows, view, "accuracy")["remarks"]
        assert [remark in told for told in remarks] == ([True] if remark else [])


def test_what_is_beyond_the_best_and_diverged_was_tried():
    rows = [row({"x": 0.1}, 0, 0.5), row({"x": 0.2}, 0, 0.9), row({"x": 0.4}, 0, 0.95, diverged=True)]
    assert summarize(rows, axes(x=("0.1,0.2,0.4", float)), "accuracy")["remarks"] == []
    rows = [row({"x": 0.1}, 0, 0.9), row({"x": 0.2}, 0, 0.9)]  # as good as the other edge
    assert summarize(rows, axes(x=("0.1,0.2", float)), "accuracy")["remarks"] == []


def test_the_values_of_a_literal_are_all_there_are():
    axis = parse("1,2", int)
    view = Axis(axis.values, axis.log, axis.position, axis.at, closed=True)
    assert summarize([row({"x": 1}, 0, 0.1), row({"x": 2}, 0, 0.9)], {"x": view}, "accuracy")["remarks"] == []


def test_folds_are_averaged_over_their_seeds_and_none_is_the_best():
    values = {0: (0.5, 0.7), 1: (0.8, 0.8), 2: (0.9, 0.7)}
    rows = [row({"part": fold}, seed, value) for fold, both in values.items() for seed, value in enumerate(both)]
    summary = summarize(rows, {}, "accuracy", fold="part", overlap=0.5)
    (entry,) = summary["settings"]
    assert entry["units"] == {"fold 0": pytest.approx(0.6), "fold 1": pytest.approx(0.8), "fold 2": pytest.approx(0.8)}
    assert entry["error"] == pytest.approx(np.std([0.6, 0.8, 0.8], ddof=1) * math.sqrt(1 / 3 + 0.5))
    assert (entry["sd"], summary["over"]) == (pytest.approx(0.1155, abs=1e-4), "3 folds, 2 seeds each")
    text = text_of(summary, rows)
    assert "test accuracy of 3 folds, 2 seeds each" in text
    assert "Nadeau and Bengio" in text
    assert "best setting" not in text
    assert "It was chosen" not in text


def test_a_stopped_and_a_diverged_setting_are_told_apart():
    rows = [row({"act": act}, seed, 0.5 + seed / 10, rungs=[0.4]) for act in ("a", "b", "c") for seed in (0, 1)]
    rows[2:4] = [r | {"stopped": True, "steps": 3} for r in rows[2:4]]
    rows[5] = row({"act": "c"}, 1, 0.9, diverged=True, rungs=[0.4])
    summary = summarize(rows, axes(act=("a,b,c", str)), "accuracy")
    assert [entry["setting"]["act"] for entry in summary["settings"]] == ["a", "c", "b"]
    assert [responses.state(entry) for entry in summary["settings"]] == ["", "1 diverged", "stopped"]
    assert [entry["low"] is None for entry in summary["settings"]] == [False, True, False]
    assert [entry["against"] for entry in summary["settings"]] == [None, None, None]
    figure = responses._points(summary, "act", "a")
    assert figure.count("var(--bad)") >= 1


def test_only_the_other_split_s_metrics_have_no_part_in_the_choice():
    rows = [
        row({"x": x}, 0, value, metrics={"accuracy": value, "test/accuracy": 1 - value})
        for x, value in ((0.1, 0.6), (0.2, 0.9), (0.3, 0.5))
    ]
    summary = summarize(rows, axes(x=("0.1,0.2,0.3", float)), "accuracy")
    assert summary["settings"][0]["setting"] == {"x": 0.2}
    assert summary["settings"][0]["metrics"]["test/accuracy"][0] == pytest.approx(0.1)
    assert "The test metrics are those of the last state" in text_of(summary | {"test_split": "test"}, rows)
