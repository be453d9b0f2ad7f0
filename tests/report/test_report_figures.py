"""Line charts: thinning of many points, positions of labels, and unusual values."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deeplab.report import figures
from deeplab.report.figures import SERIES, TRAIN, Line


def line(values, label="test", color=SERIES[0], **more):
    return Line(label, np.arange(1, len(values) + 1), np.asarray(values, float), color, **more)


@given(hnp.arrays(np.float64, st.integers(0, 2000), elements=st.floats(-1e6, 1e6) | st.just(np.nan) | st.just(np.inf)))
def test_thinning_keeps_extremes_and_mean(values):
    steps, mean, low, high = figures.thinned(np.arange(len(values)), values)
    finite = values[np.isfinite(values)]
    assert len(mean) <= figures.MAX_POINTS
    assert np.all(low <= mean + 1e-6)
    assert np.all(mean <= high + 1e-6)
    assert np.all(np.diff(steps) > 0)
    if len(finite):
        assert (low.min(), high.max()) == (finite.min(), finite.max())


@given(st.integers(1, 50), st.integers(1, 10), st.floats(-5, 5))
def test_smoothing_keeps_a_constant(size, window, value):
    np.testing.assert_allclose(figures.smoothed(np.full(size, value), min(window, size)), value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "lines",
    [
        [], [line([])], [line([1.0])], [line([0.0, 0.0])], [line([np.nan] * 3)], [line([np.inf, 1, -np.inf])],
        [line([1e-30, 1e30])], [line([5.0] * 50)], [line(range(100), color=TRAIN)], [line(range(5000), faint=True)],
        [line([1, 2], label="$\\frac{$ <&\u6f22\u0000")],
    ],
)  # fmt: skip
def test_every_curve_can_be_drawn(lines):
    for share in (True, False):
        svg = figures.curves(lines, share=share)
        assert 'aria-label="&quot;&lt;x&gt;"' in figures.inline(svg, '"<x>', "f")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("step", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("options", [{}, {"counts": False}, {"counts": False, "span": "all"}])
def test_a_chart_of_one_point_has_room_around_it(step, options):
    """Matplotlib warns of equal ends of an axis."""
    assert "<svg" in figures.curves([Line("a", np.array([step]), np.array([0.5]), SERIES[0])], **options)


def test_the_past_of_a_forecast_is_inside_the_axes():
    """Steps before 0 are drawn, and the axis still begins at 0 where there are none."""
    past, future = (Line(name, np.arange(6) - begin, np.arange(6.0), SERIES[0]) for name, begin in (("a", 6), ("b", 0)))
    ticks = [re.findall(r">([-\u2212]?\d+)</text>", figures.curves(lines))[0] for lines in ([past, future], [future])]
    assert ticks == ["-5", "0"]


def test_labels_of_equal_ends_stand_apart():
    lines = [line([3.0, 2.0, 1.0], label=f"end-{i}", color=SERIES[i]) for i in range(8)]
    svg = figures.curves(lines)
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>end-\d', svg))
    assert len(heights) == 8
    assert min(np.diff(heights)) > 9  # the labels' font is 9 units high


def test_inlined_figures_share_no_id_and_no_color_is_fixed():
    svg = figures.curves([line([1.0, 2.0, np.nan]), line([2.0, 1.0], label="train", color=TRAIN)])
    first, second = (figures.inline(svg, "a", name) for name in "ab")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    used = set(re.findall(r"url\(#([^)]+)\)", first)) | set(re.findall(r'href="#([^"]+)"', first))
    assert used <= ids[0]
    assert not re.findall(r"#[0-9a-f]{6}\b", first)
