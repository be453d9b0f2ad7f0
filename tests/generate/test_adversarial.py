"""The parts of an adversarial loss reach their own networks, and a codebook is what chose it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.generate import R3GAN, VQVAE
from deeplab.generate.record import keys_of, normals
from tests.generate.members import Formula, batch_of


class Pair(Formula):
    """A network that multiplies by g, and a second one that is a function of (its parameters, x)."""

    def __init__(self, function, second, params, state=()):
        super().__init__(function)
        self.second, self.task_params, self.task_state = second, params, state

    def of(self, module, params):
        return Formula(lambda x: self.second(params, x))


def test_each_player_follows_its_own_part():
    """A critic D(x) = w x + c has the penalty 2 |w|^2; both gradients are those of the parts alone."""
    task, key, x = R3GAN(critic=None, latents=3, penalty=0.5), jax.random.key(0), jnp.array([[0.2, 0.4, 0.9]] * 5)
    z = normals(keys_of(key, jnp.arange(5)), (3,))

    def loss(g, w):
        apply = Pair(lambda z: g * z, lambda w, x: x @ w, {"critic": w})
        return task.loss(apply, batch_of(x), key)

    def generator(g, w):
        return jnp.mean(jax.nn.softplus(x @ w - (g * z) @ w))

    def critic(g, w):
        return jnp.mean(jax.nn.softplus((g * z) @ w - x @ w)) + 0.5 * jnp.sum(w**2)

    g, w = jnp.array(0.7), jnp.array([1.0, -2.0, 0.5])
    out = loss(g, w)
    assert out.metrics["penalty"].compute() == pytest.approx(2 * float(jnp.sum(w**2)), rel=1e-5)
    found = jax.grad(lambda g, w: loss(g, w).loss.total / 5, argnums=(0, 1))(g, w)
    np.testing.assert_allclose(found[0], jax.grad(generator)(g, w), rtol=1e-5)
    np.testing.assert_allclose(found[1], jax.grad(critic, argnums=1)(g, w), rtol=1e-5)


def test_a_code_is_the_nearest_and_moves_towards_what_chose_it():
    codes = np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]])
    z = np.array([[0.1, 0.0], [0.9, 1.2], [1.3, 1.0], [0.0, -0.2]]).reshape(1, 2, 2, 2)
    state = {"count": jnp.ones(3), "total": jnp.asarray(codes)}
    task, batch = VQVAE(decoder=None, num_codes=3, decay=0.5, commitment=0.25), batch_of(jnp.zeros((1, 2, 2, 2)))

    def loss(z):
        return task.loss(Pair(lambda image: z, lambda _, e: 3 * e, {"decoder": ()}, state), batch, jax.random.key(0))

    out, chosen = loss(jnp.asarray(z)), np.array([0, 1, 1, 0]).reshape(1, 2, 2)
    e = codes[chosen]
    assert out.metrics["error"].compute() == pytest.approx(np.sum((3 * e) ** 2), rel=1e-5)
    assert out.loss.compute() == pytest.approx(np.sum((3 * e) ** 2) + 0.25 * np.sum((z - e) ** 2), rel=1e-5)
    np.testing.assert_allclose(out.state["count"], [1.5, 1.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(out.state["total"][1], 0.5 * codes[1] + 0.5 * np.array([2.2, 2.2]), rtol=1e-6)
    # The decoder's gradient by the code is that of z, as it is.
    slope = jax.grad(lambda z: loss(z).loss.total)(jnp.asarray(z))
    np.testing.assert_allclose(slope, 18 * e + 0.5 * (z - e), rtol=1e-4, atol=1e-5)
