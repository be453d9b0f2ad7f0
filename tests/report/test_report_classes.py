"""Blocks of classifiers: reliability diagram, per-class metrics, confusion matrix."""

import numpy as np
import pytest

from deeplab import report
from deeplab.core import blocks
from deeplab.robust.calibration import expected_calibration_error

RNG = np.random.default_rng(0)
PREDICTIONS = {
    "label": np.array([0, 0, 0, 1, 1]),
    "prediction": np.array([0, 0, 1, 1, 0]),
    "probability": np.array([0.9, 0.8, 0.6, 0.7, 0.55]),
}


def headings(predictions):
    return [block["heading"] for block in blocks.classification(predictions) if block["kind"] == "section"]


def test_a_classifier_s_page_has_all_sections(make_run):
    page = report.write(make_run()).read_text()
    for heading in ("Mistakes: 6 of 360 test examples", "Most confused", "Highest losses", "Per-class metrics"):
        assert heading in page
    assert "Reliability" in page


def test_the_error_is_the_expected_calibration_error():
    correct, probability = RNG.random(200) < 0.6, RNG.random(200)
    block = blocks.reliability(probability, correct)
    assert f"error {expected_calibration_error(probability, correct):.4f}" in block["note"]


def test_metrics_of_a_class():
    label, prediction = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 1, 1])
    (section,) = blocks.per_class(label, prediction, ("healthy", "ill"))
    (table,) = section["blocks"]
    assert table["body"] == [
        ["healthy", "4", "50.00 %", "100.00 %", "100.00 %", "66.67 %"],
        ["ill", "1", "100.00 %", "50.00 %", "33.33 %", "50.00 %"],
    ]


def test_the_matrix_counts_labels_in_rows_and_predictions_in_columns():
    block = blocks.confusion(np.array([0, 0, 2]), np.array([1, 0, 2]), ["cat"])
    matrix, pairs = block["blocks"][0]["blocks"]
    assert matrix["names"] == ["cat", "1", "2"]
    assert matrix["counts"] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert pairs["blocks"][0]["body"] == [["cat", "1", "1", "50.00 %"]]


def test_without_a_mistake_there_are_no_pairs():
    block = blocks.confusion(np.array([0, 1]), np.array([0, 1]))
    assert block["blocks"][0]["blocks"][1] == blocks.text("Every example is classified correctly.")


@pytest.mark.parametrize("missing", ["label", "prediction"])
def test_other_predictions_give_no_block(missing):
    assert not headings({k: v for k, v in PREDICTIONS.items() if k != missing})
    assert not headings(PREDICTIONS | {missing: np.zeros((5, 3))})
    assert not headings({k: v[:0] for k, v in PREDICTIONS.items()})


def test_without_probabilities_there_is_no_diagram():
    assert headings(PREDICTIONS)[1:] == ["Per-class metrics", "Reliability"]
    assert headings({k: v for k, v in PREDICTIONS.items() if k != "probability"})[1:] == ["Per-class metrics"]
    assert headings(PREDICTIONS | {"probability": np.full((5, 2), 0.5)})[1:] == ["Per-class metrics"]
