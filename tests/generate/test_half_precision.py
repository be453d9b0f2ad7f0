"""Networks of diffusion models tell times apart in half precision, too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab import generate as g
from deeplab.core.precision import PRECISIONS
from deeplab.core.runtime import Runtime
from deeplab.generate.paths.inpainting import inpainted
from deeplab.models.generative import dit, unet
from deeplab.train.bind import BoundApply

X = jnp.ones((2, 8, 8, 1))


@pytest.mark.parametrize(
    "model",
    [
        dit.DiT(**dit.VARIANTS["test"]),
        pytest.param(unet.DiffusionUNet(**unet.VARIANTS["test"]), marks=pytest.mark.slow),
    ],
)
def test_times_are_told_apart(model):
    """0.5 and 0.501 are one number in bfloat16, and half of a turn of the fastest wave apart."""
    times = jnp.array([0.5, 0.501])
    shapes = jax.eval_shape(model.init, jax.random.key(0), X, times)["params"]
    params = jax.tree.map(lambda s: 0.3 * jax.random.normal(jax.random.key(s.size), s.shape), shapes)

    @jax.jit
    def bound(params, precision_times):
        half = BoundApply(model, params, {}, jnp.arange(2), Runtime(precision=PRECISIONS["bf16"]).precision)
        return half(X, precision_times)[0], model.apply({"params": params}, X, precision_times)

    found, expected = map(np.asarray, bound(params, times))
    apart = np.abs(expected[1] - expected[0]).max()
    assert np.abs(found[1] - found[0]).max() > 0.5 * apart > 0
    assert np.abs(found - expected).max() < 0.2 * np.abs(expected).max()


MEAN, KEY = (lambda x, t: jnp.full_like(x, 0.5)), jax.random.key(0)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: g.ddim(MEAN, g.linear, x, g.even(4)),
        lambda x: g.ddpm(MEAN, g.linear, x, g.even(4), KEY),
        lambda x: g.edm_heun(MEAN, x, g.karras(4)),
        lambda x: g.integrate(lambda x, t: x - 0.5, x, g.even(4), g.heun_step),
        lambda x: inpainted(MEAN, g.linear, x, jnp.zeros(()), g.even(4), KEY, again=2),
    ],
    ids=["ddim", "ddpm", "edm", "ode", "inpainted"],
)
def test_samplers_keep_the_type_of_their_start(draw):
    start = jax.random.normal(KEY, (2, 8))
    found = draw(start.astype(jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), draw(start), atol=0.05)
