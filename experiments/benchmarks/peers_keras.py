"""The models of `peers` in Keras 3, written idiomatically and trained by its own `fit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras  # pyright: ignore[reportMissingImports]  # only this benchmark needs it
import numpy as np
from keras import layers as L  # pyright: ignore[reportMissingImports]


def cnn(x: Any, classes: int) -> Any:
    for width in (32, 64):
        x = L.MaxPooling2D(2)(L.Conv2D(width, 3, padding="same", activation="relu")(x))
    return L.Dense(classes)(L.Dense(256, activation="relu")(L.Flatten()(x)))


def resnet(x: Any, classes: int) -> Any:
    def conv(x: Any, width: int, size: int, stride: int = 1) -> Any:
        return L.BatchNormalization()(L.Conv2D(width, size, stride, padding="same", use_bias=False)(x))

    x = L.ReLU()(conv(x, 64, 3))
    for stage in range(4):
        for i in range(2):
            width, stride = 64 * 2**stage, 2 if stage and not i else 1
            y = conv(L.ReLU()(conv(x, width, 3, stride)), width, 3)
            x = L.ReLU()(L.Add()([y, x if y.shape == x.shape else conv(x, width, 1, stride)]))
    return L.Dense(classes)(L.GlobalAveragePooling2D()(x))


def gpt(tokens: Any, classes: int, num_layers: int, heads: int, width: int) -> Any:
    embedding, positions = L.Embedding(classes, width), L.Embedding(tokens.shape[1], width)
    x = embedding(tokens) + positions(keras.ops.arange(tokens.shape[1]))
    for _ in range(num_layers):
        y = L.LayerNormalization(epsilon=1e-5)(x)
        x = x + L.MultiHeadAttention(heads, width // heads)(y, y, use_causal_mask=True)
        y = L.Dense(4 * width)(L.LayerNormalization(epsilon=1e-5)(x))
        x = x + L.Dense(width)(keras.activations.gelu(y, approximate=True))
    return L.Dense(classes, use_bias=False)(L.LayerNormalization(epsilon=1e-5)(x))


def lstm(x: Any, classes: int) -> Any:
    return L.Dense(classes)(L.LSTM(256)(L.LSTM(256, return_sequences=True)(x)))


def run(name: str, batch: int, shape: tuple[int, ...], classes: int) -> Callable[[int], None]:
    """Training steps of a model; see `peers.Run`."""
    rng = np.random.default_rng(0)
    if name.startswith("gpt"):
        inputs = keras.Input(shape, dtype="int32")
        outputs = gpt(inputs, classes, *((6, 6, 384) if name == "gpt" else (4, 4, 128)))
        x, y = rng.integers(0, classes, (2, 16 * batch, *shape), np.int32)
    else:
        inputs = keras.Input(shape)
        outputs = {"cnn": cnn, "resnet": resnet, "lstm": lstm}[name](inputs, classes)
        x, y = rng.standard_normal((16 * batch, *shape), np.float32), np.arange(16 * batch) % classes
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-4), loss)

    def steps(count: int) -> None:
        examples = count * batch
        model.fit(x[:examples], y[:examples], batch_size=batch, epochs=1, shuffle=False, verbose=0)  # pyright: ignore[reportArgumentType]  # Keras annotates "auto" only

    return steps
