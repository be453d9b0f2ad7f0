"""A power law is recovered from its own points, and lies in its band."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.report.sweeps import power_law

N = np.array([500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 25_000.0])


@settings(max_examples=15, deadline=None)
@given(floor=st.floats(0, 0.5), scale=st.floats(1, 30), exponent=st.floats(0.2, 0.9))
def test_a_law_is_found_again(floor, scale, exponent):
    law = power_law.PowerLaw(floor, scale, exponent)
    found = power_law.fit(N, law(N))
    np.testing.assert_allclose(found(N), law(N), rtol=1e-4)
    assert found(50_000.0) == pytest.approx(law(50_000.0), rel=0.01)


def test_sizes_and_losses_may_be_in_other_units():
    law = power_law.fit(N, 0.2 + 5 * N**-0.4)
    thousands = power_law.fit(N / 1000, 0.2 + 5 * N**-0.4)
    assert thousands.exponent == pytest.approx(law.exponent, rel=1e-3)
    assert thousands.scale * 1000**0.4 == pytest.approx(law.scale, rel=1e-2)
    doubled = power_law.fit(N, 2 * (0.2 + 5 * N**-0.4))
    assert doubled.floor == pytest.approx(2 * law.floor, rel=1e-3)


def test_the_band_holds_the_law_and_narrows_with_the_noise():
    law, rng, at = power_law.PowerLaw(0.2, 5, 0.4), np.random.default_rng(0), np.array([500.0, 50_000.0])
    widths = []
    for noise in (0.03, 0.003):
        losses = law(N) * np.exp(noise * rng.standard_normal((4, len(N))))
        low, high = power_law.band(N, losses, at, draws=40)
        assert np.all(low < high)
        assert np.all((low < law(at) * 1.05) & (law(at) * 0.95 < high))
        widths.append(high - low)
    assert np.all(widths[0] > 3 * widths[1])


@pytest.mark.parametrize("loss", [[1.0, 0.5, 0.3], [1.0, 0.5, 0.0, 0.2], [1.0, np.nan, 0.5, 0.4]])
def test_losses_that_make_no_law_are_an_error(loss):
    with pytest.raises(ValueError, match="4 or more"):
        power_law.fit(N[: len(loss)], np.array(loss))
