"""The frozen first layer and the initial kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn

from deeplab.models.vision.convolutional.cifarnet import partly_identity, patch_cosines


def test_patches_are_scipys_cosine_transform():
    image = np.random.default_rng(0).normal(size=(1, 4, 5, 3)).astype(np.float32)
    ours = patch_cosines(jnp.asarray(image))
    assert ours.shape == (1, 3, 4, 12)
    for y in range(3):
        for x in range(4):
            patch = dctn(image[0, y : y + 2, x : x + 2], norm="ortho")  # [2, 2, 3], all three axes
            np.testing.assert_allclose(ours[0, y, x], patch.reshape(-1), atol=1e-5)


@pytest.mark.parametrize(("given", "made"), [(3, 5), (5, 3)])
def test_the_first_channels_are_handed_on(given, made):
    kernel = partly_identity(jax.random.key(0), (3, 3, given, made))
    x = jax.random.normal(jax.random.key(1), (1, 6, 6, given))
    out = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    same = min(given, made)
    np.testing.assert_allclose(out[..., :same], x[..., :same], atol=1e-6)
    if made > given:
        assert np.abs(kernel[..., same:]).max() <= (9 * given) ** -0.5  # PyTorch's bound
        assert np.std(kernel[..., same:]) == pytest.approx((27 * given) ** -0.5, rel=0.2)
