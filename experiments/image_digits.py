"""Handwritten digits of 8 x 8 pixels with a small convolutional network.

Run:     python -m experiments.image_digits               (the data come with scikit-learn: nothing to download)
Sweep:   python -m experiments.image_digits sweep --learning-rate 1e-3..1e-2:4 --seeds 4
Result:  not measured yet
Source:  LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf; label smoothing: Szegedy et al. 2016,
         https://arxiv.org/abs/1512.00567
"""

import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.models import cnn
from deeplab.nn.norm import batch_norm


def experiment(
    width: int = 64,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-2,
    label_smoothing: float = 0.1,
    dropout: float = 0.5,
    rotation: float = 10.0,  # degrees
    zoom: float = 0.1,  # a logarithm
    shift: float = 0.4,  # pixels
) -> dl.Experiment:
    """Digits, 1,437 to learn from and 360 to test on; 11 steps an epoch."""
    augmented = augment.chain(augment.rotate(rotation), nudge(zoom, shift))
    data = dl.data.Images("digits", batch_size=batch_size, epochs=epochs, augment=augmented)
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)
    return dl.Experiment(
        data=data,
        model=dl.models.CNN(data.num_classes, (width, 2 * width), hidden=256, norm=batch_norm, dropout=dropout),
        task=dl.tasks.Classification(label_smoothing=label_smoothing),
        optimizer=optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only),
        rules=cnn.RULES,
    )


def nudge(zoom: float, pixels: float) -> dl.data.Augment:
    """Zooms and moves by parts of a pixel: at 8 x 8 a whole pixel is too much."""

    def move(key: jax.Array, image: jax.Array) -> jax.Array:
        change = jax.random.uniform(key, (3,), minval=-1.0)
        scale = jnp.exp(zoom * change[0]) * jnp.ones(2)
        offset = pixels * change[1:] + (1 - scale) * jnp.array(image.shape[:2]) / 2
        return jax.image.scale_and_translate(image, image.shape, (0, 1), scale, offset, "linear", antialias=False)

    return move


if __name__ == "__main__":
    dl.main(experiment)
