"""Comparing runs: groups, means over seeds, and the page."""

import html
import json
import re
import statistics

import pytest

from deeplab import report
from deeplab.core.errors import UserError
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
