"""Each `Norm` is called alike, and does what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.nn.norm import batch_norm, group_norm, no_norm

NORMS = [batch_norm, group_norm, no_norm]


def images(scale=3.0, offset=5.0):
    return offset + scale * jax.random.normal(jax.random.key(0), (16, 4, 4, 8))


def test_batch_norm_standardises_over_batch_and_space():
    y, _ = batch_norm(True, "norm").init_with_output(jax.random.key(0), images())
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-3)


def test_batch_norm_evaluates_by_running_statistics():
    x = images()
    variables = batch_norm(True, "norm").init(jax.random.key(0), x)
    for _ in range(60):
        _, updated = batch_norm(True, "norm").apply(variables, x, mutable=["batch_stats"])
        variables = {**variables, **updated}
    one = batch_norm(False, "norm").apply(variables, x[:1])
    whole, _ = batch_norm(True, "norm").apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(one, whole[:1], atol=0.02)  # 0.9**60 of the first values, 0 and 1, is left


def test_group_norm_standardises_each_example():
    y, _ = group_norm(True, "norm").init_with_output(jax.random.key(0), images())
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-5)


@pytest.mark.parametrize("norm", [group_norm, no_norm])
def test_training_makes_no_difference_without_batch_statistics(norm):
    x = images()
    variables = norm(True, "norm").init(jax.random.key(0), x)
    np.testing.assert_array_equal(norm(True, "norm").apply(variables, x), norm(False, "norm").apply(variables, x))


@pytest.mark.parametrize("norm", [batch_norm, group_norm])
def test_scale_init_of_zero_silences(norm):
    layer = norm(True, "norm", scale_init=jax.nn.initializers.zeros)
    y, _ = layer.init_with_output(jax.random.key(0), images())
    assert not jnp.any(y)


def test_names_are_kept():
    assert [norm(True, "norm7").name for norm in NORMS] == ["norm7"] * 3
