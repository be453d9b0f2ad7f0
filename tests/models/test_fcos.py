"""FCOS: where its places are, and what a trunk must have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.models.mlp import MLP
from deeplab.models.vision.convolutional.efficientnet import VARIANTS as SIZES
from deeplab.models.vision.convolutional.efficientnet import EfficientNet
from deeplab.models.vision.detection import fcos
from tests.models.members.images import detector


def outputs(model, height, width):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, height, width, 3)))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), variables)
    return np.asarray(jax.jit(model.apply)(zeros, jnp.zeros((1, height, width, 3)))[0])


def test_places_are_the_centers_of_the_strides_of_their_levels():
    """Of sides that no stride divides, too; a network of zeros says one stride to each side, and even odds."""
    told = outputs(detector(levels=4, **fcos.VARIANTS["test"]), 20, 36)
    expected = []
    for stride, rows, columns in ((8, 3, 5), (16, 2, 3), (32, 1, 2), (64, 1, 1)):
        expected += [((j + 0.5) * stride, (i + 0.5) * stride, stride) for i in range(rows) for j in range(columns)]
    np.testing.assert_array_equal(told[:, :3], expected)
    np.testing.assert_array_equal(told[:, 3:7], told[:, 2:3] * np.ones((1, 4)))
    np.testing.assert_array_equal(told[:, 7:], 0)


@pytest.mark.slow
def test_the_classes_are_rare_at_first():
    model = detector(**fcos.VARIANTS["test"])
    told = jax.jit(model.init_with_output)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))[0]
    np.testing.assert_allclose(jax.nn.sigmoid(told[..., 8:]), fcos.PRIOR, rtol=0.3)


def test_a_coarser_map_reaches_the_finer_ones():
    """The pyramid goes down: what only the coarsest map shows changes the finest level."""
    pyramid = fcos.Pyramid(8, 3)
    maps = [jnp.ones((1, size, size, 4)) for size in (4, 2)]
    variables = jax.jit(pyramid.init)(jax.random.key(0), maps)
    before, after = (pyramid.apply(variables, [maps[0], x * maps[1]])[0] for x in (1.0, 2.0))
    assert not np.allclose(before, after)


def test_a_network_of_images_is_a_trunk():
    model = fcos.FCOS(EfficientNet(**SIZES["test"]), 3, levels=3, **fcos.VARIANTS["test"])
    shapes = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((2, 64, 96, 3)))
    assert shapes[0].shape == (2, 8 * 12 + 4 * 6 + 2 * 3, 11)
    assert set(shapes[1]["params"]["trunk"]) == {"trunk"}  # its own head is not computed


@pytest.mark.parametrize(
    ("trunk", "skip", "told"), [(MLP(3), 1, "the trunk is a MLP"), (EfficientNet(**SIZES["test"]), 4, "leaves none")]
)
def test_a_trunk_without_maps_is_told(trunk, skip, told):
    model = fcos.FCOS(trunk, 3, skip=skip, **fcos.VARIANTS["test"])
    with pytest.raises(UserError, match=told):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
