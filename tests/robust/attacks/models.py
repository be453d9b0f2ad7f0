"""Linear models of which the attacks know nothing, plain ones and two that hide their gradients."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.precision import Precision
from deeplab.train.bind import BoundApply


class Linear(nn.Module):
    """Logits W x + b of all entries, and one of several ways to hide what they are."""

    num_classes: int = 3
    hidden: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        if self.hidden == "rounded":
            x = jnp.round(x * 8) / 8
        head = nn.Dense(self.num_classes, name="head")
        z = head(x.reshape(len(x), -1))
        if self.hidden == "noisy":
            z = z + 0.5 * jax.random.normal(self.make_rng("params"), z.shape)
        if self.hidden == "dynamic":
            z = z + jax.grad(lambda z: jnp.sum(jnp.sin(z)))(z)
        if self.hidden == "batch":
            z = z - jnp.mean(z, axis=0, keepdims=True)
        return z


def bound(module: nn.Module, params: Any, batch: Any) -> BoundApply:
    return BoundApply(module, params, {}, batch["id"], Precision())


def batch_of(x: Any, label: Any, weight: Any = None) -> dict[str, jax.Array]:
    size = len(x)
    weight = jnp.ones(size) if weight is None else jnp.asarray(weight)
    return {
        "image": jnp.asarray(x, jnp.float32), "label": jnp.asarray(label), "weight": weight, "id": jnp.arange(size) * 7,
    }  # fmt: skip


def linear(seed: int = 0, size: int = 6, shape: tuple[int, ...] = (4, 5, 1), classes: int = 3):
    """A linear model, and a batch of points far from the walls of the box that it classifies rightly."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.4, 0.6, (size, *shape)).astype(np.float32)
    kernel = rng.normal(size=(int(np.prod(shape)), classes)).astype(np.float32)
    bias = rng.normal(size=classes).astype(np.float32)
    logits = x.reshape(size, -1) @ kernel + bias
    batch = batch_of(x, logits.argmax(axis=1))
    return bound(Linear(classes), {"head": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}, batch), batch


def prototypes(size: int = 100, scale: float = 1.0, hidden: str = "", classes: int = 5):
    """The nearest of random images, as a linear model, and noisy examples of them."""
    rng = np.random.default_rng(0)
    means = rng.uniform(0.2, 0.8, (classes, 8, 8, 1)).astype(np.float32)
    label = rng.integers(classes, size=size)
    x = np.clip(means[label] + rng.normal(size=(size, 8, 8, 1)) * 0.4, 0, 1)
    rows = means.reshape(classes, -1)
    params = {
        "head": {"kernel": jnp.asarray(10 * scale * rows.T), "bias": jnp.asarray(-5 * scale * (rows**2).sum(axis=1))}
    }
    batch = batch_of(x, label)
    return bound(Linear(classes, hidden), params, batch), batch


def gaps(apply: BoundApply, batch: Any) -> np.ndarray:
    """The differences of the weights of all classes from the label's, [B, K, D]."""
    W, y = np.asarray(apply.params["head"]["kernel"], np.float64).T, np.asarray(batch["label"])
    return W[None] - W[y][:, None]


def margins(apply: BoundApply, batch: Any) -> np.ndarray:
    """How much larger the logit of each class is than the label's, [B, K]; minus infinity for the label's own."""
    z, y = np.asarray(apply(batch["image"])[0], np.float64), np.asarray(batch["label"])
    rows = np.arange(len(y))
    z = z - z[rows, y][:, None]
    z[rows, y] = -np.inf
    return z
