"""Comparing runs: groups, means over seeds, and the page."""

import html
import json
import re
import statistics

import pytest

from deeplab import report
from deeplab.core.errors import UserError
from deeplab.report import figures
from deeplab.report.comparison import group, spread


def accuracy(directory):
    return json.loads((directory / "result.json").read_text())["metrics"]["test"]["accuracy"]


def test_seeds_form_one_group_and_arguments_another(make_run, tmp_path):
    directories = [make_run(f"sweep/{rate}-{seed}", rate=rate, seed=seed) for seed in (1, 0) for rate in (0.1, 0.01)]
    groups, differing = group([report.read(directory) for directory in directories])
    assert differing == ["learning_rate"]
    assert [g.setting for g in groups] == ["learning_rate 0.01", "learning_rate 0.1"]
    assert [[run.arguments["seed"] for run in g.runs] for g in groups] == [[0, 1], [0, 1]]
    text = html.unescape(report.compare(directories, tmp_path).read_text())
    for rate in (0.01, 0.1):
        values = [100 * accuracy(tmp_path / "runs" / "sweep" / f"{rate}-{seed}") for seed in (0, 1)]
        assert f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} %" in text


def test_one_seed_twice_is_no_two_seeds(make_run, tmp_path):
    """A seed at two commits was told as a mean and a deviation over two seeds."""
    directories = [
        make_run(f"{commit}/{seed}", seed=seed, git={"commit": commit}) for seed in (0, 1) for commit in "ab"
    ]
    groups, differing = group([report.read(directory) for directory in directories])
    assert differing == []
    assert [g.setting for g in groups] == ["commit a", "commit b"]
    assert [[run.arguments["seed"] for run in g.runs] for g in groups] == [[0, 1], [0, 1]]
    again = [make_run(f"again/{name}", git={"commit": "a"}) for name in ("x", "y")]
    groups, _ = group([report.read(directory) for directory in again])
    assert [(g.setting, len(g.runs)) for g in groups] == [("again/x", 1), ("again/y", 1)]
    assert "Over seeds" not in report.compare(again, tmp_path).read_text()


def test_a_metric_of_any_name_is_no_markup(make_run, tmp_path):
    """Its name is the user's, and was the ids' beginning."""
    runs = [make_run(f"a/{i}", rate=0.1 + i) for i in range(2)]
    for run in runs:
        (run / "result.json").unlink()
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        lines = [line | {'x"><script>\\1': 0.5} for line in lines]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = report.compare(runs, tmp_path).read_text()
    assert "<script" not in text
    assert len(set(re.findall(r' id="([^"]*)"', text))) == len(re.findall(r' id="', text))
    svg = figures.inline('<svg viewBox="0 0 1 1"><g id="a"/></svg>', "b", 'c">\\1')
    assert svg.endswith('<g id="c---1-a"/></svg>')


def test_page_compares_what_differs(make_run, tmp_path):
    runs = [
        make_run("a/1", arguments={"width": 32, "name": "<i>"}),
        make_run("b/2", arguments={"width": 64, "depth": 2, "name": "<u>"}, num_steps=200),
    ]
    report.write(runs[0])
    out = report.compare(runs, tmp_path / "page.html")
    assert out == tmp_path / "page.html"
    text = out.read_text()
    assert "They differ in width, name and depth." in text
    assert "width 32, name &lt;i&gt;" in text
    assert "width 64, name &lt;u&gt;, depth 2" in text
    assert "depth None" not in text
    assert "<i>" not in text
    assert "<script" not in text
    assert re.findall(r'href="([^#"][^"]*)"', text) == ["runs/a/1/report.html"]
    for run in runs:
        assert f"{100 * accuracy(run):.2f} %" in text


def test_partial_runs_and_different_experiments_can_be_compared(make_run, tmp_path):
    empty, language = make_run("a/1"), make_run("b/2", kind="language")
    for name in ("metrics.jsonl", "result.json", "predictions.npz"):
        (empty / name).unlink()
    text = report.compare([empty, language, language], tmp_path).read_text()
    assert "2 runs" in text
    assert "experiments.image_digits, experiments.text_shakespeare" in text


def test_many_settings_get_a_label_each(make_run, tmp_path):
    runs = [report.read(make_run(f"s/{i}", rate=0.1 + i)) for i in range(30)]
    groups, _ = group(runs)
    assert len({g.letter for g in groups}) == 30


def test_one_run_is_not_a_comparison(make_run, tmp_path):
    run = make_run()
    with pytest.raises(UserError, match="expected two or more"):
        report.compare([run, run], tmp_path)


def test_spread_says_how_many_it_left_out():
    assert spread("loss", [1.0, 3.0, float("nan")]) == "2.000 ± 1.4 (2 of 3)"
    assert spread("loss", [1.5]) == "1.500"
    assert spread("loss", [float("nan")]) == ""
