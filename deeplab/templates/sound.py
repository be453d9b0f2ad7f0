"""sound: a small convolutional network on log-mel spectrograms of tones. Say here what the idea is.

Run:     python sound.py                 (the same command again goes on, or says that it is done)
Sweep:   python sound.py sweep --learning-rate 1e-3..1e-1:8 --seeds 4
Result:  none yet
"""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

import deeplab as dl
from deeplab.data.features.audio import LogMel

RATE, CLASSES = 8000, ("steady", "rising", "falling")
MEL = LogMel(rate=RATE, window=200, hop=80, num_mels=32)


class Model(nn.Module):
    """Two convolutions, the mean over time, and a linear head: [B, F, M] -> [B, K]."""

    num_classes: int
    width: int = 16
    dropout: Any = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(nn.Conv(self.width, (5, 5), strides=(2, 2), name="conv1")(x[..., None]))
        x = nn.relu(nn.Conv(2 * self.width, (3, 3), strides=(2, 2), name="conv2")(x))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x.mean(axis=(1, 2)))
        return nn.Dense(self.num_classes, name="head")(x)


def tones(size: int, seed: int) -> dict[str, np.ndarray]:
    """Quarters of a second of a tone whose pitch is steady, rises or falls, in noise: audio [N, T], label [N]."""
    random, time = np.random.default_rng(seed), np.arange(RATE // 4) / RATE
    label, pitch = random.integers(0, len(CLASSES), size), random.uniform(500, 1500, (size, 1))
    slope = np.array([0, 2000, -2000])[label][:, None]  # Hertz in a second
    audio = np.sin(2 * np.pi * (pitch + slope * time / 2) * time) + 0.3 * random.normal(size=(size, len(time)))
    return {"audio": audio.astype(np.float32), "label": label.astype(np.int32)}


def spectrogram(example: dl.data.Example, key: jax.Array | None) -> dl.data.Example:
    """What the model reads of an example; in training, where there is a key, it may be augmented here."""
    features = MEL(example["audio"])
    return example | {"features": (features - features.mean()) / (features.std() + 1e-2)}


def experiment(
    width: int = 16, epochs: int = 10, batch_size: int = 32, learning_rate: float = 1e-2, dropout: float = 0.1
) -> dl.Experiment:
    """Steady, rising and falling tones, which are made here.

    Args:
      width: Number of channels of the first convolution.
      epochs: Number of passes over the training clips.
      batch_size: Number of clips per step.
      learning_rate: Peak learning rate of the cosine schedule.
      dropout: Dropout probability before the head.
    """
    # Clips of your own, clips/CLASS/*.wav: dl.data.sounds("clips", labels="folder") in place of arrays(...).
    clips = dl.data.arrays({"train": tones(300, seed=0), "test": tones(100, seed=1)}, class_names=CLASSES)
    data = dl.data.Examples(clips, batch_size=batch_size, epochs=epochs, prepare=spectrogram)
    return dl.Experiment(
        data=data,
        model=Model(data.num_classes, width, dropout),
        task=dl.tasks.Classification(fields=("features",)),
        optimizer=optax.adamw(dl.optim.warmup_cosine(learning_rate, data.num_steps)),
    )


if __name__ == "__main__":
    dl.main(experiment)
