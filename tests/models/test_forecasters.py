"""What each forecaster promises of its own, beside the laws that all models keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models import TCN, DLinear, LSTMForecaster, PatchTST
from deeplab.models.series import patchtst
from deeplab.nn.series import as_is, moving_average

CHANNELWISE = {
    "linear": DLinear(horizon=2, window=3),
    "lstm": LSTMForecaster(horizon=2, width=4, segment=4),
    "transformer": PatchTST(horizon=2, **patchtst.VARIANTS["test"]),
}


def made(model, length=12):
    history = jax.random.normal(jax.random.key(1), (2, length, 3))
    return jax.jit(model.init)(jax.random.key(0), history), history


@pytest.mark.parametrize("name", CHANNELWISE)
def test_a_channels_forecast_depends_on_that_channel_alone(name):
    model = CHANNELWISE[name]
    variables, history = made(model)
    apply = jax.jit(model.apply)
    changed = apply(variables, history.at[:, :, 1].set(jnp.cos(jnp.arange(12.0))[None]))
    np.testing.assert_allclose(changed[:, :, ::2], apply(variables, history)[:, :, ::2], atol=1e-5)
    assert not np.allclose(changed[:, :, 1], apply(variables, history)[:, :, 1], atol=1e-3)


def test_the_linear_model_is_its_decomposition():
    model = DLinear(horizon=2, window=5, normalize=as_is)
    variables, history = made(model)
    keys = jax.random.split(jax.random.key(2), 3)
    params = {
        name: jax.random.normal(k, p.shape) for k, (name, p) in zip(keys, variables["params"].items(), strict=True)
    }
    x = np.asarray(history.transpose(0, 2, 1))
    trend = x @ moving_average(12, 5)
    expected = trend @ params["trend"] + (x - trend) @ params["seasonal"] + params["bias"][None, None]
    out = model.apply({"params": params}, history)
    np.testing.assert_allclose(out[..., 0], expected.transpose(0, 2, 1), atol=1e-4)


def test_the_first_linear_forecast_is_the_mean_of_the_past():
    model = DLinear(horizon=2, normalize=as_is)
    variables, history = made(model)
    out = model.apply(variables, history)
    np.testing.assert_allclose(out[:, 0, :, 0], history.mean(1), atol=1e-5)


def test_the_tcn_sees_as_far_back_as_it_says():
    """1 + 2 (K - 1) (2^n - 1) = 13 times with K = 3 and n = 2."""
    model = TCN(horizon=2, width=8, num_blocks=2, normalize=as_is)
    variables, history = made(model, length=20)
    gradient = jax.jit(jax.grad(lambda x: model.apply(variables, x).sum()))(history)[0]
    seen = np.flatnonzero(np.abs(gradient).max(-1))
    assert seen.min() == 20 - 13
    assert seen.max() == 19


def test_a_history_that_is_too_short():
    with pytest.raises(ValueError, match="a history of 12 times is shorter than a segment of 24"):
        made(LSTMForecaster(horizon=2))
