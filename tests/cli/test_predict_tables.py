"""`predict` on tables, of a smoke run: a stand-in for the data reads the files that the data would."""

import pytest

import deeplab as dl
from deeplab.data.sets.health.breast_cancer import COLUMNS
from experiments.health_breast_cancer import experiment


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    flags = ["--smoke", "--width", "4", "--run-dir", str(tmp_path_factory.mktemp("run") / "run")]
    dl.main(experiment, ["train", *flags])
    return flags


def test_the_good_files_go_on(trained, tmp_path):
    numbers = ",".join(["1.5"] * len(COLUMNS))
    (tmp_path / "good.csv").write_text(f"{','.join(COLUMNS)}\n{numbers}\n{numbers}\n")
    (tmp_path / "short.csv").write_text(f"{','.join(COLUMNS[:-1])}\n{numbers}\n")
    (tmp_path / "nan.csv").write_text(f"{','.join(COLUMNS)}\n{numbers}\n{numbers[:-3]}nan\n")
    result = dl.main(experiment, ["predict", str(tmp_path), *trained])
    assert sorted(result["predictions"]) == [f"{tmp_path}/good.csv:1", f"{tmp_path}/good.csv:2"]
    assert result["predictions"][f"{tmp_path}/good.csv:1"]["prediction"] in ("benign", "malignant")
    why = {path.rpartition("/")[2]: message for path, message in result["failed"].items()}
    assert "no column 'worst fractal dimension'" in why["short.csv"]
    assert "row 3, column 'worst fractal dimension': nan" in why["nan.csv"]
    assert result["exit_code"] == 2
