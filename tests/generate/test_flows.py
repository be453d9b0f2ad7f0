"""Normalizing flows: the determinant is the Jacobian's, the inverse is one, and the mass is 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from deeplab.generate import NormalizingFlow, bits_per_dimension
from deeplab.generate.normalizing import to_logits
from deeplab.models.generative import flows
from tests.generate.members import Formula, batch_of
from tests.precision import float64

CASES = {
    "real_nvp": (lambda: flows.real_nvp(3, num_layers=3, width=8), (3,)),
    "maf": (lambda: flows.maf(num_layers=2, width=9), (4,)),
    "image": (lambda: flows.image_real_nvp(2, width=4, blocks=1), (4, 2, 2)),
    "flat_maf": (lambda: flows.Flow((flows.Flattened((2, 2, 1)), *flows.maf(1, 8).layers)), (2, 2, 1)),
}


def made(model, shape, size=0.5):
    """Random parameters of a flow, none of which is nearly zero, in float64."""
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape))), np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(size * rng.normal(size=leaf.shape)), shapes)


@pytest.mark.parametrize(
    "name", ["real_nvp", "maf", *(pytest.param(n, marks=pytest.mark.slow) for n in list(CASES)[2:])]
)
def test_the_determinant_and_the_inverse_are_exact(name):
    with float64():
        make, shape = CASES[name]
        model, x = make(), np.random.default_rng(2).normal(size=(5, *shape))
        params = made(model, shape)

        @jax.jit
        def run(x):
            z, log_det = model.apply(params, x)
            jacobian = jax.vmap(jax.jacfwd(lambda one: model.apply(params, one[None])[0].ravel()))(x)
            return z, log_det, jacobian, model.apply(params, z, method="invert")

        z, log_det, jacobian, back = map(np.asarray, run(x))
        assert np.abs(z.reshape(x.shape) - x).max() > 0.1
        expected = np.linalg.slogdet(jacobian.reshape(5, z[0].size, x[0].size))[1]
        np.testing.assert_allclose(log_det, expected, rtol=0, atol=1e-8)
        np.testing.assert_allclose(back, x, rtol=0, atol=1e-8)


@pytest.mark.parametrize("make", [lambda: flows.real_nvp(2, 3, 8), lambda: flows.maf(2, 8)], ids=["real_nvp", "maf"])
def test_the_mass_in_two_dimensions_is_one(make):
    with float64():
        model = make()
        params = made(model, (2,), size=0.3)
        task = NormalizingFlow((2,), levels=None)
        density = task.generative(Formula(lambda x: model.apply(params, x))).log_prob
        side = np.linspace(-12, 12, 601)
        grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        mass = np.exp(jax.jit(density)(grid, jax.random.key(0))).sum() * (side[1] - side[0]) ** 2
    assert float(mass) == pytest.approx(1, abs=0.01)


def test_an_autoregressive_layer_reads_only_what_comes_before():
    model = flows.maf(1, width=16)
    params = made(model, (5,))
    jacobian = jax.jit(jax.jacfwd(lambda x: model.apply(params, x[None])[0][0]))(jnp.ones(5))
    jacobian = jacobian[::-1]  # the last layer reverses
    assert np.all(np.triu(jacobian, 1) == 0)
    assert np.all(np.abs(np.tril(jacobian)[np.tril_indices(5)]) > 0)


def test_the_likelihood_of_grays_is_that_of_their_numbers():
    """The identity as a flow: the density of uniform noise's logit under the normal law, as SciPy computes it."""
    task = NormalizingFlow((2, 2, 1), levels=4, edge=0.1)
    identity = Formula(lambda x: (x, jnp.zeros(len(x))))
    gray = jnp.array([0.0, 1, 2, 3]).reshape(1, 2, 2, 1) / 3
    batch = batch_of(jnp.repeat(gray, 4000, axis=0))
    out = jax.jit(lambda batch: task.loss(identity, batch, jax.random.key(0)))(batch)
    u = (np.arange(4)[:, None] + np.linspace(0, 1, 4001)[None, 1:-1]) / 4
    inner = 0.1 + 0.8 * u
    log_prob = scipy.stats.norm.logpdf(np.log(inner / (1 - inner))) + np.log(0.8 / (inner * (1 - inner)))
    expected = -log_prob.mean(axis=1).sum() + 4 * np.log(4)
    assert out.loss.compute() == pytest.approx(expected, rel=2e-3)
    assert out.metrics["bits"].compute() == pytest.approx(bits_per_dimension(out.loss.compute(), 4), rel=1e-5)


def test_the_logits_determinant_is_its_jacobians():
    with float64():
        u = jnp.array([[0.1, 0.7, 0.99]])
        jacobian = jax.jacfwd(lambda u: to_logits(u[None], 0.05)[0][0])(u[0])
        assert float(to_logits(u, 0.05)[1][0]) == pytest.approx(float(jnp.linalg.slogdet(jacobian)[1]), abs=1e-10)


def test_samples_are_grays_and_their_logits_invert():
    model = flows.image_real_nvp(1, width=4, blocks=1)
    params = made(model, (4, 4, 1))

    class Bound:
        def __call__(self, x, method=None):
            return model.apply(params, x, method=method), {}

    task = NormalizingFlow((4, 4, 1), levels=5)
    drawn = np.asarray(jax.jit(lambda key: task.generative(Bound()).sample(key, 6))(jax.random.key(0)))
    assert drawn.shape == (6, 4, 4, 1)
    np.testing.assert_allclose(drawn * 4, np.round(drawn * 4), atol=1e-5)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert len(np.unique(np.round(drawn * 4))) == 5
