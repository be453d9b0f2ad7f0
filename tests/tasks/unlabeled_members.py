"""Every task without labels, on digits or on a page of text."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.models import MLP
from deeplab.models.text.encoders import bert
from deeplab.nn.activations import gelu
from deeplab.nn.norm import batch_norm, layer_norm
from deeplab.nn.parts.heads import MaskedTokens
from deeplab.nn.parts.patches import PatchDecoder
from deeplab.nn.parts.prototypes import Prototypes
from deeplab.tasks import Task, unlabeled
from tests.contracts.bigram import LICENSE
from tests.contracts.networks import Trunk

VIEW = augment.warp(15.0, 0.1, 1.0)
STEPS = 40


def head(size: int = 16, norm: Any = batch_norm) -> dl.models.MLP:
    return dl.models.MLP(size, features=(64,), norm=norm)


def digits(num_steps: int, prepare: Any = None, **options: Any) -> dl.data.Data:
    if prepare is not None:
        return dl.data.Examples("digits", 64, num_steps=num_steps, prepare=prepare)
    return dl.data.Images("digits", batch_size=64, num_steps=num_steps, **options)


class TwoTowers(nn.Module):
    """Embeddings of two images of an example, by a network each."""

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        return tuple(nn.Dense(16, name=f"out_{k}")(Trunk(64, name=k)(x)) for k, x in (("a", a), ("b", b)))


class Embedding(nn.Module):
    """A vector of each token, [B, T] -> [B, T, D]."""

    vocab_size: int
    width: int = 16

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        return nn.Embed(self.vocab_size, self.width, name="tokens")(tokens)


class EachFrame(nn.Module):
    """Frames from their states, [B, F, D] -> [B, F, M]."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(self.width, name="frame")(x)


class Around(nn.Module):
    """States of frames, each from its own and its neighbors' features, [B, F, M] -> [B, F, D]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.relu(nn.Conv(32, (9,), name="around")(x))


def text(num_steps: int) -> dl.data.Text:
    return dl.data.Text(dl.data.text_lines(LICENSE), context=16, batch_size=64, num_steps=num_steps)


def frames(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
    """Digits as spectrograms: the rows are frames."""
    x = example["image"][..., 0].astype(jnp.float32) / 64 - 1
    return {name: y for name, y in example.items() if name != "image"} | {"features": x, "frames": jnp.int32(8)}


class Member(NamedTuple):
    """A task, and what is expected of it.

    Attributes:
      task: Task.
      pairs: Whether its loss compares examples of a batch, or counts them, so that microbatches give another one.
      model: Encoder.
      data: Data, given the number of steps.
    """

    task: Task
    pairs: bool
    model: nn.Module = Trunk(64)
    data: Callable[[int], dl.data.Data] = digits


MEMBERS = {
    "simclr": Member(unlabeled.SimCLR(VIEW, head(), 0.2), True),
    "supervised_contrast": Member(unlabeled.SupervisedContrast(VIEW, head(), 0.2), True),
    "sigmoid_pairs": Member(
        unlabeled.SigmoidPairs(("a", "b")), True, TwoTowers(), functools.partial(digits, views={"a": VIEW, "b": VIEW})
    ),
    "byol": Member(unlabeled.BYOL(VIEW, head(), 0.9, predictor=head()), True),  # by its batch norms
    "dino": Member(unlabeled.DINO(VIEW, Prototypes(32), 0.96), True),  # by its center, which each microbatch moves
    "barlow_twins": Member(unlabeled.BarlowTwins(VIEW, head()), True),
    "vicreg": Member(unlabeled.VICReg(VIEW, head()), True),
    "autoencoder": Member(unlabeled.Autoencoder(MLP(64, features=(64,))), False),
    "denoising": Member(unlabeled.Autoencoder(MLP(64, features=(64,)), noise=0.3, hidden=0.2), False),
    "masked_autoencoder": Member(
        unlabeled.MaskedAutoencoder(PatchDecoder(16, 4, width=32), patch=2),
        False,
        dl.models.ViT(size=8, patch=2, num_layers=1, num_heads=2, width=32, hidden=64),
    ),
    "masked_tokens": Member(
        unlabeled.MaskedTokens(256, 256),
        False,
        dl.models.Bert(vocab_size=257, head=MaskedTokens(gelu, layer_norm()), padding=None, **bert.VARIANTS["test"]),
        text,
    ),
    "masked_frames": Member(
        unlabeled.MaskedFrames(EachFrame(8), spans=1, length=2),
        False,
        Around(),
        functools.partial(digits, prepare=frames),
    ),
    "skip_gram": Member(unlabeled.SkipGram(256, window=2), True, Embedding(256), text),  # by its counts
}


def experiment_of(name: str, num_steps: int = STEPS, optimizer: Any = optax.adam) -> Callable[..., dl.Experiment]:
    member = MEMBERS[name]

    def experiment(learning_rate: float = 3e-3) -> dl.Experiment:
        every, rule = num_steps // 2, optimizer(learning_rate)
        return dl.Experiment(member.data(num_steps), member.model, member.task, rule, eval_every=every)

    return experiment
