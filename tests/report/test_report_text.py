"""Escaping of given text, and formats of numbers."""

import html
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab.core.blocks import wilson
from deeplab.report.text import duration, join, metric, tag


@given(st.text(), st.text())
def test_no_text_becomes_markup(child, attribute):
    made = tag("p", child, title=attribute)
    start, _, rest = made.partition(">")
    assert not set("<>") & set(start[1:])
    assert start.count('"') == 2
    assert html.unescape(start[len('<p title="') : -1]) == html.unescape(html.escape(attribute))
    inner = rest.removesuffix("</p>")
    assert "<" not in inner
    assert html.unescape(inner) == html.unescape(html.escape(child))


def test_html_is_escaped_once_only():
    assert tag("p", join("<", tag("b", "&"))) == "<p>&lt;<b>&amp;</b></p>"


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wilson_holds_the_share(total, share):
    right = round(share * total)
    low, high = wilson(right, total)
    assert -1e-9 <= low <= right / total + 1e-9
    assert right / total - 1e-9 <= high <= 1 + 1e-9
    assert high - low <= 2 * 1.96 * math.sqrt(0.25 / total) + 1e-9


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("accuracy", 1.0, "100.00 %"), ("loss", 1.77, "1.770"), ("loss", math.nan, "nan"), ("loss", 12346.0, "1.235e+04")],
)
def test_metric(name, value, shown):
    assert metric(name, value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(59.96, "1 min 0 s"), (3599.7, "1 h 0 min"), (math.nan, "unknown")])
def test_duration_carries(seconds, shown):
    assert duration(seconds) == shown
