"""Diffusion and flows where the right answer is a formula: Gaussians, and mixtures of them, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from deeplab.generate import (
    cosine,
    ddim,
    ddpm,
    divergence,
    edm,
    edm_heun,
    euler_step,
    flow,
    guided,
    heun_step,
    integrate,
    linear,
    log_likelihood,
    noise_prediction,
    normal_log_prob,
    runge_kutta_step,
    score_of,
    v_prediction,
    velocity_of,
)
from tests.precision import float64

MEAN = np.array([1.0, -0.5])
COVARIANCE = np.array([[0.8, 0.3], [0.3, 0.4]])
PROCESSES = {
    "linear": noise_prediction(linear),
    "cosine": v_prediction(cosine),
    "edm": edm(),
    "flow": flow(),
}


def gaussian(schedule, mean=MEAN, covariance=COVARIANCE):
    """D of data that are normal: mean + a C (a^2 C + s^2)^-1 (x - a mean), in the basis where C is diagonal."""
    variances, basis = np.linalg.eigh(covariance)

    def denoise(x, t):
        a, s = schedule(t)
        gain = (basis * (a * variances / (a**2 * variances + s**2))[None]) @ basis.T
        return mean[None] + (x - a * mean[None]) @ gain

    return denoise


def mixture(schedule, weights, means, deviations):
    """Log-density of x_t where the data are of a mixture, and D: the components' mean, by their share."""

    def parts(x, t):
        a, s = schedule(t)
        variance = a**2 * deviations**2 + s**2  # [K]
        squares = jnp.sum((x[:, None] - a * means[None]) ** 2, axis=-1) / variance[None]
        return jnp.log(weights / variance)[None] - squares / 2 - jnp.log(2 * jnp.pi)  # two dimensions

    def log_prob(x, t):
        return jax.nn.logsumexp(parts(x, t), axis=-1)

    def denoise(x, t):
        a, s = schedule(t)
        gain = a * deviations**2 / (a**2 * deviations**2 + s**2)  # [K]
        each = means[None] + gain[None, :, None] * (x[:, None] - a * means[None])
        return jnp.einsum("bk,bkd->bd", jax.nn.softmax(parts(x, t)), each)

    return log_prob, denoise


def samplers(process, steps):
    schedule = process.schedule
    denoise = gaussian(schedule)
    times = process.grid(steps)
    return {
        "ddim": lambda x, key: ddim(denoise, schedule, x, times),
        "ddpm": lambda x, key: ddpm(denoise, schedule, x, times, key),
        "half": lambda x, key: ddpm(denoise, schedule, x, times, key, eta=0.5),
        "edm_heun": lambda x, key: edm_heun(denoise, x, times),
        "churned": lambda x, key: edm_heun(denoise, x, times, key, churn=40.0, least=0.05, most=50.0),
        "euler": lambda x, key: integrate(velocity_of(denoise, schedule), x, times),
    }


RUNS = [
    ("linear", "ddpm", 500, 4000), ("cosine", "ddim", 500, 4000), ("edm", "edm_heun", 64, 20_000),
    ("edm", "churned", 256, 4000), ("flow", "euler", 500, 4000),
]  # fmt: skip
RUNS += [
    pytest.param(*run, marks=pytest.mark.slow)
    for run in (
        ("linear", "ddim", 1000, 20_000), ("linear", "half", 1000, 20_000), ("cosine", "ddim", 1000, 20_000),
        ("cosine", "ddpm", 1000, 20_000), ("edm", "ddim", 500, 20_000), ("flow", "ddim", 500, 20_000),
        ("flow", "ddpm", 1000, 20_000),
    )
]  # fmt: skip


@pytest.mark.parametrize(("name", "sampler", "steps", "count"), RUNS)
def test_a_sampler_reproduces_mean_and_covariance(name, sampler, steps, count):
    """Within three standard errors of a sample of this size, for each number of both."""
    with float64():
        process = PROCESSES[name]
        _, s = process.schedule(process.grid(steps)[0])
        start = s * jax.random.normal(jax.random.key(1), (count, 2))
        drawn = np.asarray(jax.jit(samplers(process, steps)[sampler])(start, jax.random.key(2)))
    assert drawn.dtype == np.float64
    variances = np.diag(COVARIANCE)
    assert np.all(np.abs(drawn.mean(axis=0) - MEAN) < 3 * np.sqrt(variances / count))
    error = np.sqrt((np.outer(variances, variances) + COVARIANCE**2) / count)  # of a normal sample's covariance
    assert np.all(np.abs(np.cov(drawn.T) - COVARIANCE) < 3 * error)


