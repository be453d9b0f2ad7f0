"""Networks of generative models, which read a time besides the image: here one that the image gives."""

import functools

import flax.linen as nn
import jax

from deeplab.models.generative import autoencoder, convolutional, dit, flows, masked, pixels, unet
from tests.models.members.base import Family, Member, normal, tokens


class AtTime(nn.Module):
    """A network at a time of each image's own."""

    net: nn.Module

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.net(x, x.mean((1, 2, 3)), None, train)


class First(nn.Module):
    """A network of several outputs, of which the first is trained."""

    net: nn.Module

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.net(x, train=train)[0]


def of(make):
    return lambda **sizes: AtTime(make(num_classes=3, **sizes))


def member(make, module, shape, **more):
    return Member(functools.partial(of(make), **module.VARIANTS["test"], **more), normal(*shape), shape, module.RULES)


def plain(make, variants, inputs, output, **more):
    return Member(functools.partial(make, **variants["test"], **more), inputs, output, ())


def coding(**sizes):
    return First(autoencoder.GaussianAutoencoder((4, 4, 1), **sizes))


MEMBERS = {
    "gaussian_autoencoder": Member(
        functools.partial(coding, **autoencoder.VARIANTS["test"]), normal(4, 4, 1), (4, 4, 1), autoencoder.RULES
    ),
    "real_nvp": Member(lambda: First(flows.real_nvp(6, 2, 8)), normal(6), (6,), ()),
    "maf": Member(lambda: First(flows.maf(2, 8)), normal(6), (6,), ()),
    "image_real_nvp": Member(lambda: First(flows.image_real_nvp(1, 8, 1)), normal(4, 4, 1), (2, 2, 4), ()),
    "diffusion_unet": member(unet.DiffusionUNet, unet, (7, 8, 1), dropout=0.5),
    "dit": member(dit.DiT, dit, (8, 12, 1)),
    "pixelcnn": plain(pixels.PixelCNN, pixels.VARIANTS, normal(5, 6, 1), (5, 6, 1, 4), levels=4),
    "gap_transformer": Member(
        functools.partial(masked.GapTransformer, vocab_size=7, **masked.VARIANTS["test"]), tokens, (12, 7), masked.RULES
    ),
    "critic": plain(convolutional.Critic, convolutional.VARIANTS, normal(8, 8, 1), ()),
    "generator": plain(convolutional.Generator, convolutional.VARIANTS, normal(5), (8, 8, 1), shape=(8, 8, 1)),
}
SLOW = {
    "diffusion_unet", "pixelcnn", "gap_transformer", "critic", "generator", "gaussian_autoencoder", "real_nvp", "maf",
    "image_real_nvp",
}  # fmt: skip
SLOW_SIZES = {"diffusion_unet"}
FAMILIES = {
    "diffusion_unet": Family(of(unet.DiffusionUNet), unet.VARIANTS, normal(32, 32, 3), (32, 32, 3)),
    "dit": Family(of(dit.DiT), dit.VARIANTS, normal(32, 32, 3), (32, 32, 3)),
}
