"""The tasks of generative models, each as an experiment of seconds on the digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import deeplab as dl
from deeplab import generate
from deeplab.models.generative.conditioning import Condition


class Denoiser(nn.Module):
    """Two layers, steered by times and classes."""

    num_classes: int | None = None
    tempo: float = 1000.0

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, label: jax.Array | None = None, train: bool = False) -> jax.Array:
        steer = Condition(64, self.num_classes, self.tempo, name="condition")(time, label)
        h = nn.silu(nn.Dense(64, name="hidden1")(x.reshape(len(x), -1)) + steer)
        return nn.Dense(x[0].size, name="out")(nn.silu(nn.Dense(64, name="hidden2")(h))).reshape(x.shape)


class Member(NamedTuple):
    """A task and its network, and the metric of evaluations that training makes smaller, to a share of what it was.

    The data are the digits, if no others are given, for a number of steps.
    """

    make: Callable[[], tuple[nn.Module, Any]]
    metric: str = "loss"
    share: float = 0.9
    steps: int = 24
    data: Callable[[int], dl.data.Data] | None = None


SHAPE = (8, 8, 1)


def digits(num_steps: int) -> dl.data.Data:
    return dl.data.Images("digits", batch_size=32, num_steps=num_steps, normalize=None)


def words(num_steps: int) -> dl.data.Data:
    """Sequences of eight tokens that count upwards from anywhere."""
    rows = (np.arange(200)[:, None] + np.arange(8)[None]) % 7
    arrays = {
        name: {"targets": rows[part].astype(np.int32)}
        for name, part in (("train", slice(150)), ("test", slice(150, None)))
    }
    return dl.data.Examples(arrays, batch_size=32, num_steps=num_steps)


def autoencoder() -> nn.Module:
    return dl.models.GaussianAutoencoder(SHAPE, 4, (32,))


MEMBERS = {
    "ddpm": Member(lambda: (Denoiser(10), generate.Diffusion(SHAPE, num_classes=10, steps=4))),
    "v": Member(lambda: (Denoiser(), generate.Diffusion(SHAPE, generate.v_prediction()))),
    "edm": Member(lambda: (Denoiser(), generate.Diffusion(SHAPE, generate.edm()))),
    "flow": Member(lambda: (Denoiser(10), generate.FlowMatching(SHAPE, num_classes=10))),
    "coupled_flow": Member(lambda: (Denoiser(), generate.FlowMatching(SHAPE, coupling=0.05))),
    "mean_flow": Member(lambda: (Denoiser(tempo=4.0), generate.MeanFlow(SHAPE)), "error"),
}

MEMBERS |= {
    "vae": Member(lambda: (autoencoder(), generate.VAE(4, importance_samples=20, chunk=10)), "bound"),
    "iwae": Member(lambda: (autoencoder(), generate.IWAE(4, 5)), "bound"),
    "pixelcnn": Member(lambda: (dl.models.PixelCNN(17, 8, 1), generate.AutoregressiveImages(SHAPE, 17))),
    "pixel_transformer": Member(
        lambda: (dl.models.PixelTransformer(17, 1, 2, 16), generate.AutoregressiveImages(SHAPE, 17))
    ),
    "masked_text": Member(
        lambda: (dl.models.GapTransformer(7, 1, 2, 16, 8), generate.MaskedDiffusion(7, 8)), share=0.95, data=words
    ),
    "gan": Member(
        lambda: (dl.models.Generator(SHAPE, (8, 4)), generate.R3GAN(dl.models.Critic((4, 8)), 8)),
        "mean_distance",
        steps=160,
    ),
    "vq": Member(
        lambda: (dl.models.ConvEncoder(4, (4, 8)), generate.VQVAE(dl.models.ConvDecoder(1, (8, 4)), 16, 0.9)), "error"
    ),
    "flow_of_images": Member(
        lambda: (dl.models.flows.image_real_nvp(1, 8, 1), generate.NormalizingFlow(SHAPE, levels=17)), share=0.98
    ),
}


def experiment(name: str = "ddpm", num_steps: int | None = None, learning_rate: float = 3e-3) -> dl.Experiment:
    model, task = MEMBERS[name].make()
    num_steps = num_steps or MEMBERS[name].steps
    return dl.Experiment(
        data=(MEMBERS[name].data or digits)(num_steps),
        model=model,
        task=task,
        optimizer=optax.adam(learning_rate),
        eval_every=num_steps // 2,
    )


class Formula:
    """An `Apply` that is a function of the inputs."""

    def __init__(self, function: Callable[..., jax.Array]):
        self.function = function

    def __call__(self, *inputs: Any, train: bool = False, key: Any = None, **rest: Any) -> tuple[jax.Array, Any]:
        return self.function(*inputs), {}

    def evaluating(self) -> Formula:
        return self


def batch_of(image: jax.Array) -> dict[str, jax.Array]:
    return {"image": image, "weight": jnp.ones(len(image)), "id": jnp.arange(len(image))}
