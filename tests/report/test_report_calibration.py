"""The reliability diagram and the table of classes."""

import numpy as np
import pytest

from deeplab import report
from deeplab.report import calibration
from deeplab.robust.calibration import expected_calibration_error

RNG = np.random.default_rng(0)
PREDICTIONS = {
    "label": np.array([0, 0, 0, 1, 1]),
    "prediction": np.array([0, 0, 1, 1, 0]),
    "probability": np.array([0.9, 0.8, 0.6, 0.7, 0.55]),
}


def test_a_classifier_has_both(make_run):
    page = report.write(make_run()).read_text()
    assert "Class by class" in page
    assert "Reliability" in page


def test_the_error_is_that_of_the_calibration():
    label, prediction = RNG.integers(0, 3, 200), RNG.integers(0, 3, 200)
    probability = RNG.random(200)
    html = calibration.sections({"label": label, "prediction": prediction, "probability": probability}, None)
    assert f"error {expected_calibration_error(probability, label == prediction):.4f}" in html


def test_shares_of_a_class():
    html = calibration.sections(PREDICTIONS, ("well", "ill"))
    row = html[html.index(">ill<") :].partition("</tr>")[0]
    for share in ("50.00 %", "66.67 %"):  # sensitivity and predictive value 1 of 2, specificity 2 of 3
        assert share in row


@pytest.mark.parametrize("missing", ["label", "prediction"])
def test_nothing_is_shown_of_what_is_no_classifier(missing):
    assert not calibration.sections({k: v for k, v in PREDICTIONS.items() if k != missing}, None)


def test_without_probabilities_there_is_no_diagram():
    html = calibration.sections({k: v for k, v in PREDICTIONS.items() if k != "probability"}, None)
    assert "Class by class" in html
    assert "Reliability" not in html
