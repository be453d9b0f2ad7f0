"""Variational autoencoders: bounds of the log-likelihood of binary images, and its estimates by importance samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.blocks import Block
from deeplab.generate.gallery import shown
from deeplab.generate.paths.likelihoods import normal_log_prob
from deeplab.generate.record import Generative, decoding, keys_of, normals, refuse_condition
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array
from deeplab.tasks.contract.pixels import in_units
from deeplab.tasks.contract.task import Batch, Loss, Task, Trained

_COUNTS = dict.fromkeys(("latents", "samples", "importance_samples", "chunk"), ranges.COUNT)


def binarized(image: Float[Array, "B ..."], ids: jax.Array) -> Float[Array, "B ..."]:
    """Each pixel drawn as 1 with the probability of its gray value, once and for all: by the example's number alone.

    Statically binarized sets (Salakhutdinov and Murray 2008) are such a draw; this one's seed is 0.

    Args:
      image: Images in [0, 1].
      ids: Numbers of the examples, [B].

    Example:
      >>> image, ids = jnp.full((2, 4, 4, 1), 0.5), jnp.arange(2)
      >>> drawn = binarized(image, ids)
      >>> sorted(set(drawn.ravel().tolist())), bool(jnp.all(drawn == binarized(image, ids)))
      ([0.0, 1.0], True)
    """
    in_units(image, "binarized")
    keys = keys_of(jax.random.key(0), ids)
    return (jax.vmap(lambda k: jax.random.uniform(k, image.shape[1:]))(keys) < image).astype(image.dtype)


def log_weights(apply: Apply, x: Float[Array, "B ..."], noise: Float[Array, "K B D"], **options: Any) -> Any:
    """log p(x, z) - log q(z | x) of K codes z for each example, [K, B], the likelihood, the law of z and variables.

    Args:
      apply: Model with the methods `encode` and `decode`.
      x: Images of zeros and ones.
      noise: Standard normal numbers, of which the codes are made.
      **options: Options of `apply`, such as `train` and `key`.
    """
    (mean, log_variance), variables = apply(x, method="encode", **options)
    one_array(mean, *noise.shape[1:])
    z = mean[None] + jnp.exp(log_variance / 2)[None] * noise
    K, B, D = z.shape
    decoder = apply.rebound(variables=variables) if variables else apply  # which keeps what the encoder has updated
    logits, variables = decoder(z.reshape(K * B, D), method="decode", **options)
    logits = logits.reshape(K, B, -1)
    likelihood = -jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x.reshape(1, B, -1)), axis=-1)
    prior = normal_log_prob(z.reshape(K * B, D)).reshape(K, B)
    posterior = normal_log_prob(noise.reshape(K * B, D)).reshape(K, B) - jnp.sum(log_variance, axis=-1)[None] / 2
    return likelihood + prior - posterior, likelihood, (mean, log_variance), variables


def divergences(mean: Float[Array, "B D"], log_variance: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Kullback-Leibler divergence from the standard normal law, of each component, in nats.

    Example:
      >>> [round(float(x), 4) for x in divergences(jnp.array([[0.0, 1.0]]), jnp.zeros((1, 2)))[0]]
      [0.0, 0.5]
    """
    return 0.5 * (jnp.exp(log_variance) + mean**2 - 1 - log_variance)


def importance_log_prob(
    apply: Apply, x: Float[Array, "B ..."], key: jax.Array, size: int, samples: int, chunk: int
) -> Float[Array, " B"]:
    """log of the mean of p(x, z) / q(z | x) over codes z from q: a bound of log p(x), and close to it for many.

    Args:
      apply: Model.
      x: Images of zeros and ones.
      key: Key of the codes.
      size: D, number of components of a code.
      samples: Number of codes.
      chunk: Largest number of codes at a time.

    Source: Burda et al. 2016, https://arxiv.org/abs/1509.00519.
    """

    def add(total: jax.Array, number: jax.Array, count: int = chunk) -> tuple[jax.Array, None]:
        keys = keys_of(jax.random.fold_in(key, number), jnp.arange(len(x)))
        weights, *_ = log_weights(apply, x, _codes(keys, count, size))
        return jnp.logaddexp(total, jax.nn.logsumexp(weights, axis=0)), None

    whole, rest = divmod(samples, chunk)
    total, _ = jax.lax.scan(add, jnp.full(len(x), -jnp.inf), jnp.arange(whole))
    if rest:
        total, _ = add(total, jnp.array(whole), rest)
    return total - jnp.log(samples)


def _codes(keys: jax.Array, number: int, size: int) -> Float[Array, "K B D"]:
    return normals(keys, (number, size)).swapaxes(0, 1)


