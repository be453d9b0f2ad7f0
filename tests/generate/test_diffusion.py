"""The tasks of diffusion and flow with formulas in the network's place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from deeplab.generate import (
    Diffusion,
    FlowMatching,
    MeanFlow,
    along,
    ancestral,
    coupled,
    edm,
    exploding,
    flow,
    noise_prediction,
    second_order,
    sinkhorn,
    v_prediction,
)
from tests.generate.members import Formula, batch_of
from tests.precision import float64

SHAPE = (1, 2, 1)
MEAN, DEVIATION = 0.4, 0.3  # of each pixel of normal data, in [-1, 1]'s units


def ideal(process):
    """The best network for such data: what the process wants predicted of the mean that is left."""

    def network(scaled, label):
        t = jnp.exp(4 * label) if process.schedule is exploding else label
        t = t.reshape(-1, 1, 1, 1)
        a, s = process.schedule(t)
        x = scaled / process.frame(t).scale
        gain = a * DEVIATION**2 / (a**2 * DEVIATION**2 + s**2)
        return process.target(MEAN + gain * (x - a * MEAN), x, t)

    return Formula(network)


TASKS = {
    "noise": (noise_prediction(), {"sampler": ancestral, "steps": 1000}),
    "v": (v_prediction(), {"steps": 300}),
    "edm": (edm(), {"sampler": second_order, "steps": 40}),
    "heun": (flow(), {"sampler": along(), "steps": 60}),
}


@pytest.mark.parametrize("name", ["edm", *(pytest.param(n, marks=pytest.mark.slow) for n in TASKS if n != "edm")])
def test_samples_and_log_densities_are_in_the_units_of_images(name):
    process, options = TASKS[name]
    with float64():
        task = Diffusion(SHAPE, process, clip=None, **options)
        model = task.generative(ideal(process))
        drawn = np.asarray(jax.jit(lambda key: model.sample(key, 1500))(jax.random.key(0)))
        x = jnp.array([[0.6, 0.8], [0.9, 0.4]]).reshape(2, *SHAPE)
        found = jax.jit(model.log_prob)(x, jax.random.key(0))
        mean, deviation = (MEAN + 1) / 2, DEVIATION / 2
        expected = scipy.stats.norm.logpdf(np.asarray(x), mean, deviation).sum(axis=(1, 2, 3))
    assert drawn.shape == (1500, *SHAPE)
    assert abs(drawn.mean() - mean) < 3 * deviation / 3000**0.5
    assert drawn.std() == pytest.approx(deviation, rel=3 / 6000**0.5)
    # What is left of the data at the last time is no part of the prior, by which the density is wrong.
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_a_flow_draws_what_its_velocity_leads_to():
    """Of one image: the velocity is (x - image) / t, and the paths are straight: one step is enough."""
    image = jnp.array([0.25, 0.5]).reshape(1, *SHAPE)
    network = Formula(lambda x, t: (x - (2 * image - 1)) / t.reshape(-1, 1, 1, 1))
    drawn = FlowMatching(SHAPE, steps=1).generative(network).sample(jax.random.key(0), 3)
    np.testing.assert_allclose(drawn, jnp.repeat(image, 3, axis=0), atol=1e-6)
    loss = FlowMatching(SHAPE).loss(network, batch_of(jnp.repeat(image, 5, axis=0)), jax.random.key(1)).loss
    assert loss.compute() < 1e-10


def test_the_guided_sample_is_that_of_the_weighted_velocities():
    def network(x, t, label):
        return jnp.broadcast_to(label.astype(jnp.float32).reshape(-1, 1, 1, 1), x.shape)

    task = FlowMatching(SHAPE, num_classes=10, steps=3, guidance=2.0)
    model, key = task.generative(Formula(network)), jax.random.key(0)
    free, asked = model.sample(key, 2), model.sample(key, 2, jnp.array([3, 4]))
    # Without a class the velocity is 10, "not told"; with it 10 + 2 (class - 10). Images are half of it.
    moved = np.asarray(asked - free)[:, 0, 0, 0]
    np.testing.assert_allclose(moved, -(2 * (np.array([3, 4]) - 10)) / 2, rtol=1e-5)


@pytest.mark.parametrize("task", [Diffusion, FlowMatching])
@pytest.mark.parametrize("untold", [0.0, 1.0])
def test_the_class_is_told_or_not(task, untold):
    seen = []

    def network(x, t, label):
        seen.append(label.tolist())
        return x

    batch = batch_of(jnp.zeros((4, *SHAPE))) | {"label": jnp.array([3, 1, 4, 1])}
    task(SHAPE, num_classes=10, untold=untold).loss(Formula(network), batch, jax.random.key(0))
    assert seen == [[10] * 4 if untold else [3, 1, 4, 1]]


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_the_mean_velocity_is_checked_along_its_path(apart):
    """Of one image, u = (x - image) / t has no loss; k (t - r) more has du/dt = k, and an error of 2 k (t - r)."""
    image, k = jnp.array([0.25, 0.5]).reshape(1, *SHAPE), 0.7

    def network(x, times, extra=0.0):
        t, gap = (times[:, i].reshape(-1, 1, 1, 1) for i in range(2))
        return (x - (2 * image - 1)) / t + extra * gap

    task, batch = MeanFlow(SHAPE, apart=apart), batch_of(jnp.repeat(image, 64, axis=0))
    assert task.loss(Formula(network), batch, jax.random.key(1)).metrics["error"].compute() < 1e-9
    out = task.loss(Formula(lambda x, times: network(x, times, k)), batch, jax.random.key(1))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(jax.random.key(1), 0), batch["id"])
    t, r = jax.vmap(task._times)(keys)
    assert out.metrics["error"].compute() == pytest.approx(float(jnp.mean((2 * k * (t - r)) ** 2)), rel=1e-3, abs=1e-9)
    assert bool(jnp.all(r <= t))
    assert bool(jnp.any(r < t)) == (apart > 0)
    drawn = task.generative(Formula(network)).sample(jax.random.key(0), 3)
    np.testing.assert_allclose(drawn, jnp.repeat(image, 3, axis=0), atol=1e-6)


def test_a_plan_of_little_entropy_is_the_best_assignment():
    with float64():
        x, y = (jax.random.normal(jax.random.key(i), (6, 2)) for i in range(2))
        cost = jnp.sum((x[:, None] - y[None]) ** 2, axis=-1)
        mass = jnp.full(6, -jnp.log(6.0))
        plan = jnp.exp(sinkhorn(cost, mass, mass, 0.01, iterations=2000))
        np.testing.assert_allclose(plan.sum(axis=0), 1 / 6, rtol=1e-6)
        np.testing.assert_allclose(plan.sum(axis=1), 1 / 6, rtol=1e-3)
        _, best = scipy.optimize.linear_sum_assignment(np.asarray(cost))
        assert np.argmax(plan, axis=1).tolist() == best.tolist()


def test_coupling_takes_noise_of_counted_examples_and_brings_it_nearer():
    keys = jax.random.split(jax.random.key(2), 32)
    x, noise = (jax.random.normal(jax.random.key(i), (32, 1, 2, 1)) for i in range(2))
    weight = jnp.array([1.0] * 30 + [0.0] * 2)
    noise = noise.at[30:].set(jnp.nan)
    found = np.asarray(coupled(keys, x, jnp.nan_to_num(noise, nan=1e3), weight, 0.02))
    given = {tuple(row) for row in np.asarray(noise[:30]).reshape(30, 2).tolist()}
    assert {tuple(row) for row in found[:30].reshape(30, 2).tolist()} <= given
    assert np.mean((found[:30] - x[:30]) ** 2) < 0.5 * np.mean((noise[:30] - x[:30]) ** 2)
