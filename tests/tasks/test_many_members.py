"""The loss of each of very many members is its own; a compiler repeated those of the first 256."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import deeplab as dl
from deeplab.train.bind import BoundApply


class Scaled(nn.Module):
    """Logits are the member's parameters, whatever the input."""

    @nn.compact
    def __call__(self, x, train=False):
        return self.param("logits", nn.initializers.normal(), x.shape)


def test_losses_beyond_256_members():
    M, B, K = 300, 128, 10
    logits = jax.random.normal(jax.random.key(0), (M, B, K))
    batch = {"x": jnp.zeros((B, K)), "label": jnp.arange(B) % K, "weight": jnp.ones(B), "id": jnp.arange(B)}
    task = dl.tasks.Classification(fields=("x",))

    def losses(logits, batch):
        apply = BoundApply(Scaled(), {"logits": logits}, {}, batch["id"], dl.Runtime().precision)
        return task.predict(apply, batch, jax.random.key(1))["loss"]

    found = jax.jit(jax.vmap(losses, in_axes=(0, None)))(logits, batch)
    expected = jax.nn.logsumexp(logits, axis=-1) - logits[:, np.arange(B), np.arange(B) % K]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_scaled_sums_beyond_256_rows():
    """Of any function of a user's, too: the first import of deeplab turns the compiler's fault off."""
    x = jax.random.normal(jax.random.key(0), (300, 128, 10))
    chosen = jax.nn.one_hot(jnp.arange(128) % 10, 10)
    f = lambda x: 2 * jnp.sum(chosen * jax.nn.log_softmax(x), axis=-1)  # noqa: E731
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(x)[256:], jax.jit(jax.vmap(f))(x[256:]), rtol=1e-5)
