"""Charts of predicted numbers: every point is drawn where it lies, negative ones too."""

import re

import numpy as np
import pytest

from deeplab.core.blocks import curve, regression
from deeplab.report.render import Site, render


def marks(html: str) -> np.ndarray:
    """Positions of the marks in a chart, [N, 2]."""
    found = re.findall(r'<use href="#[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill', html)
    return np.array(found, float)


def test_points_are_marked_and_not_joined():
    x = np.linspace(-3.0, 3.0, 40)
    made = {"y": x**2}
    drawn = str(render(curve(made, "x", {"y": x}, points=["y"]), Site("a")))
    line = str(render(curve(made, "x", {"y": x}), Site("a")))
    positions = marks(drawn)
    assert len(positions) == 40
    assert len(marks(line)) == 0
    np.testing.assert_allclose(np.diff(positions[:, 0]), np.diff(positions[:, 0])[0], rtol=1e-3)
    assert "points" not in curve(made)["lines"][0]  # older pages stay as they are


def test_a_chart_of_residuals_holds_every_example():
    rng = np.random.default_rng(0)
    target = rng.normal(size=50) - 5
    (block,) = regression({"target": target, "prediction": target + rng.normal(size=50), "id": np.arange(50)})
    html = str(render(block, Site("a")))
    assert len(marks(html)) == 100  # in two charts
    assert "Predictions of 50 test examples" in html
    assert regression({"target": target, "prediction": target[:, None]}) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_prediction_that_is_not_finite_leaves_the_others(bad):
    """It deleted the whole section."""
    target = np.arange(50.0)
    prediction = target + 0.5
    prediction[7] = bad
    (block,) = regression({"target": target, "prediction": prediction, "id": np.arange(50) + 100})
    html = str(render(block, Site("a")))
    assert len(marks(html)) == 98
    assert "1 of 50 are not finite, and not drawn" in html
    assert block["blocks"][-1]["blocks"][0]["body"][0][:3] == ["107", "7", f"{bad:.5g}"]
    (none,) = regression({"target": target, "prediction": np.full(50, bad)})
    assert len(marks(str(render(none, Site("a"))))) == 0
