"""Bounds of the likelihood where it is known: codes of two numbers, and a decoder that can be integrated."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import deeplab as dl
from deeplab.generate import IWAE, VAE, binarized
from deeplab.generate.variational import log_weights
from tests.generate.members import batch_of
from tests.precision import float64

SHAPE = (1, 3, 1)
WEIGHTS = np.array([[1.0, -0.5, 0.3], [0.2, 0.8, -1.0]])


class Model:
    """log q and log p of a linear decoder with a posterior that is not quite right."""

    def __call__(self, x, method, train=False, key=None):
        if method == "decode":
            return (x @ WEIGHTS).reshape(len(x), *SHAPE), {}
        flat = x.reshape(len(x), -1)
        return (0.3 * flat[:, :2], jnp.full((len(x), 2), -0.2)), {}

    def evaluating(self):
        return self


IMAGES = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1]], float).reshape(3, *SHAPE)


def exact():
    """log p(x) by quadrature over the two components of the code."""
    grid = np.linspace(-8, 8, 400)
    z = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    prior = scipy.stats.norm.pdf(z).prod(axis=-1) * (grid[1] - grid[0]) ** 2
    chance = 1 / (1 + np.exp(-z @ WEIGHTS))
    flat = IMAGES.reshape(3, -1)
    each = np.prod(np.where(flat[:, None] == 1, chance[None], 1 - chance[None]), axis=-1)
    return np.log(each @ prior)


def test_importance_samples_come_to_the_likelihood():
    with float64():
        model = IWAE(2, importance_samples=5000, chunk=600).generative(Model())
        found = model.log_prob(jnp.asarray(IMAGES), jax.random.key(0))
        np.testing.assert_allclose(found, exact(), atol=0.01)


@pytest.mark.slow
def test_more_samples_are_a_closer_bound():
    with float64():
        batch = batch_of(jnp.asarray(np.tile(IMAGES, (500, 1, 1, 1))))
        bounds = [IWAE(2, k).loss(Model(), batch, jax.random.key(1)).loss.compute() for k in (1, 3, 20)]
        vae = VAE(2).loss(Model(), batch, jax.random.key(1))
    truth = -exact().mean()
    assert bounds[0] > bounds[1] > bounds[2] > truth - 0.01
    assert bounds[2] == pytest.approx(truth, abs=0.02)
    # With one sample the two bounds are the same on average, and so is the VAE's whatever is paid for the divergence.
    assert vae.loss.compute() == pytest.approx(bounds[0], abs=0.03)
    assert vae.metrics["bound"].compute() == vae.loss.compute()


def test_the_divergence_is_paid_for_by_beta_above_the_free_bits():
    batch, key = batch_of(jnp.asarray(IMAGES, jnp.float32)), jax.random.key(0)
    plain, twice, free = (
        VAE(2, beta, bits).loss(Model(), batch, key) for beta, bits in ((1.0, 0.0), (2.0, 0.0), (1.0, 5.0))
    )
    divergence = plain.metrics["divergence"].compute()
    # Of N(m, e^-0.2): (e^-0.2 + m^2 - 1 + 0.2) / 2 for each component; m is 0.3 where the pixel is 1.
    expected = np.mean([(np.exp(-0.2) - 0.8) + 0.045 * n for n in (0, 1, 2)])
    assert divergence == pytest.approx(expected, rel=1e-5)
    assert twice.loss.compute() - plain.loss.compute() == pytest.approx(divergence, rel=1e-4)
    assert free.loss.compute() - plain.loss.compute() == pytest.approx(2 * 5 - divergence, rel=1e-5)
    assert free.metrics["bound"].compute() == pytest.approx(plain.loss.compute(), rel=1e-6)


def test_the_draw_of_the_pixels_is_the_examples_own_and_has_their_mean():
    gray, ids = jnp.full((400, 4, 4, 1), 0.3), jnp.arange(400)
    drawn = binarized(gray, ids)
    assert float(drawn.mean()) == pytest.approx(0.3, abs=4 * (0.21 / 6400) ** 0.5)
    np.testing.assert_array_equal(binarized(gray[:3], ids[5:8]), drawn[5:8])
    assert np.any(drawn[0] != drawn[1])


def test_weights_are_the_same_for_one_code_at_a_time():
    noise, x = jax.random.normal(jax.random.key(0), (4, 3, 2)), jnp.asarray(IMAGES, jnp.float32)
    whole, *_ = log_weights(Model(), x, noise)
    np.testing.assert_allclose(whole, [log_weights(Model(), x, noise[i : i + 1])[0][0] for i in range(4)], rtol=1e-5)


def test_any_number_of_importance_samples_and_binary_images_alone():
    x = jnp.asarray(IMAGES, jnp.float32)
    few = VAE(2, importance_samples=30).generative(Model()).log_prob(x.at[0, 0, 0, 0].set(0.5), jax.random.key(0))
    assert np.isnan(few).tolist() == [True, False, False]
    np.testing.assert_allclose(few[1:], exact()[1:], atol=0.3)


class Normed(nn.Module):
    """An autoencoder with a batch norm in either half."""

    def setup(self):
        self.encoder, self.decoder = nn.Dense(4), nn.Dense(64)
        self.before, self.after = (nn.BatchNorm(axis_name=None) for _ in range(2))

    def encode(self, x, train=False):
        return jnp.split(self.encoder(self.before(x.reshape(len(x), -1), use_running_average=not train)), 2, axis=-1)

    def decode(self, z, train=False):
        return self.after(self.decoder(z), use_running_average=not train).reshape(len(z), 8, 8, 1)

    def __call__(self, x, train=False):
        return self.decode(self.encode(x, train)[0], train)


@pytest.mark.parametrize("task", [VAE(2, samples=2), IWAE(2, 3)], ids=["vae", "iwae"])
def test_the_averages_of_batch_norms_move_in_both_halves(task):
    def experiment() -> dl.Experiment:
        data = dl.data.Images("digits", batch_size=32, num_steps=2, normalize=None)
        return dl.Experiment(data, Normed(), task, optax.adam(1e-3))

    moved = dl.fit(experiment).state.variables["batch_stats"]
    assert set(moved) == {"before", "after"}
    for half in moved.values():
        assert np.all(np.isfinite(half["mean"]))
        assert np.any(np.asarray(half["mean"]) != 0)
