"""Labels of logarithmic axes: they never overlap, and there are enough of them to read the scale."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.report import figures
from deeplab.report.ticks import log_ticks


def boxes(svg, axis):
    """Ends of the labels of an axis along it, as Matplotlib's own font draws them, in points."""
    from matplotlib.textpath import TextPath

    found = []
    for part in re.findall(rf'<g id="{axis}tick_\d+">(.*?)</text>', svg, re.DOTALL):
        where, text = re.search(r"<text ([^>]*)>([^<]*)$", part).groups()
        x, y = (float(re.search(rf' {name}="([-\d.]+)"', f" {where}")[1]) for name in "xy")
        box = TextPath((0, 0), text, size=8.5).get_extents()
        middle, size = (x, box.width) if axis == "x" else (y, 8.5)
        found.append((middle - size / 2, middle + size / 2))
    return sorted(found)


def apart(svg, axis):
    return [b[0] - a[1] for a, b in itertools.pairwise(boxes(svg, axis))]


@pytest.mark.parametrize(
    ("low", "high"),
    [(1e-3, 1e-1), (1e-4, 1e-1), (1e-5, 1), (3e-6, 7e2), (1e-12, 1e6), (1e-45, 1e30), (2e-3, 4e-3), (0.99, 1.01),
     (8, 128), (1, 1e6), (15_000, 6e7)],
)  # fmt: skip
def test_labels_of_a_figure_do_not_overlap(low, high):
    x = np.geomspace(low, high, 7)
    svg = figures.curves([figures.Line("", x, x, figures.SERIES[0])], log_x=True, log=True, counts=False)
    for axis in "xy":
        assert len(boxes(svg, axis)) >= 2
        assert min(apart(svg, axis)) > 1


ends = st.floats(-40, 40).flatmap(lambda a: st.floats(0.05, 60).map(lambda d: (10.0**a, 10.0 ** (a + d))))


@settings(max_examples=300, deadline=None)
@given(ends, st.floats(100, 2000), st.floats(3, 9))
def test_labels_do_not_touch_at_any_width(limits, length, size):
    low, high = limits
    extents = {tick: size * len(f"{tick:g}") for tick in log_ticks(low, high, lambda x: size * len(f"{x:g}"), length)}
    ticks = list(extents)
    at = length * np.log(np.array(ticks) / low) / np.log(high / low)
    assert ticks == sorted(ticks)
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in ticks)
    assert all(b - a >= (extents[s] + extents[t]) / 2 - 1e-6
               for (a, s), (b, t) in itertools.pairwise(zip(at, ticks, strict=True)))  # fmt: skip
    assert len(ticks) >= (2 if length > 400 else 1)
