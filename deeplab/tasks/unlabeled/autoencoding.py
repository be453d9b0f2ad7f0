"""Autoencoding: images are restored from what an encoder keeps of them, or from a part of them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.tasks.contract.pixels import in_units
from deeplab.tasks.contract.task import Batch
from deeplab.tasks.unlabeled.pairs import by_example
from deeplab.tasks.unlabeled.restoring import Hidden, Restoring


@dataclasses.dataclass(frozen=True)
@ranges.checked(noise=ranges.NATURAL, hidden=ranges.RATE)
class Autoencoder(Restoring):
    """The mean squared error of the pixels of an image that is restored from its features; with noise, a denoising one.

    The decoder turns features [B, F] into as many numbers as an image has: `dl.models.MLP(784, features=(256,))`.
    Without noise nothing but the width of the features keeps the encoder from copying the image.

    Args:
      noise: Standard deviation of the noise added to the pixels, which are 0 to 1; may be a tracer.
      hidden: Share of the pixels that become 0.

    Example:
      >>> import deeplab as dl
      >>> Autoencoder(dl.models.MLP(784, features=(256,)), noise=0.3).noise
      0.3

    Source: Hinton and Salakhutdinov 2006, https://doi.org/10.1126/science.1127647; with noise: Vincent et al. 2008,
      https://doi.org/10.1145/1390156.1390294.
    """

    noise: float = 0.0
    hidden: float = 0.0

    def hide(self, batch: Batch, key: jax.Array) -> Hidden:
        def corrupted(key: jax.Array, image: jax.Array) -> jax.Array:
            noise_key, hidden_key = jax.random.split(key)
            shown = jax.random.uniform(hidden_key, (*image.shape[:-1], 1)) >= self.hidden
            return jnp.where(shown, image + self.noise * jax.random.normal(noise_key, image.shape), 0)

        image = in_units(batch["image"], type(self).__name__, slack=None)
        return Hidden((jax.vmap(corrupted)(by_example(key, batch), image),))

    def errors(self, restored: jax.Array, batch: Batch, where: None) -> Float[Array, " B"]:
        image = batch["image"]
        if restored.size != image.size:
            raise UserError(
                f"the decoder gives {list(restored.shape)} for images {list(image.shape)}; expected as many numbers as "
                f"an image has, {image[0].size}"
            )
        return jnp.square(restored.reshape(len(image), -1) - image.reshape(len(image), -1)).mean(axis=1)


@dataclasses.dataclass(frozen=True)
@ranges.checked(patch=ranges.COUNT, share=ranges.RATE)
class MaskedAutoencoder(Restoring):
    """The mean squared error of hidden patches, which are restored from a quarter of the patches of an image (MAE).

    The model is called as (image, None, shown), with the numbers [B, M] of the patches that it reads, as
    `dl.models.ViT(num_classes=None, ...)` is; the decoder as (encoded, shown), and gives the pixels [B, N, P P C] of
    all patches, such as `deeplab.nn.parts.patches.PatchDecoder`. Pixels are standardized by patch.

    Args:
      patch: Height and width P of a patch, in pixels.
      share: Share of the patches that are hidden; it shapes the program.

    Example:
      >>> import deeplab as dl
      >>> MaskedAutoencoder(dl.models.MLP(48), patch=4).share
      0.75

    Source: He et al. 2021, https://arxiv.org/abs/2111.06377.
    """

    patch: int
    share: float = 0.75

    def hide(self, batch: Batch, key: jax.Array) -> Hidden:
        N = (batch["image"].shape[1] // self.patch) * (batch["image"].shape[2] // self.patch)
        M = max(1, N - int(self.share * N))
        order = jax.vmap(lambda k: jax.random.permutation(k, N))(by_example(key, batch))
        shown = jnp.sort(order[:, :M], axis=1)
        hidden = jnp.ones((len(shown), N)).at[jnp.arange(len(shown))[:, None], shown].set(0)
        return Hidden((in_units(batch["image"], type(self).__name__, slack=None), None, shown), (shown,), hidden)

    def errors(self, restored: jax.Array, batch: Batch, where: Float[Array, "B N"]) -> Float[Array, " B"]:
        target = patches(batch["image"], self.patch)
        if restored.shape != target.shape:
            raise UserError(f"the decoder gives {list(restored.shape)}, expected patches {list(target.shape)}")
        target = (target - target.mean(-1, keepdims=True)) * jax.lax.rsqrt(target.var(-1, keepdims=True) + 1e-6)
        each = jnp.square(restored - target).mean(axis=-1)
        return jnp.sum(each * where, axis=1) / jnp.maximum(jnp.sum(where, axis=1), 1)


def patches(image: Float[Array, "B H W C"], size: int) -> Float[Array, "B N P"]:
    """The pixels of each patch, row by row.

    Example:
      >>> patches(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0].tolist()[1]
      [2.0, 3.0, 6.0, 7.0]
    """
    B, H, W, C = image.shape
    cut = image.reshape(B, H // size, size, W // size, size, C).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(B, (H // size) * (W // size), size * size * C)
