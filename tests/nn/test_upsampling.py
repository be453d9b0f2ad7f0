"""Resizing by cubic convolution is that of PyTorch."""

import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.nn.upsampling import bicubic

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (9, 16), (3, 2), (1, 4)])
def test_it_is_torchs(size, antialias):
    x = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    given = torch.tensor(x.transpose(2, 0, 1))[None]
    expected = torch.nn.functional.interpolate(given, size=size, mode="bicubic", antialias=antialias)[0].numpy()
    np.testing.assert_allclose(bicubic(jnp.asarray(x), size, antialias), expected.transpose(1, 2, 0), atol=1e-5)
