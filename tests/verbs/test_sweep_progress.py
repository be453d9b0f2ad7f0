"""The line of a sweep: one that is written over on a terminal, a plain one now and then elsewhere."""

import io

import pytest

import deeplab as dl
from deeplab.core.monitor import Monitor
from deeplab.search.groups import Member
from deeplab.search.parts import MemberRun, key_of
from deeplab.verbs.answers import progress
from deeplab.verbs.answers.progress import Line, Watch
from deeplab.verbs.fit import Surroundings
from tests import toys

MEMBERS = [Member({"learning_rate": rate}, seed) for rate in (0.1, 0.2) for seed in (0, 1)]


def point(accuracy):
    return {"step": 5, "evaluation": {"accuracy": accuracy}}


def row(accuracy, steps=10, **more):
    return {"curve": [point(accuracy)], "steps": steps, "diverged": False, "stopped": False} | more


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_terminal_shows_one_line_and_leaves_none(clock):
    out = io.StringIO()
    line = Line(out, live=True)
    line("a long text")
    line("too soon")
    clock[0] += 1
    line("short")
    assert out.getvalue() == "\ra long text\rshort      "
    line.clear()
    assert out.getvalue().endswith("\r     \r")
    assert "\n" not in out.getvalue()


def test_no_terminal_gets_plain_lines_now_and_then(clock):
    out = io.StringIO()
    line = Line(out)
    for _ in range(100):  # 50 s
        clock[0] += 0.5
        line("so far")
    line.clear()
    assert out.getvalue() == "so far\n" * 3
    Line(None)("nothing")


def test_it_tells_runs_steps_the_best_and_the_time_left(clock):
    watch = Watch(Line(io.StringIO(), live=True))
    known = [row(0.7), row(0.99, diverged=True)]
    watch.begin({key_of(member): 10 for member in MEMBERS}, Monitor("accuracy", "max"), known, 0)
    assert watch.text() == "0 of 4 runs, best accuracy 70.00 %"
    done = MemberRun(Member({"learning_rate": 0.3}, 0), done=True, curve=[point(1.0)])  # in the same program
    runs = [done, *(MemberRun(member, curve=[point(0.8)]) for member in MEMBERS[:2])]
    for step in (1, 5):
        clock[0] += 4
        watch(runs, step)
    # 2 runs of 4 steps in 8 s; 40 - 10 steps are left.
    assert watch.text() == "0 of 4 runs, 10 of 20 steps under way, best accuracy 80.00 %, 30.0 s left"
    watch.end([(key_of(MEMBERS[0]), row(0.75)), (key_of(MEMBERS[1]), row(0.95, 6, diverged=True))])
    assert watch.text().startswith("2 of 4 runs, best accuracy 75.00 %, ")  # what diverged is not the best
    watch.end([(key_of(MEMBERS[2]), row(0.6, 3, stopped=True))])
    assert "at most" in watch.text()  # others may be stopped, too
    watch.end([(key_of(MEMBERS[3]), row(0.9))])
    assert watch.text() == "4 of 4 runs, best accuracy 90.00 %"


def test_a_sweep_shows_its_progress(monkeypatch):
    monkeypatch.setattr(progress, "_LIVE_SECONDS", 0.0)
    out = io.StringIO()
    rates = {"learning_rate": [1e-2, 1e-1], "steps": 4, "norm": False}
    dl.sweep(toys.experiment, rates, surroundings=Surroundings(line=lambda: Line(out, live=True)))
    texts = out.getvalue().split("\r")
    assert any(text.startswith("0 of 2 runs, ") and "steps under way" in text for text in texts)
    assert any(text.startswith("2 of 2 runs, best loss ") for text in texts)
    assert texts[-1] == ""
