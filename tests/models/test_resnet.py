"""ResNet: the blocks are their own equations, and start as they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.vision.convolutional.resnet import (
    BasicBlock,
    BottleneckBlock,
    CifarStem,
    ImageNetStem,
    ResNet,
    StridedStem,
)
from deeplab.nn.norm import batch_norm


def convolve(x, kernel, stride, pad):
    """The definition: y[b,i,j,d] = sum over u, v, c of x[b, i*stride+u-pad, j*stride+v-pad, c] kernel[u,v,c,d]."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    size = len(kernel)
    rows = range(0, x.shape[1] - size + 1, stride)
    columns = range(0, x.shape[2] - size + 1, stride)
    patches = [[np.einsum("buvc,uvcd->bd", x[:, i : i + size, j : j + size], kernel) for j in columns] for i in rows]
    return np.stack([np.stack(row, 1) for row in patches], 1)


def normalize(x, params):
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(var + 1e-5) * np.asarray(params["scale"]) + np.asarray(params["bias"])


@pytest.mark.parametrize("stride", [1, 2])
def test_basic_block_is_its_equation(stride):
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, 5, 6, 4)))
    block = BasicBlock(8, stride=stride)
    variables = jax.jit(block.init)(jax.random.key(1), x)
    # A scale of zero would hide the branch.
    noise = np.random.default_rng(2)
    variables = jax.tree.map(lambda a: a + 0.3 * noise.standard_normal(a.shape).astype("float32"), variables)
    p = jax.tree.map(np.asarray, variables["params"])
    y = np.maximum(normalize(convolve(x, p["conv1"]["kernel"], stride, 1), p["norm1"]), 0)
    y = normalize(convolve(y, p["conv2"]["kernel"], 1, 1), p["norm2"])
    shortcut = normalize(convolve(x, p["projection"]["kernel"], stride, 0), p["projection_norm"])
    ours, _ = jax.jit(lambda v: block.apply(v, x, train=True, mutable=["batch_stats"]))(variables)
    np.testing.assert_allclose(ours, np.maximum(y + shortcut, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("block", "channels"), [(BasicBlock, 8), (BottleneckBlock, 32)])
def test_a_block_starts_as_its_shortcut(block, channels):
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 4, 4, channels)))
    y, variables = jax.jit(lambda key: block(8).init_with_output(key, x, train=True))(jax.random.key(1))
    np.testing.assert_array_equal(y, x)
    assert "projection" not in variables["params"]


@pytest.mark.parametrize(("stem", "side"), [(CifarStem, 32), (StridedStem, 16), (ImageNetStem, 8)])
def test_sides_after_the_stem(stem, side):
    y, _ = jax.eval_shape(stem(4).init_with_output, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    assert y.shape == (1, side, side, 4)


def test_a_new_norm_is_an_argument():
    made = []

    def norm(train, name, **init):
        made.append(name)
        return batch_norm(train, name, **init)

    model = ResNet(num_classes=5, stage_sizes=(1,), width=4, norm=norm)
    jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    assert made == ["norm", "norm1", "norm2"]