def _generative(task: VAE | IWAE, apply: Apply) -> Generative:
    def decode(start: jax.Array, condition: Any = None) -> jax.Array:
        refuse_condition(condition, task)
        return jax.nn.sigmoid(apply(start, method="decode")[0])

    def log_prob(x: jax.Array, key: jax.Array) -> jax.Array:
        x = in_units(x, type(task).__name__)
        binary = jnp.all(((x == 0) | (x == 1)).reshape(len(x), -1), axis=1)
        found = importance_log_prob(apply, x, key, task.latents, task.importance_samples, task.chunk)
        return jnp.where(binary, found, jnp.nan)

    return decoding(decode, (task.latents,), log_prob=log_prob)


@dataclasses.dataclass(frozen=True)
@ranges.checked(beta=ranges.NATURAL, free_bits=ranges.NATURAL, **_COUNTS)
class VAE(Task):
    """-E log p(x | z) + beta sum_j max(free_bits, KL_j), z from q(z | x), of binary images.

    Pixels that are gray are binarized, see `binarized`. The model has the methods `encode` and `decode`, as
    `dl.models.GaussianAutoencoder`. Metrics in nats an image: `bound`, -log p(x) at most, whatever beta; `divergence`.

    Args:
      latents: D, number of components of z.
      beta: Weight of the divergence (Higgins et al. 2017, https://openreview.net/forum?id=Sy2fzU9gl); may be a tracer.
      free_bits: Nats of each component of z that cost nothing, for each example (Kingma et al. 2016,
        https://arxiv.org/abs/1606.04934, take the mean of a batch); may be a tracer.
      samples: Number of codes for each example in training.
      importance_samples: Number of codes of `Generative.log_prob`.
      chunk: Largest number of them at a time.

    Example:
      >>> VAE(latents=16, beta=4.0).beta
      4.0

    Source: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114.
    """

    latents: int
    beta: float | jax.Array = 1.0
    free_bits: float | jax.Array = 0.0
    samples: int = 1
    importance_samples: int = 5000
    chunk: int = 50

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        image = in_units(batch["image"], type(self).__name__)
        x, noise = binarized(image, batch["id"]), _codes(keys_of(key, batch["id"]), self.samples, self.latents)
        _, likelihood, (mean, log_variance), variables = log_weights(apply, x, noise, train=True, key=key)
        each, error = divergences(mean, log_variance), -jnp.mean(likelihood, axis=0)
        cost = jnp.sum(jnp.maximum(each, self.free_bits), axis=-1)
        divergence = jnp.sum(each, axis=-1)
        metrics = {"bound": error + divergence, "divergence": divergence}
        means = {name: Mean.of(value, batch["weight"]) for name, value in metrics.items()}
        return Loss(Mean.of(error + self.beta * cost, batch["weight"]), means, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        out = self.loss(apply.evaluating(), batch, key)
        return {"loss": out.loss, **out.metrics}

    def generative(self, apply: Apply) -> Generative:
        """Samples are the probabilities of the pixels; log-densities are of binary images, by importance samples.

        Images with gray pixels have none, and NaN: see `binarized`.
        """
        return _generative(self, apply)

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn images."""
        return {"samples": shown(self.generative(trained.apply(24)), trained)}


@dataclasses.dataclass(frozen=True)
@ranges.checked(**_COUNTS)
class IWAE(Task):
    """-log mean_k p(x, z_k) / q(z_k | x), z_k from q(z | x), of binary images: closer to -log p(x) than the VAE.

    Pixels and model are as in `VAE`, and so is the metric `bound`, here of so many samples.

    Args:
      latents: D, number of components of z.
      samples: Number of codes for each example in training.
      importance_samples: Number of codes of `Generative.log_prob`.
      chunk: Largest number of them at a time.

    Example:
      >>> IWAE(latents=16, samples=5).importance_samples
      5000

    Source: Burda et al. 2016, "Importance weighted autoencoders", https://arxiv.org/abs/1509.00519.
    """

    latents: int
    samples: int = 50
    importance_samples: int = 5000
    chunk: int = 50

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        image = in_units(batch["image"], type(self).__name__)
        x, noise = binarized(image, batch["id"]), _codes(keys_of(key, batch["id"]), self.samples, self.latents)
        weights, _, law, variables = log_weights(apply, x, noise, train=True, key=key)
        bound = jnp.log(self.samples) - jax.nn.logsumexp(weights, axis=0)
        divergence = jnp.sum(divergences(*law), axis=-1)
        means = {"bound": Mean.of(bound, batch["weight"]), "divergence": Mean.of(divergence, batch["weight"])}
        return Loss(means["bound"], means, variables)

    def generative(self, apply: Apply) -> Generative:
        """Samples are the probabilities of the pixels; log-densities are of binary images, by importance samples.

        Images with gray pixels have none, and NaN: see `binarized`.
        """
        return _generative(self, apply)

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn images."""
        return {"samples": shown(self.generative(trained.apply(24)), trained)}
