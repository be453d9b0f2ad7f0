"""Reading run directories, complete, partial and damaged ones."""

import json
import math

import numpy as np
import pytest

from deeplab import report
from deeplab.core.errors import UserError
from deeplab.core.monitor import Monitor
from deeplab.report.record import read


def rows(directory, *given):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in given]
    (directory / "metrics.jsonl").write_text("\n".join(lines))
    (directory / "result.json").unlink(missing_ok=True)
    return read(directory)


def test_a_torn_last_line_is_dropped_and_a_damaged_one_counted(make_run):
    first, second = {"step": 1, "split": "train", "loss": 2.0}, {"step": 2, "split": "train", "loss": 1.0}
    run = rows(make_run(), first, "{not json}", '{"loss": 1}', second, '{"step": 3, "spl')
    assert run.series("train", "loss")[0].tolist() == [1, 2]
    assert run.damaged == 2
    assert (run.step, run.status) == (2, "unfinished")


@pytest.mark.parametrize("line", ["12", '"text"', '{"step": Infinity, "split": "train"}', "[" * 5000, "\ufffd\x00"])
def test_no_line_can_break_the_reader(make_run, line):
    run = rows(make_run(), line, {"step": 1, "split": "test", "loss": 2.0}, line)
    assert run.last("test") == (1, {"loss": 2.0})


def test_the_last_row_of_a_step_counts_and_rows_are_in_order(make_run):
    run = rows(make_run(), *({"step": s, "split": "test", "loss": s + 0.5 * i} for i, s in enumerate((2, 1, 2))))
    assert run.series("test", "loss")[0].tolist() == [1, 2]
    assert run.series("test", "loss")[1].tolist() == [1.5, 3.0]


def test_last_and_best_differ_and_the_headline_is_the_last(make_run):
    losses = {100: 0.3, 200: 0.1, 300: 0.2}
    given = [{"step": s, "split": "test", "loss": x, "accuracy": 1 - x} for s, x in losses.items()]
    run = rows(make_run(), *given)
    assert run.best("test") == (200, {"loss": 0.1, "accuracy": 0.9})
    assert run.headline == ("test", "accuracy", 0.8, 300)


def test_monitor_without_minus_means_larger_is_better(make_run):
    run = rows(make_run(monitor="f1"), *({"step": s, "split": "test", "loss": 1.0, "f1": s % 3} for s in (1, 2, 3)))
    assert run.best("test")[0] == 2
    assert run.headline is not None
    assert run.headline.metric == "f1"


def test_nan_is_never_the_best(make_run):
    losses = {1: math.nan, 2: 5.0, 3: -math.inf}
    run = rows(make_run(), *({"step": s, "split": "test", "loss": x} for s, x in losses.items()))
    assert run.best("test") == (2, {"loss": 5.0})
    only_nan = rows(run.directory, {"step": 1, "split": "test", "loss": None})
    assert only_nan.best("test") == (0, {})


def test_status(make_run):
    directory = make_run()
    assert read(directory).status == "finished"
    (directory / "result.json").write_text('{"step": 299}')
    (directory / "metrics.jsonl").unlink()
    assert read(directory).status == "unfinished"
    rows(directory, {"step": 299, "split": "train", "loss": 1})
    assert read(directory).status == "unfinished"
    (directory / "failure").mkdir()
    (directory / "failure" / "report.json").write_text('{"step": 299}')
    assert read(directory).status == "diverged"


def test_throughput_is_the_median_of_what_is_finite(make_run):
    given = [{"step": s, "split": "train", "steps_per_second": x} for s, x in enumerate((1.0, 9.0, 2.0, math.nan))]
    run = rows(make_run(kind="language"), *given)
    assert run.steps_per_second == 2.0
    assert (run.units_per_step, run.unit) == (768, "tokens")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"experiment": "e", "arguments": {}}', "num_steps"),
        (None, "no run directory"),
    ],
)
def test_what_is_no_run_directory_is_named(make_run, text, expected):
    directory = make_run()
    (directory / "run.json").unlink()
    if text is not None:
        (directory / "run.json").write_text(text)
    with pytest.raises(UserError, match=expected):
        read(directory)


def test_damaged_predictions_are_named_and_never_unpickled(make_run):
    directory = make_run()
    (directory / "predictions.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(UserError, match=r"predictions\.npz cannot be read"):
        read(directory).predictions()
    np.savez(directory / "predictions.npz", label=np.array([print], dtype=object))
    with pytest.raises(UserError, match="allow_pickle"):
        read(directory).predictions()


def test_the_monitor_of_a_record_is_a_name_and_a_direction(make_run):
    given = [{"step": s, "split": "test", "loss": 1.0, "f1": s % 3} for s in (1, 2, 3)]
    run = rows(make_run(monitor={"name": "f1", "direction": "min"}), *given)
    assert run.monitor == Monitor("f1", "min")
    assert run.best("test")[0] == 3
    for damaged in ({"name": "f1"}, {"name": "f1", "direction": "up"}, None):
        run = rows(make_run(f"digits/{damaged}", monitor=damaged), *given)
        assert run.monitor == Monitor("loss", "min")


def test_the_record_names_its_headlines(make_run):
    given = {"step": 1, "split": "test", "loss": 1.0, "bleu": 34.0, "perplexity": 5.0}
    run = rows(make_run(headline=["bleu", "chrf", "perplexity"]), given)
    assert run.headlines == [("test", "bleu", 34.0, 1), ("test", "perplexity", 5.0, 1)]
    run = rows(make_run("digits/monitored", headline=["bleu"], monitor="-perplexity"), given)
    assert [headline.metric for headline in run.headlines] == ["perplexity", "bleu"]
    for damaged in (None, "bleu", ["chrf"], 3):
        run = rows(make_run(f"digits/{damaged}", headline=damaged), given)
        assert run.headlines == [("test", "loss", 1.0, 1)]


def test_an_accuracy_alone_is_the_headline_whatever_the_task_is_called(make_run):
    run = rows(make_run(task="Anything"), {"step": 1, "split": "test", "loss": 1.0, "accuracy": 0.5})
    assert run.headline == ("test", "accuracy", 0.5, 1)


def test_the_old_name_of_a_record_names_the_new_one():
    with pytest.raises(AttributeError, match="it is called RunRecord now"):
        _ = report.Run
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        _ = report.nothing
