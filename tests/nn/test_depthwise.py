"""Depthwise convolutions of images are XLA's, with all their derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import deeplab as dl
from deeplab.nn.depthwise import conv_general_dilated
from deeplab.nn.parts.convolution import ConvNorm

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
CASES = [
    ((7, 8), (3, 3), 1, "SAME", 1),
    ((7, 8), (3, 3), 2, "SAME", 1),
    ((8, 9), (5, 5), 2, ((2, 2), (2, 2)), 1),
    ((7, 9), (5, 3), 3, "VALID", 1),
    ((2, 3), (7, 7), 1, ((3, 3), (3, 3)), 1),
    ((6, 6), (2, 2), 2, ((0, 1), (1, 0)), 1),
    ((9, 8), (3, 3), 1, "SAME", 2),
    ((8, 8), (3, 3), 2, ((-1, 2), (3, -1)), 3),
]


def _arrays(size=(7, 8), kernel=(3, 3), dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return jnp.array(rng.normal(size=(4, *size, 6)), dtype), jnp.array(rng.normal(size=(*kernel, 1, 6)), dtype)


def _both(stride=2, padding="SAME", dilation=1):
    def of(convolution):
        return lambda x, kernel: convolution(
            x,
            kernel,
            (stride, stride),
            padding,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=DIMENSIONS,
            feature_group_count=x.shape[-1],
        )

    return of(conv_general_dilated), of(jax.lax.conv_general_dilated)


def _equal(found, expected, tolerance=2e-5):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        scale = float(jnp.abs(theirs).max())
        np.testing.assert_allclose(*(np.asarray(y, np.float32) for y in (ours, theirs)), atol=tolerance * scale)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "dilation"), CASES)
def test_values_and_both_gradients(size, kernel, stride, padding, dilation):
    arrays = _arrays(size, kernel)

    def all_of(function):
        out, pull = jax.vjp(function, *arrays)
        return out, pull(jnp.cos(out))

    ours, theirs = _both(stride, padding, dilation)
    _equal(jax.jit(lambda: all_of(ours))(), jax.jit(lambda: all_of(theirs))())


def test_forward_and_second_derivatives():
    arrays, tangents = _arrays(), jax.tree.map(jnp.sin, _arrays())

    def all_of(function):
        def gradients(x, kernel):
            return jax.grad(lambda x, kernel: jnp.sum(jnp.sin(function(x, kernel))), (0, 1))(x, kernel)

        return jax.jvp(function, arrays, tangents), jax.jvp(gradients, arrays, tangents)

    ours, theirs = _both()
    _equal(jax.jit(lambda: all_of(ours))(), jax.jit(lambda: all_of(theirs))(), 1e-4)


def test_half_precision_is_summed_in_float32():
    x, kernel = _arrays(kernel=(5, 5), dtype=jnp.bfloat16)
    ours, theirs = _both()
    exact = theirs(x.astype(jnp.float32), kernel.astype(jnp.float32))
    out = jax.jit(ours)(x, kernel)
    assert jnp.array_equal(out, exact.astype(jnp.bfloat16))
    ours, theirs = (jax.jit(lambda out, f=f: jax.vjp(f, x, kernel)[1](out))(out) for f in (ours, theirs))
    _equal(ours, theirs, 1e-2)


def test_channels_first_are_left_to_xla():
    x, kernel = _arrays((6, 6), (6, 6))
    ours, theirs = (
        convolution(x, kernel.reshape(6, 1, 6, 6), (1, 1), "SAME", feature_group_count=6)
        for convolution in (conv_general_dilated, jax.lax.conv_general_dilated)
    )
    assert jnp.array_equal(ours, theirs)


def test_members_steps_and_shards():
    """Under `vmap` over members, inside a scan, and with the examples on several devices."""
    x, kernel = _arrays()
    kernels = jnp.stack([kernel, -2 * kernel])

    def all_of(function):
        def step(kernel, x):
            gradient = jax.grad(lambda kernel: jnp.sum(jnp.sin(function(x, kernel))))(kernel)
            return kernel - gradient, function(x, kernel)

        def of_member(kernel, x):
            return jax.lax.scan(step, kernel, jnp.stack([x, x + 1]))

        return jax.jit(jax.vmap(of_member, (0, None)))

    ours, theirs = map(all_of, _both())
    mesh = dl.scale.make_mesh("data=2")
    sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
    _equal(ours(kernels, sharded), theirs(kernels, x), 1e-4)
    _equal(ours(kernels, x), theirs(kernels, x), 1e-4)


@pytest.mark.parametrize(("side", "left"), [(3, False), (7, False), (12, True)])
def test_on_a_cpu_convolutions_of_large_kernels_alone_are_left_in_depthwise_layers(side, left):
    layer, x = ConvNorm(6, side, groups=6), jnp.ones((1, 12, 12, 6))
    assert ("conv_general_dilated" in str(jax.make_jaxpr(layer.init_with_output)(jax.random.key(0), x))) == left


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_other_convolutions_are_as_they_were(groups):
    x = _arrays()[0]
    old = nn.Conv(12, (3, 3), feature_group_count=groups)
    new = nn.Conv(12, (3, 3), feature_group_count=groups, conv_general_dilated=conv_general_dilated)
    variables = jax.jit(old.init)(jax.random.key(0), x)
    assert jnp.array_equal(old.apply(variables, x), new.apply(variables, x))
