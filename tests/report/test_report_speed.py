"""The section on time: its parts, and its absence where nothing is known."""

import json
import math

import pytest

from deeplab import report
from deeplab.report.record import read


def _with_rows(directory, shares):
    """The run with a row every ten seconds: the share of the time in which the device waited for input."""
    rows = [
        {"step": 10 * i, "split": "train", "loss": 1.0, "seconds": 10.0 * i, "stalled": share}
        for i, share in enumerate(shares, start=1)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ([0.0, 0.0, 0.03], "Compute-bound: the device waited for input 1.0 % of the training time."),
        ([0.5, 0.4], "Input-bound: the device waited for input 45.0 % of the training time."),
    ],
)
def test_what_bounds_a_run(make_run, shares, text):
    directory = _with_rows(make_run(), shares)
    assert text in report.write(directory).read_text()
    assert ("--workers" in report.write(directory).read_text()) == text.startswith("Input")


def test_shares_count_by_the_time_they_are_of(make_run):
    directory = _with_rows(make_run(), [0.0, 0.0])
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 30, "split": "train", "seconds": 80.0, "stalled": 0.4}) + "\n")
    assert read(directory).stalled == pytest.approx(0.4 * 60 / 80)


def test_nothing_is_said_of_what_is_not_known(make_run):
    directory = make_run()
    assert math.isnan(read(directory).stalled)
    assert "<h2>Time</h2>" not in report.write(directory).read_text()


def test_the_time_to_the_first_step_and_its_parts(make_run):
    startup = {"import": 3.2, "data": 0.4, "compile": 5.25, "first step": 0.35}
    page = report.write(make_run(startup=startup)).read_text()
    assert "Time to the first step: 9.2 s (import 3.2 s, data 0.4 s, compile 5.2 s, first step 0.3 s)." in page


@pytest.mark.parametrize("text", ["", "[]", "{", '{"milliseconds": "a"}', '{"milliseconds": 1, "costliest": [[]]}'])
def test_a_damaged_profile_is_left_out(make_run, text):
    directory = make_run()
    (directory / "profile").mkdir()
    (directory / "profile/profile.json").write_text(text)
    assert "Most expensive operations" not in report.write(directory).read_text()


def test_the_table_of_a_profile(make_run):
    directory = make_run()
    (directory / "profile").mkdir()
    cost = {"layer": "<b>block1/up", "operation": "dot_general", "forward": 2.0, "backward": 4.0}
    split = {"forward": 2.0, "backward": 4.0, "optimizer": 1.0, "other": 0.5}
    found = {"milliseconds": 8.0, "costliest": [cost], "split": split}
    (directory / "profile/profile.json").write_text(json.dumps(found))
    page = report.write(directory).read_text()
    assert "&lt;b&gt;block1/up" in page
    assert "75.0 %" in page
    assert "8.00 ms a step: forward 2.00, backward 4.00, optimizer 1.00, other 0.50" in page
