"""CNN: sizes, and the order of pooling and activation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.vision.convolutional.cnn import CNN, VARIANTS
from deeplab.nn.norm import batch_norm


def test_parameters_of_the_flax_example():
    """Same layers as the example's: 320 + 18,496 + 803,072 + 2,570."""
    shapes = jax.eval_shape(CNN(num_classes=10, **VARIANTS["32-64"]).init, jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 824_458


@pytest.mark.parametrize("side", [8, 9, 28])
def test_odd_sides_are_halved_and_rounded_down(side):
    shapes = jax.eval_shape(CNN(num_classes=10, widths=(4, 6)).init, jax.random.key(0), jnp.ones((1, side, side, 1)))
    assert shapes["params"]["hidden"]["kernel"].shape[0] == (side // 4) ** 2 * 6


def test_activation_and_pooling_commute():
    """The usual order (activation, pooling) gives the same with a rectifier; ours computes a quarter as many."""
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 1))
    model = CNN(num_classes=3, widths=(5,), hidden=4)
    logits, variables = model.init_with_output(jax.random.key(1), x)
    p = variables["params"]
    y = jax.lax.conv_general_dilated(
        x, p["conv1"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y = jax.nn.relu(y + p["conv1"]["bias"].reshape(1, 1, 1, -1))
    y = y.reshape(2, 2, 2, 2, 2, 5).max((2, 4)).reshape(2, -1)  # [B, H', 2, W', 2, C]
    y = jax.nn.relu(y @ p["hidden"]["kernel"] + p["hidden"]["bias"].reshape(1, -1))
    y = y @ p["head"]["kernel"] + p["head"]["bias"].reshape(1, -1)
    np.testing.assert_allclose(logits, y, rtol=1e-4, atol=1e-5)


def test_norm_is_an_argument():
    model = CNN(num_classes=3, widths=(4,), norm=batch_norm)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    assert set(variables) == {"params", "batch_stats"}
