"""The list of runs, finished, unfinished and broken ones."""

import io

import pytest
from rich.console import Console

from deeplab import report
from deeplab.core.errors import UserError


def test_lists_good_and_broken_runs(make_run, tmp_path):
    make_run("digits/a", started="2025-01-02T00:00:00", seed=1)
    make_run("digits/b", started="2025-01-03T00:00:00", kind="language")
    broken, empty = make_run("digits/c"), make_run("digits/d")
    (broken / "run.json").write_text("{")
    (empty / "run.json").unlink()
    (tmp_path / "runs" / "notes").mkdir()
    runs = report.find(tmp_path / "runs")
    assert [run.name for run in runs] == ["digits/b", "digits/a", "digits/d", "digits/c"]
    assert [run.status for run in runs] == ["finished", "finished", "broken", "broken"]
    assert runs[1].headline.endswith("% test accuracy")
    assert runs[0].headline.endswith("test loss")
    assert "run.json" in runs[2].problem
    assert "damaged" in runs[3].problem


def test_what_lies_inside_a_run_is_no_run(make_run, tmp_path):
    directory = make_run()
    (directory / "checkpoints" / "10" / "checkpoints").mkdir(parents=True)
    assert [run.directory for run in report.find(tmp_path)] == [directory]
    assert [run.name for run in report.find(directory)] == [directory.name]


def test_table_shows_names_as_they_are(make_run, tmp_path):
    make_run("digits/[red]x[/red]")
    (make_run("digits/bad") / "run.json").write_text("[]")
    out = io.StringIO()
    Console(file=out, width=200).print(report.table(report.find(tmp_path)))
    text = out.getvalue()
    assert "[red]x[/red]" in text
    assert "test accuracy" in text
    assert "expected a JSON object" in text


def test_no_folder_is_an_error_and_an_empty_one_is_not(tmp_path):
    assert report.find(tmp_path) == []
    with pytest.raises(UserError, match="no folder"):
        report.find(tmp_path / "none")
