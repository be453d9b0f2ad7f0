"""Windows of a map are cut and joined without a change, and a place attends within its own window alone."""

import jax
import numpy as np
import pytest

from deeplab.nn.attention.windows import WindowAttention, joined, windows


def test_windows_are_joined_again():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 3))
    cut = windows(x, (3, 2))
    np.testing.assert_array_equal(cut[1, 3], x[1, 3:, 2:].reshape(6, 3))
    np.testing.assert_array_equal(joined(cut, (3, 2), (6, 4)), x)


@pytest.mark.parametrize("shifted", [False, True])
def test_a_place_attends_within_its_window(shifted):
    """Those of a shifted map begin half a window later; halves at the two edges know nothing of each other."""
    H, W, window = 6, 4, (2, 4)
    layer = WindowAttention(num_heads=1, window=window, shifted=shifted)
    x = jax.random.normal(jax.random.key(0), (1, H, W, 2))
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    slopes = jax.jit(jax.jacobian(lambda x: layer.apply(variables, x[None])[0].sum(-1)))(x[0])  # H W H W C
    shift = 1 if shifted else 0  # of the rows: one window has all columns
    window_of = (np.arange(H) + shift) // 2
    same = np.broadcast_to((window_of[:, None] == window_of[None])[:, None, :, None], (H, W, H, W))
    np.testing.assert_array_equal(np.any(slopes != 0, axis=-1), same)