QUICK = ("edm", "flow")
SOME = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PROCESSES]


@pytest.mark.parametrize("name", SOME)
def test_the_score_of_a_mixture_is_the_gradient_of_its_log_density(name):
    """And D by way of a network that predicts what this process wants predicted is D."""
    weights, deviations = np.array([0.2, 0.5, 0.3]), np.array([0.3, 0.5, 0.2])
    means = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.5]])
    with float64():
        process = PROCESSES[name]
        log_prob, denoise = mixture(process.schedule, weights, means, deviations)
        x = jax.random.normal(jax.random.key(0), (64, 2))

        def network(t):
            """The best one: of the mean of the data, it makes what the frame turns into that mean."""
            return lambda read, label: process.target(denoise(x, t), x, t)

        for t in (0.05, 0.3, 0.7):
            t = jnp.array(t)
            expected = jax.grad(lambda x, t=t: log_prob(x, t).sum())(x)
            np.testing.assert_allclose(score_of(denoise, process.schedule)(x, t), expected, rtol=0, atol=1e-4)
            through = process.denoiser(network(t))
            np.testing.assert_allclose(through(x, t), denoise(x, t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SOME)
def test_the_likelihood_by_the_ode_is_the_analytic_one(name):
    """Within 0.01 nats for each example, from the law at the last time, where a little of the data is left."""
    with float64():
        process = PROCESSES[name]
        x = jax.random.multivariate_normal(jax.random.key(3), MEAN, COVARIANCE, (50,))
        times = process.fine(200)[:-1][::-1]
        a, s = (float(part) for part in process.schedule(times[-1]))
        factor = np.linalg.cholesky(a**2 * COVARIANCE + s**2 * np.eye(2))

        def prior(x):
            standard = jax.scipy.linalg.solve_triangular(factor, (x - a * MEAN[None]).T, lower=True).T
            return normal_log_prob(standard) - np.log(np.diag(factor)).sum()

        velocity = velocity_of(gaussian(process.schedule), process.schedule)
        found = jax.jit(lambda x: log_likelihood(velocity, x, times, prior))(x)
        np.testing.assert_allclose(
            found, scipy.stats.multivariate_normal.logpdf(x, MEAN, COVARIANCE), rtol=0, atol=0.01
        )


def test_random_directions_give_the_divergence_on_average():
    with float64():
        matrix = jax.random.normal(jax.random.key(0), (5, 5))
        x, t = jax.random.normal(jax.random.key(1), (3, 5)), jnp.array(0.0)
        signs = jax.random.rademacher(jax.random.key(2), (20_000, 3, 5), x.dtype)
        _, exact = divergence(lambda x, t: x @ matrix + x**2, x, t)
        _, found = divergence(lambda x, t: x @ matrix + x**2, x, t, signs)
        np.testing.assert_allclose(exact, jnp.trace(matrix) + 2 * x.sum(axis=-1), rtol=1e-12)
        spread = float(jnp.sqrt(jnp.sum((matrix + matrix.T) ** 2) / 2))  # at most: of one direction
        np.testing.assert_allclose(found, exact, rtol=0, atol=4 * spread / 20_000**0.5)


def test_guidance_by_two_gaussians_draws_the_gaussian_of_their_weighted_scores():
    """Of equal covariances C: the score u + w (c - u) is that of the mean m_u + w (m_c - m_u)."""
    with float64():
        process, other, scale = PROCESSES["edm"], np.array([0.0, 0.5]), 2.5
        asked, any_one = gaussian(process.schedule), gaussian(process.schedule, mean=other)
        start = 80.0 * jax.random.normal(jax.random.key(1), (200, 2))
        found = edm_heun(guided(asked, any_one, scale), start, process.grid(40))
        wanted = gaussian(process.schedule, mean=other + scale * (MEAN - other))
        np.testing.assert_allclose(found, edm_heun(wanted, start, process.grid(40)), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_samplers_meet_where_they_are_the_same():
    with float64():
        process, key = PROCESSES["linear"], jax.random.key(0)
        denoise, start = gaussian(process.schedule), jax.random.normal(key, (8, 2))
        given = denoise, process.schedule, start, process.grid(20)
        np.testing.assert_allclose(ddpm(*given, key, eta=0.0), ddim(*given), rtol=0, atol=1e-12)
        # The flow's DDIM is Euler's method, and so is that of a noise level: both are linear in time.
        for name in ("flow", "edm"):
            schedule, times = PROCESSES[name].schedule, PROCESSES[name].grid(20)[:-1]
            denoise = gaussian(schedule)
            euler = integrate(velocity_of(denoise, schedule), start, times)
            np.testing.assert_allclose(euler, ddim(denoise, schedule, start, times), rtol=0, atol=1e-12)
        levels = PROCESSES["edm"].grid(20)
        quiet = edm_heun(denoise, 80 * start, levels, key, churn=0.0)
        np.testing.assert_allclose(quiet, edm_heun(denoise, 80 * start, levels), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("step", "order"), [(euler_step, 1), (heun_step, 2), (runge_kutta_step, 4)])
def test_steps_have_their_order(step, order):
    """Half the step, 2^order less error; on a tree, at a velocity that depends on the time."""
    with float64():

        def error(count):
            velocity = lambda x, t: {"a": jnp.cos(t) * x["a"]}  # noqa: E731
            last = integrate(velocity, {"a": jnp.ones(())}, jnp.linspace(0.0, 2.0, count + 1), step)
            return abs(float(last["a"]) - np.exp(np.sin(2.0)))

        assert np.log2(error(40) / error(80)) == pytest.approx(order, abs=0.2)


def test_an_ancestral_step_is_the_law_of_what_came_before():
    """Of one number c: x_s given x_t is normal, by the joint law of both, whose covariance is (a_t / a_s) s_s^2."""
    c, start = 0.7, np.full((20_000, 1), -0.4)
    times = jnp.array([0.6, 0.4])
    (a, s), (b, r) = (tuple(map(float, linear(t))) for t in times)
    drawn = np.asarray(ddpm(lambda x, t: jnp.full_like(x, c), linear, jnp.asarray(start), times, jax.random.key(0)))
    shared = a / b * r**2
    variance = r**2 - shared**2 / s**2
    assert drawn.mean() == pytest.approx(b * c + shared / s**2 * (-0.4 - a * c), abs=4 * (variance / 20_000) ** 0.5)
    assert drawn.var() == pytest.approx(variance, rel=4 * (2 / 20_000) ** 0.5)


def test_networks_predict_what_the_papers_say():
    x, e, t = jnp.array([[0.3, -0.6]]), jnp.array([[1.2, 0.4]]), jnp.array([0.4])
    expected = {
        "linear": lambda a, s: e,
        "cosine": lambda a, s: a * e - s * x,
        "flow": lambda a, s: e - x,
        # Karras et al. 2022, table 1, with the data's deviation of 0.5.
        "edm": lambda a, s: (x - 0.25 / (s**2 + 0.25) * (x + s * e)) / (s * 0.5 / jnp.sqrt(s**2 + 0.25)),
    }
    for name, formula in expected.items():
        process = PROCESSES[name]
        a, s = process.schedule(t[:, None])
        noisy = process.noised(x, e, t)
        np.testing.assert_allclose(noisy, a * x + s * e, rtol=1e-5)
        np.testing.assert_allclose(process.target(x, noisy, t), formula(a, s), rtol=1e-4)


def test_a_sample_does_not_depend_on_how_many_are_drawn():
    process, key = PROCESSES["linear"], jax.random.key(0)
    start = jax.random.normal(jax.random.key(1), (6, 2))
    denoise = gaussian(process.schedule)
    many = ddpm(denoise, process.schedule, start, process.grid(5), key)
    few = ddpm(denoise, process.schedule, start[:2], process.grid(5), key)
    np.testing.assert_allclose(many[:2], few, rtol=1e-5)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_schedule_begins_at_the_data_and_the_frame_is_of_unit_size(name):
    process = PROCESSES[name]
    a, s = process.schedule(jnp.array(0.0))
    assert (float(a), float(s)) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-6))
    if name in ("linear", "cosine"):
        a, s = process.schedule(jnp.linspace(0.0, 1.0, 50))
        np.testing.assert_allclose(a**2 + s**2, 1.0, rtol=1e-5)
        assert float(a[-1]) < 0.02
    times = process.grid(7)
    assert len(times) == 8
    assert float(times[-1]) == 0
    assert np.all(np.diff(times) < 0)
