"""VQ-VAE: an image as a map of codes out of a codebook of moving averages."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.core.blocks import Block, card, cards, picture, section
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import described
from deeplab.tasks.contract.pixels import in_units
from deeplab.tasks.contract.task import Batch, Loss, Task, Trained


@dataclasses.dataclass(frozen=True)
@ranges.checked(num_codes=ranges.COUNT, decay=ranges.FRACTION, commitment=ranges.NATURAL)
class VQVAE(Task):
    """|x - decoder(e)|^2 + commitment |z - e|^2, summed over an image, where e is the code nearest to z.

    z [B, h, w, D] is the model's. The gradient of e is given to z as it is. A code is the moving average of the z that
    chose it. Metrics: `error`, and `codes`, the exponential of the entropy of how often each is chosen. What draws is a
    law of the codes: learn one from `predict`'s, such as `AutoregressiveImages` of as many levels, whose grays are the
    codes divided by K - 1.

    Args:
      decoder: Module from codes [B, h, w, D] to images, such as `dl.models.ConvDecoder`.
      num_codes: Number of codes K.
      decay: Decay of the moving averages; may be a tracer.
      commitment: Weight of the distance from z to its code; may be a tracer.

    Example:
      >>> from deeplab.models import ConvDecoder
      >>> VQVAE(ConvDecoder(channels=1, widths=(16, 8)), num_codes=64).decay
      0.99
      >>> codes = jnp.array([[[0, 63], [5, 1]]])  # of `predict`, [B, h, w]
      >>> grays = (codes / (64 - 1))[..., None]  # images for AutoregressiveImages((2, 2, 1), levels=64)
      >>> bool(jnp.all(jnp.round(grays[..., 0] * 63).astype(int) == codes))  # and what it draws, as codes
      True

    Source: van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, with its appendix A.1.
    """

    decoder: nn.Module
    num_codes: int = 128
    decay: float | jax.Array = 0.99
    commitment: float | jax.Array = 0.25

    def init_params(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        return {"decoder": self.decoder.init(key, apply(batch["image"])[0])["params"]}

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        size = apply(batch["image"])[0].shape[-1]
        return {"count": jnp.ones(self.num_codes), "total": jax.random.normal(key, (self.num_codes, size))}

    def _chosen(self, apply: Apply, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The number of each place's code, [B, h, w], and the codes [K, D]."""
        codes = apply.task_state["total"] / jnp.maximum(apply.task_state["count"], 1e-5)[:, None]
        inner = jnp.matmul(2 * z, codes.T, precision="highest")  # of near codes TF32 chooses another
        distance = jnp.sum(codes**2, axis=-1)[None, None, None] - inner
        return jnp.argmin(distance, axis=-1), codes

    def _decoded(self, apply: Apply, e: jax.Array, **options: Any) -> jax.Array:
        return apply.of(self.decoder, apply.task_params["decoder"])(e, **options)[0]

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        image = in_units(batch["image"], type(self).__name__, slack=None)
        z, variables = apply(image, train=True, key=key)
        chosen, codes = self._chosen(apply, z)
        votes = jax.nn.one_hot(chosen, self.num_codes)
        e = jax.lax.stop_gradient(jnp.matmul(votes, codes, precision="highest"))  # the codes themselves
        found = self._decoded(apply, z + jax.lax.stop_gradient(e - z), train=True, key=key)
        if found.shape != image.shape:
            raise UserError(
                f"the decoder returns {described(found)} for images {list(image.shape)}; give it their shape"
            )
        error = jnp.sum((found - image) ** 2, axis=(1, 2, 3))
        commitment = jnp.sum((z - e) ** 2, axis=(1, 2, 3))
        votes = jax.lax.stop_gradient(votes * batch["weight"][:, None, None, None])
        seen = {"count": jnp.sum(votes, axis=(0, 1, 2)), "total": jnp.einsum("bhwk,bhwd->kd", votes, z)}
        seen = jax.lax.stop_gradient(seen)
        state = {k: self.decay * old + (1 - self.decay) * seen[k] for k, old in apply.task_state.items()}
        share = state["count"] / jnp.sum(state["count"])
        used = jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))
        metrics = {"error": Mean.of(error, batch["weight"]), "codes": Mean.of(used[None])}
        return Loss(Mean.of(error + self.commitment * commitment, batch["weight"]), metrics, variables, state)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`codes` [B, h, w] int32, `reconstruction` [B, H, W, C] and `loss` [B], its squared error."""
        chosen, codes = self._chosen(apply, apply(batch["image"])[0])
        found = self._decoded(apply, codes[chosen])
        error = jnp.sum((found - batch["image"]) ** 2, axis=(1, 2, 3))
        return {"codes": chosen.astype(jnp.int32), "reconstruction": found, "loss": error}

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Images as they are decoded from their codes."""
        images = np.asarray(trained.predictions["reconstruction"][:24])
        return {"reconstructions": [section("Decoded", cards([card("", picture(x)) for x in images], compact=True))]}
