"""Small networks of the contract experiments."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class Trunk(nn.Module):
    """One hidden layer of features, [B, ...] -> [B, F]."""

    features: int = 32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.relu(nn.Dense(self.features, name="hidden")(x.reshape(len(x), -1)))


class Classifier(nn.Module):
    """A head on a trunk, [B, ...] -> [B, K]."""

    trunk: nn.Module
    num_classes: int = 10

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(self.num_classes, name="head")(self.trunk(x, train))


class Painter(nn.Module):
    """From latent vectors to images in [0, 1], [B, D] -> [B, H, W, 1]."""

    side: int = 8
    features: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(nn.Dense(self.features, name="hidden")(x))
        return nn.sigmoid(nn.Dense(self.side**2, name="pixels")(x)).reshape(len(x), self.side, self.side, 1)


class Denoiser(nn.Module):
    """From noisy images at times in [0, 1] to their noise, ([B, H, W, 1], [B]) -> [B, H, W, 1]."""

    features: int = 128

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, train: bool = False) -> jax.Array:
        waves = jnp.pi * time[:, None] * 2.0 ** jnp.arange(4)[None]  # [B, 4]
        h = jnp.concatenate([x.reshape(len(x), -1), jnp.sin(waves), jnp.cos(waves)], axis=-1)
        for i in range(2):
            h = nn.silu(nn.Dense(self.features, name=f"hidden{i + 1}")(h))
        return nn.Dense(x[0].size, name="noise")(h).reshape(x.shape)


class Variational(nn.Module):
    """A variational autoencoder: logits of the pixels [B, H, W, 1], mean and log-variance [B, D] of the latents.

    The latents are drawn from an RNG collection of its own, "latent".
    """

    latents: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array, jax.Array]:
        mean, log_variance = jnp.split(nn.Dense(2 * self.latents, name="latents")(Trunk(name="encoder")(x)), 2, axis=-1)
        noise = jax.random.normal(self.make_rng("latent"), mean.shape)
        latents = mean + jnp.exp(log_variance / 2) * noise
        logits = nn.Dense(x[0].size, name="pixels")(nn.relu(nn.Dense(32, name="decoder")(latents)))
        return logits.reshape(x.shape), mean, log_variance


class MixtureOfExperts(nn.Module):
    """A classifier whose hidden layer is that of the likeliest of N experts; sows how unevenly they are chosen."""

    num_classes: int = 10
    experts: int = 4
    features: int = 32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = x.reshape(len(x), -1)
        gates = jax.nn.softmax(nn.Dense(self.experts, name="router")(x))  # [B, N]
        chosen = jax.nn.one_hot(jnp.argmax(gates, axis=-1), self.experts)
        # Fedus et al. 2021, https://arxiv.org/abs/2101.03961, equation 4.
        self.sow("losses", "balance", self.experts * jnp.sum(jnp.mean(chosen, axis=0) * jnp.mean(gates, axis=0)))
        hidden = nn.relu(nn.DenseGeneral((self.experts, self.features), name="experts")(x))  # [B, N, F]
        return nn.Dense(self.num_classes, name="head")(jnp.einsum("bnf,bn->bf", hidden, chosen * gates))


class Bigram(nn.Module):
    """A table of the logits of the next token, [B, T] -> [B, T, V]."""

    vocab_size: int

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        return nn.Embed(self.vocab_size, self.vocab_size, embedding_init=nn.initializers.zeros, name="logits")(tokens)
