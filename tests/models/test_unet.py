"""Sizes that are no multiples, and a scale of its own for every level."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deeplab.models import UNet
from deeplab.models.vision.segmentation.unet import pad_to_multiple
from deeplab.nn.upsampling import Upsampling


def test_upsampling_is_a_transposed_convolution():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    layer = Upsampling(6)
    params = layer.init(jax.random.key(1), x)["params"]["squares"]
    kernel = params["kernel"].reshape(5, 2, 2, 6).transpose(1, 2, 0, 3)  # C (2 2 D) -> 2 2 C D
    theirs = nn.ConvTranspose(6, (2, 2), (2, 2), transpose_kernel=False)
    # Flax correlates: its kernel is mirrored in space.
    expected = theirs.apply({"params": {"kernel": kernel[::-1, ::-1], "bias": jnp.zeros(6)}}, x)
    np.testing.assert_allclose(layer.apply({"params": {"squares": params}}, x), expected, atol=1e-5)


def test_padding_repeats_the_edge():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    out = np.asarray(pad_to_multiple(x, 4)[0, :, :, 0])
    np.testing.assert_array_equal(out, [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]])
    assert pad_to_multiple(x, 1).shape == x.shape


def test_a_large_image_is_what_its_padded_self_is():
    """So that what is cut from the padded logits is in its place."""
    model = UNet(num_classes=2, width=2, depth=2)
    x = jax.random.normal(jax.random.key(0), (1, 10, 7, 1))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    apply = jax.jit(model.apply)
    whole = apply(variables, pad_to_multiple(x, 4))
    np.testing.assert_allclose(apply(variables, x), whole[:, :10, :7], atol=1e-6)


def test_the_paper_has_31_million_parameters():
    """Figure 1; with norms in place of biases."""
    shapes = jax.eval_shape(UNet(num_classes=2).init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    assert 30.5e6 < sum(x.size for x in jax.tree.leaves(shapes["params"])) < 31.5e6
