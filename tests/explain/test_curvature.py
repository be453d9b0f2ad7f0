"""Products with a curvature, and what they tell of it, equal those of the matrix itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from deeplab.core.errors import UserError
from deeplab.explain.curvature import gauss_newton_product, hessian_vector_product, sharpness, spectrum, trace
from deeplab.explain.examples.gradients import empirical_ntk, gradient_noise_scale, gradient_products
from deeplab.explain.examples.gradients import per_example_gradients as gradients

KEY = jax.random.key(0)
PARAMS = {"w": jax.random.normal(KEY, (4, 6)), "v": jax.random.normal(jax.random.key(1), (6, 3))}
BATCH = {
    "x": jax.random.normal(jax.random.key(2), (11, 4)),
    "y": jax.random.randint(jax.random.key(3), (11,), 0, 3),
}
ONE = {"x": BATCH["x"][:1], "y": BATCH["y"][:1]}


def logits(params, batch):
    return jnp.tanh(batch["x"] @ params["w"]) @ params["v"]


def of_logits(out, batch):
    return optax.softmax_cross_entropy_with_integer_labels(out, batch["y"])


def losses(params, batch):
    return of_logits(logits(params, batch), batch)


@jax.custom_vjp
def own(x):
    """A function with a backward pass of its own, which has no forward derivative."""
    return jnp.tanh(x)


own.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))


def own_logits(params, batch):
    return own(batch["x"] @ params["w"]) @ params["v"]


FLAT, UNRAVEL = ravel_pytree(PARAMS)
HESSIAN = jax.jit(jax.hessian(lambda flat: losses(UNRAVEL(flat), BATCH).mean()))(FLAT)


def matrix(product):
    return jax.jit(jax.vmap(lambda v: ravel_pytree(product(UNRAVEL(v)))[0]))(jnp.eye(FLAT.size))


@pytest.mark.parametrize("chunk", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_hessian_vector_products_are_the_hessian_s(chunk):
    product = hessian_vector_product(losses, PARAMS, BATCH, chunk=chunk)
    np.testing.assert_allclose(matrix(product), HESSIAN, atol=2e-6)


def test_a_function_with_a_backward_pass_of_its_own_has_curvature():
    product = hessian_vector_product(lambda p, b: of_logits(own_logits(p, b), b), PARAMS, BATCH)
    np.testing.assert_allclose(matrix(product), HESSIAN, atol=2e-6)
    ours = gauss_newton_product(own_logits, of_logits, PARAMS, BATCH)
    np.testing.assert_allclose(matrix(ours), matrix(gauss_newton_product(logits, of_logits, PARAMS, BATCH)), atol=1e-6)


def test_gauss_newton_is_its_definition():
    jacobian = jax.jacobian(lambda flat: logits(UNRAVEL(flat), BATCH))(FLAT)  # [B, K, P]
    p = jax.nn.softmax(logits(PARAMS, BATCH))
    curve = jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None]
    expected = jnp.einsum("bkp,bkl,blq->pq", jacobian, curve, jacobian) / len(p)
    np.testing.assert_allclose(matrix(gauss_newton_product(logits, of_logits, PARAMS, BATCH)), expected, atol=1e-6)


def test_lanczos_finds_the_eigenvalues():
    values = np.linalg.eigvalsh(HESSIAN)
    product = hessian_vector_product(losses, PARAMS, BATCH)
    whole = spectrum(product, PARAMS, key=KEY, steps=FLAT.size)
    np.testing.assert_allclose(whole.eigenvalues[0], values, atol=2e-5)
    few = spectrum(product, PARAMS, key=KEY, steps=16)
    np.testing.assert_allclose(few.eigenvalues[0, [0, -2, -1]], values[[0, -2, -1]], rtol=1e-3)
    np.testing.assert_allclose(sharpness(product, PARAMS, key=KEY, steps=16), values[-1], rtol=1e-4)
    with pytest.raises(UserError, match="43 Lanczos steps for 42 parameters; give steps=42"):
        spectrum(product, PARAMS, key=KEY, steps=43)


def test_a_matrix_of_low_rank_ends_lanczos_early():
    """Its random vector meets three eigenvalues, zero among them; the other nodes have no weight."""
    product = lambda v: jnp.array([3.0, -2.0] + [0.0] * 8) * v  # noqa: E731
    found = spectrum(product, jnp.zeros(10), key=KEY, steps=8)
    has = found.weights[0] > 1e-6
    np.testing.assert_allclose(found.eigenvalues[0][has], [-2, 0, 3], atol=1e-5)
    np.testing.assert_allclose(found.weights.sum(), 1, rtol=1e-5)


def test_the_density_is_the_spectrum_s():
    values = np.linalg.eigvalsh(HESSIAN)
    found = spectrum(hessian_vector_product(losses, PARAMS, BATCH), PARAMS, key=KEY, steps=16, probes=200)
    at = jnp.linspace(values[0] - 1, values[-1] + 1, 201)
    expected = jax.scipy.stats.norm.pdf(at[:, None], values[None], 0.2).mean(axis=1)
    np.testing.assert_allclose(found.density(at, 0.2), expected, atol=0.05)
    np.testing.assert_allclose(jnp.trapezoid(found.density(at, 0.2), at), 1, rtol=1e-3)


def test_the_trace_is_within_its_error_and_the_error_is_true():
    product = hessian_vector_product(losses, PARAMS, BATCH)
    found = jax.jit(jax.vmap(lambda key: trace(product, PARAMS, key=key)))(jax.random.split(KEY, 30))
    off = np.asarray((found.value - jnp.trace(HESSIAN)) / found.error)
    assert np.abs(off).max() < 4
    assert 0.6 < off.std() < 1.5


def looped(f, params, batch):
    one = jax.jit(lambda batch: jax.jacrev(lambda p: f(p, batch)[0])(params))
    return [one(jax.tree.map(lambda x: x[i : i + 1], batch)) for i in range(len(batch["x"]))]  # noqa: B023


@pytest.mark.parametrize(
    ("f", "chunk"),
    [(losses, 3), pytest.param(logits, None, marks=pytest.mark.slow), pytest.param(logits, 11, marks=pytest.mark.slow)],
)
def test_gradients_of_examples_are_those_of_a_loop(f, chunk):
    found = jax.jit(lambda: gradients(f, PARAMS, BATCH, chunk=chunk))()
    expected = jax.tree.map(lambda *x: jnp.stack(x), *looped(f, PARAMS, BATCH))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


def test_a_convolution_in_chunks_is_the_whole():
    kernel, images = jax.random.normal(KEY, (3, 1, 2)), jax.random.normal(KEY, (7, 5, 1))

    def convolved(kernel, x):
        y = jax.lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return jnp.sum(jnp.tanh(y), axis=(1, 2))

    def both(chunk):
        product = hessian_vector_product(convolved, kernel, images, chunk=chunk)
        return gradients(convolved, kernel, images, chunk=chunk), product(jnp.ones_like(kernel))

    for whole, parts in zip(*(jax.jit(both, static_argnums=0)(chunk) for chunk in (None, 3)), strict=True):
        np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_products_are_those_with_the_gradients():
    G = jax.jit(jax.jacobian(lambda flat: losses(UNRAVEL(flat), BATCH)))(FLAT)
    directions = jax.random.normal(KEY, (2, FLAT.size))
    found = jax.jit(lambda d: gradient_products(losses, PARAMS, jax.vmap(UNRAVEL)(d), BATCH, chunk=4))(directions)
    np.testing.assert_allclose(found, directions @ G.T, atol=1e-5)


@pytest.mark.parametrize(("f", "chunk"), [(lambda p, b: logits(p, b)[:, 0], 2), (logits, None)])
def test_the_tangent_kernel_is_the_jacobian_s(f, chunk):
    few = jax.tree.map(lambda x: x[:3], BATCH)
    jacobian = jax.jit(lambda part: jax.jacobian(lambda flat: f(UNRAVEL(flat), part))(FLAT))
    a, b = jacobian(BATCH), jacobian(few)
    kernel = jax.jit(lambda a, b: empirical_ntk(f, PARAMS, a, b, chunk=chunk))
    np.testing.assert_allclose(kernel(BATCH, few), jnp.tensordot(a, b, (-1, -1)), atol=1e-4)
    np.testing.assert_allclose(kernel(BATCH, None), jnp.tensordot(a, a, (-1, -1)), atol=1e-4)


def test_the_noise_scale_is_without_bias():
    """Gradients of a linear loss are the examples: their mean and covariance are known."""
    mean, spread = jnp.array([1.0, -2.0, 0.5]), jnp.array([1.0, 2.0, 3.0])
    draws = mean[None, None] + spread[None, None] * jax.random.normal(KEY, (4000, 6, 3))
    found = jax.jit(jax.vmap(lambda x: gradient_noise_scale(lambda w, x: x @ w, jnp.zeros(3), x)))(draws)
    np.testing.assert_allclose(found.trace.mean(), jnp.sum(spread**2), rtol=0.03)
    np.testing.assert_allclose(found.squared_norm.mean(), jnp.sum(mean**2), rtol=0.05)
    many = gradient_noise_scale(lambda w, x: x @ w, jnp.zeros(3), draws.reshape(-1, 3), chunk=1000)
    np.testing.assert_allclose(many.scale, jnp.sum(spread**2) / jnp.sum(mean**2), rtol=0.03)
    assert jnp.isnan(found.scale).any()  # where |G|^2 was below 0


def test_what_does_not_fit_is_told():
    with pytest.raises(UserError, match=r"shape \[\], expected one for each of the 11 examples"):
        gradients(lambda p, b: losses(p, b).mean(), PARAMS, BATCH)
    with pytest.raises(UserError, match=r"\[1, 11\] examples, expected one number"):
        gradients(losses, PARAMS, BATCH | {"x": ONE["x"]})
    with pytest.raises(UserError, match="of 1 example, expected two"):
        gradient_noise_scale(losses, PARAMS, ONE)
