"""Normalizations are undone exactly; the moving average is its definition."""

import jax
import numpy as np
import pytest

from deeplab.nn.series import as_is, by_channel, by_instance, from_last, moving_average


@pytest.mark.parametrize("normalize", [as_is, from_last, by_instance])
def test_restoring_gives_back_what_was_normalised(normalize):
    history = 5 + 3 * jax.random.normal(jax.random.key(0), (2, 9, 3))
    x, restore = normalize(history)
    np.testing.assert_allclose(restore(x[..., None])[..., 0], history, atol=1e-5)


@pytest.mark.parametrize("normalize", [from_last, by_instance])
def test_a_shifted_past_is_the_same_past(normalize):
    history = jax.random.normal(jax.random.key(0), (2, 9, 3))
    np.testing.assert_allclose(normalize(history + 7)[0], normalize(history)[0], atol=1e-4)
    assert np.isfinite(normalize(history * 0 + 7)[0]).all()  # a channel that stands still


def test_moving_average():
    x = np.random.default_rng(0).normal(size=10)
    padded = np.pad(x, 2, mode="edge")
    expected = [padded[i : i + 5].mean() for i in range(10)]
    np.testing.assert_allclose(x @ moving_average(10, 5), expected, atol=1e-12)
    with pytest.raises(ValueError, match="the window of a moving average is 4; expected a positive odd number"):
        moving_average(10, 4)


def test_by_channel_keeps_times_and_outputs_apart():
    made = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 8)
    out = by_channel(made, horizon=4, outputs=2)
    assert out.shape == (2, 4, 3, 2)
    assert out[1, 2, 0, 1] == made[1, 0, 2 * 2 + 1]
