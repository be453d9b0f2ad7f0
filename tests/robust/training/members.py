"""Toys of every kind of task, and every wrapper of a task: what the laws of robust training run on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import deeplab as dl
from deeplab.models import MLP
from deeplab.robust import training
from deeplab.tasks import Task
from tests.contracts.networks import Bigram

INF = float("inf")


class Pixels(nn.Module):
    """Logits of each pixel, [B, H, W, C] -> [B, H, W, 2]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(2, name="out")(nn.relu(nn.Dense(8, name="hidden")(x)))


class Frames(nn.Module):
    """Logits of each frame, [B, F, M] -> [B, F, 4]."""

    @nn.compact
    def __call__(self, x: jax.Array, frames: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(4, name="out")(x)


class Ahead(nn.Module):
    """Forecasts of two channels, [B, T, 2] -> [B, 3, 2, 1]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return nn.Dense(6, name="out")(x.reshape(len(x), -1)).reshape(len(x), 3, 2, 1)


def _images(rng: Any, size: int) -> dict[str, Any]:
    image = rng.uniform(size=(size, 8, 8, 1)).astype(np.float32) * rng.uniform(0.2, 1, (size, 1, 1, 1))
    return {"image": image.astype(np.float32), "label": (image.mean(axis=(1, 2, 3)) > 0.3).astype(np.int32)}


def _several(rng: Any, size: int) -> dict[str, Any]:
    image = _images(rng, size)["image"]
    return {
        "image": image,
        "label": np.stack([image[:, :4].mean((1, 2, 3)) > 0.3, image[:, 4:, :4].sum((1, 2, 3)) > 5], 1),
    }


def _masks(rng: Any, size: int) -> dict[str, Any]:
    image = _images(rng, size)["image"]
    return {"image": image, "mask": (image[..., 0] > 0.3).astype(np.int32)}


def _table(rng: Any, size: int) -> dict[str, Any]:
    x = rng.normal(size=(size, 5)).astype(np.float32)
    return {"x": x, "label": (x[:, 0] > 0).astype(np.int32)}


def _numbers(rng: Any, size: int) -> dict[str, Any]:
    x = rng.normal(size=(size, 5)).astype(np.float32)
    return {"x": x, "target": (x[:, 0] - x[:, 1]).astype(np.float32)}


def _series(rng: Any, size: int) -> dict[str, Any]:
    x = rng.normal(size=(size, 7, 2)).cumsum(axis=1).astype(np.float32)
    return {"history": x[:, :4], "target": x[:, 4:]}


def _sounds(rng: Any, size: int) -> dict[str, Any]:
    label = rng.integers(1, 4, (size, 2)).astype(np.int32)
    features = np.eye(4, dtype=np.float32)[np.repeat(label, 3, axis=1)] + 0.1 * rng.normal(size=(size, 6, 4))
    full = np.full(size, 6, np.int32)
    return {"features": features.astype(np.float32), "frames": full, "label": label, "label_length": full // 3}


def _tokens(rng: Any, size: int) -> dict[str, Any]:
    start = rng.integers(0, 5, (size, 1))
    tokens = ((start + np.arange(7)) % 5).astype(np.int32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:]}


class Kind(NamedTuple):
    """A kind of task: the task, its model, its data, and the box of its inputs."""

    task: Task
    model: nn.Module
    data: Callable[[Any, int], dict[str, Any]]
    box: tuple[float, float] = (-INF, INF)


KINDS = {
    "classification": Kind(dl.tasks.Classification(), MLP(2, features=(16,), dropout=0.1), _images, (0.0, 1.0)),
    "multilabel": Kind(dl.tasks.MultiLabel(), MLP(2, features=(16,)), _several, (0.0, 1.0)),
    "segmentation": Kind(dl.tasks.Segmentation(("a", "b")), Pixels(), _masks, (0.0, 1.0)),
    "clinical": Kind(dl.tasks.Clinical(("a", "b")), MLP(2, features=(16,)), _table),
    "regression": Kind(dl.tasks.Regression(fields=("x",)), MLP(1, features=(16,)), _numbers),
    "forecasting": Kind(dl.tasks.Forecasting(), Ahead(), _series),
    "ctc": Kind(dl.tasks.CTC(("a", "b", "c")), Frames(), _sounds),
    "byol": Kind(
        dl.tasks.unlabeled.BYOL(
            dl.data.augment.shift(1), MLP(8, features=(8,)), 0.9, predictor=MLP(8, features=(8,))
        ),
        MLP(16, features=(16,)), _images, (0.0, 1.0),
    ),
    "language": Kind(dl.tasks.LanguageModeling(), Bigram(5), _tokens),
}  # fmt: skip


def _wrappers(box: tuple[float, float]) -> dict[str, Callable[[Task], Task]]:
    return {
        "adversarial": lambda task: training.Adversarial(task, training.uphill(task, 0.05, steps=2, box=box)),
        "growing": lambda task: training.Adversarial(task, training.uphill(task, 0.05, steps=1, box=box), growth=4),
        "fast": lambda task: training.Fast(task, 0.05, align=0.2, box=box),
        "free": lambda task: training.Free(task, 0.05, box=box),
        "trades": lambda task: training.TRADES(task, 0.05, steps=2, box=box),
        "augmix": lambda task: training.AugMix(task, training.mixed(2, 1)),
        "noise": lambda task: training.Noise(task, 0.1),
        "sam": lambda task: training.SAM(task, 0.05),
        "dro": lambda task: training.GroupDRO(task, 3, rate=0.1),
    }


FLOATS = ("classification", "multilabel", "segmentation", "clinical", "regression", "forecasting", "ctc", "byol")
PROBABILITIES = ("classification", "multilabel", "segmentation", "clinical")
DEFINED: dict[str, tuple[str, ...]] = {
    "adversarial": FLOATS,
    "growing": FLOATS,
    "fast": FLOATS,
    "free": FLOATS,
    "trades": PROBABILITIES,
    "augmix": ("classification", "multilabel"),
    "noise": FLOATS,
    "sam": (*FLOATS, "language"),
    "dro": (*(kind for kind in FLOATS if kind != "byol"), "language"),
}
"""Where each wrapper is defined; elsewhere it is an error that names the reason."""

REASONS = {
    **{
        (name, "language"): "moves the first input"
        for name in ("adversarial", "growing", "fast", "free", "trades", "augmix", "noise")
    },
    **{("trades", kind): "none; use" for kind in ("regression", "forecasting", "ctc", "byol")},
    ("augmix", "segmentation"): "the mask of Segmentation would stay",
    **{
        ("augmix", kind): r"augments images \[B, H, W, C\]" for kind in ("clinical", "regression", "forecasting", "ctc")
    },
    ("augmix", "byol"): "none; use",
    ("dro", "byol"): "no loss of a group",
}
"""The words of that error."""


@functools.cache
def arrays(kind: str) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    made = {split: KINDS[kind].data(rng, size) for split, size in (("train", 44), ("test", 20))}
    return {k: v | {"group": (np.arange(len(next(iter(v.values())))) % 3).astype(np.int32)} for k, v in made.items()}


def experiment_of(
    wrapper: str, kind: str, optimizer: Any = optax.adam, num_steps: int = 12
) -> Callable[..., dl.Experiment]:
    """The experiment of a wrapper around a kind of task, a function of its learning rate."""
    given = KINDS[kind]
    task = _wrappers(given.box)[wrapper](given.task)

    def experiment(learning_rate: float = 2e-2) -> dl.Experiment:
        repeats = 3 if wrapper == "free" else 1
        data = dl.data.Examples(arrays(kind), batch_size=16, num_steps=num_steps, repeats=repeats)
        return dl.Experiment(data, given.model, task, optimizer(learning_rate), eval_every=num_steps // 2)

    return experiment


def batch_of(kind: str, size: int = 8) -> dict[str, Any]:
    """A batch of a kind of task."""
    rows = {name: jnp.asarray(x[:size]) for name, x in arrays(kind)["train"].items()}
    return rows | {"id": jnp.arange(size, dtype=jnp.int32), "weight": jnp.ones(size)}
