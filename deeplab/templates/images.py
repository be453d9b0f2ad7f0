"""images: a small convolutional network on handwritten digits. Say here what the idea is.

Run:     python images.py                 (the same command again goes on, or says that it is done)
Sweep:   python images.py sweep --learning-rate 1e-3..1e-1:8 --seeds 4
Result:  none yet
"""

from typing import Any

import flax.linen as nn
import jax
import optax

import deeplab as dl


class Model(nn.Module):
    """Two convolutions and a linear head: [B, H, W, C] -> [B, K]."""

    num_classes: int
    width: int = 16
    dropout: Any = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(nn.Conv(self.width, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(2 * self.width, (3, 3), strides=(2, 2), name="conv2")(x))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x.reshape(len(x), -1))
        return nn.Dense(self.num_classes, name="head")(x)


def experiment(
    width: int = 16, epochs: int = 10, batch_size: int = 64, learning_rate: float = 1e-2, dropout: float = 0.1
) -> dl.Experiment:
    """Digits of 8 x 8 pixels, which come along.

    Args:
      width: Number of channels of the first convolution.
      epochs: Number of passes over the training images.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
      dropout: Dropout probability before the head.
    """
    # Images of your own, photos/CLASS/*.jpg: dl.data.image_folder("photos", size=64) in place of "digits".
    data = dl.data.Images("digits", batch_size=batch_size, epochs=epochs, augment=dl.data.augment.shift(1))
    return dl.Experiment(
        data=data,
        model=Model(data.num_classes, width, dropout),
        task=dl.tasks.Classification(),
        optimizer=optax.adamw(dl.optim.warmup_cosine(learning_rate, data.num_steps)),
    )


if __name__ == "__main__":
    dl.main(experiment)
