"""A study: the product of its axes, each run once, whatever happened before."""

import json

import pytest

import deeplab as dl
from deeplab.cli.main import VERBS
from deeplab.core.errors import UserError
from deeplab.report.text import tag
from tests import toys

STUDY = dl.Study(
    axes={"batch_size": (8, 16), "learning_rate": (1e-2, 3e-2)},
    summarize=lambda rows: [row["last"]["loss"] for row in rows],
    sections=lambda losses: [tag("p", f"{len(losses)} losses < 9")],
    smoke={"batch_size": (8,), "learning_rate": (1e-2, 3e-2)},
)
SHORT = ["--steps", "5", "--no-norm"]


def run(tmp_path, *argv):
    return dl.main(toys.experiment, ["study", *argv, "--run-dir", str(tmp_path / "run")], study=STUDY)


def written(tmp_path):
    return json.loads((tmp_path / "run/study.json").read_text())


@pytest.fixture
def counted(monkeypatch):
    """Groups that would have been trained; their rows are made up, so that only what is around them is tested."""
    groups = []

    def run(asked, *_):
        for group in asked:
            groups.append(group)
            yield [
                {
                    "arguments": dict(m.arguments),
                    "seed": m.seed,
                    "last": {"loss": float(m.seed)},
                    "seconds": 1.0,
                    "curve": [],
                    "steps": 20,
                    "diverged": False,
                    "stopped": False,
                }
                for m in group.members
            ]

    monkeypatch.setattr("deeplab.search.sweep.run", run)
    return groups


def test_a_study_leaves_its_rows_and_a_page(tmp_path):
    result = run(tmp_path, "--smoke", "--seeds", "2", *SHORT)
    assert (result["members"], result["trained"]) == (4, 4)
    whole = written(tmp_path)
    rows = whole["members"]
    made = [(row["arguments"]["learning_rate"], row["seed"]) for row in rows]
    assert made == [(1e-2, 0), (1e-2, 1), (3e-2, 0), (3e-2, 1)]
    assert whole["summary"] == [row["last"]["loss"] for row in rows]
    for row in rows:
        assert row["steps"] == row["curve"][-1]["step"] == 4
        assert row["curve"][-1]["evaluation"] == pytest.approx(row["last"])
        assert row["best"]["loss"] == pytest.approx(min(point["evaluation"]["loss"] for point in row["curve"]))
        assert row["first"] != row["last"]
        assert (row["num_train"], row["num_params"]) == (50, 60)
    text = (tmp_path / "run/report.html").read_text()
    assert "4 losses &lt; 9" in text
    assert "-m tests.toys study --steps 5 --no-norm" in text
    assert "A small experiment in memory" in text


def test_what_is_finished_is_not_run_again(tmp_path, counted):
    first = run(tmp_path, *SHORT)
    assert (first["members"], first["trained"]) == (12, 12)
    assert [len(group.members) for group in counted] == [6, 6]
    before = written(tmp_path)["members"]
    assert run(tmp_path, *SHORT)["trained"] == 0
    assert written(tmp_path)["members"] == before
    file = tmp_path / "run/members.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[1:11]) + lines[11][:20])  # killed while it wrote
    assert run(tmp_path, *SHORT)["trained"] == 2
    assert [len(group.members) for group in counted[2:]] == [1, 1]
    assert written(tmp_path)["members"] == before
    assert run(tmp_path, *SHORT, "--seeds", "4")["trained"] == 4


def test_what_is_wrong_is_told(tmp_path, counted):
    with pytest.raises(UserError, match=r"--batch-size 32: batch_size is an axis of the study.*8, 16; leave it out"):
        run(tmp_path, "--batch-size", "32")
    run(tmp_path)
    with pytest.raises(UserError, match="other settings"):
        run(tmp_path, "--steps", "6")
    file = tmp_path / "run/members.jsonl"
    file.write_text("nonsense\n" + file.read_text())
    with pytest.raises(UserError, match="line 1 is damaged"):
        run(tmp_path)
    assert len(counted) == 2


def test_the_verbs_of_all_experiments_cannot_be_replaced():
    with pytest.raises(ValueError, match=r"every experiment has the verbs \['train'\]"):
        dl.main(toys.experiment, ["train"], verbs={"train": VERBS["train"]})
    with pytest.raises(UserError, match="'studdy' is no verb; did you mean 'study'"):
        dl.main(toys.experiment, ["studdy"], study=STUDY)
    with pytest.raises(UserError, match="no verb"):
        dl.main(toys.experiment, ["study"])
    assert "study" not in VERBS
