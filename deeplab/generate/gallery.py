"""Sections of a report about what a model draws: samples, what they are nearest to, and ways between them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from deeplab.core.blocks import Block, card, cards, picture, section
from deeplab.generate.measures import nearest
from deeplab.generate.record import Generative, interpolated
from deeplab.tasks.contract.task import Trained

_SEARCHED = 2**26
"""Numbers of training images that are searched: all 60,000 of 28 x 28."""


def grid(images: Float[np.ndarray, "R N H W C"]) -> Float[np.ndarray, "R*H N*W C"]:
    """Rows of images as one.

    Example:
      >>> grid(np.zeros((2, 3, 8, 8, 1))).shape
      (16, 24, 1)
    """
    R, N, H, W, C = images.shape
    return images.transpose(0, 2, 1, 3, 4).reshape(R * H, N * W, C)


def shown(model: Generative, trained: Trained, count: int = 24, num_classes: int | None = None) -> list[Block]:
    """Drawn images; the training images that are nearest to the first of them; ways from one to another.

    Args:
      model: Model of images [H, W, C] in [0, 1].
      trained: What `Task.artifacts` is given.
      count: Number of images.
      num_classes: Number of classes that are asked for in turn, if any.
    """
    asked = None if num_classes is None else jnp.arange(count) % num_classes
    images = np.asarray(jax.jit(lambda key: model.sample(key, count, asked))(trained.key))
    names = [*trained.class_names, *map(str, range(len(trained.class_names), count))]
    titles = [names[k] for k in np.arange(count) % num_classes] if num_classes else [""] * count
    drawn = [card(title, picture(image)) for title, image in zip(titles, images, strict=True)]
    found = [section("Samples", cards(drawn, compact=True))]
    if trained.learned is not None:
        found.append(_remembered(images[:8], trained.learned("image", _SEARCHED // images[0].size)))
    if model.decode is not None:
        told = None if num_classes is None else jnp.arange(4) % num_classes
        ways = jax.jit(lambda key: interpolated(model, key, 4, 8, told))(trained.key)
        note = "Each row leads from one draw to another, by starts that are as likely as these."
        found.append(section("Ways between samples", picture(grid(np.clip(ways, 0, 1))), note=note))
    return found


def _remembered(images: np.ndarray, learned: np.ndarray) -> Block:
    """Images beside the training images that are nearest to them, which would be the same had they been remembered."""
    numbers, distances = nearest(images, learned)
    # How near training images are to one another: what is no nearer than that has not been copied.
    usual = float(np.median(nearest(learned[:8], learned[8:])[1])) if len(learned) > 8 else float("nan")
    pairs = [
        card("", picture(image), picture(learned[number]), caption=f"{distance:.2f}")
        for image, number, distance in zip(images, numbers, distances, strict=True)
    ]
    note = f"Distances by pixels, among {len(learned):,} images; {usual:.2f} from a training image to the next one."
    return section("The nearest training images", cards(pairs), note=note)
