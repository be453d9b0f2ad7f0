"""Cards of labeled sentences and of translations, for an experiment's `show`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core.blocks.base import Card, card, picture, text


def sentences(class_names: Sequence[str], batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
    """A card for each labeled sentence: its class, its text and its prediction.

    With the names bound (`functools.partial(sentences, names)`), it is a `show`.

    Args:
      class_names: Names of the labels.
      batch: `text`, [N, L] uint8, UTF-8 (or else Latin-1) padded by blanks or zeros, and `label`, [N].
      predictions: `prediction` and its `probability`, [N].

    Example:
      >>> batch = {"text": np.frombuffer(b"good  ", np.uint8)[None], "label": [1]}
      >>> made = sentences(("bad", "fine"), batch, {"prediction": [0], "probability": [0.6]})
      >>> made[0]["title"], made[0]["parts"][0]["text"], made[0]["caption"]
      ('fine', 'good', 'predicted bad, probability 0.60')
    """
    columns = (batch["text"], batch["label"], predictions["prediction"], predictions["probability"])
    return [
        card(
            str(class_names[label]),
            text(decoded(raw)),
            caption=f"predicted {class_names[prediction]}, probability {probability:.2f}",
        )
        for raw, label, prediction, probability in zip(*columns, strict=True)
    ]


def decoded(raw: np.ndarray) -> str:
    """The text of bytes that are padded by blanks or zeros: UTF-8, or else Latin-1."""
    given = bytes(raw).strip(b" \0")
    try:
        return given.decode()
    except UnicodeDecodeError:
        return given.decode("latin-1")


def translations(decode: Callable[[Any], str], batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
    """A card for each translation: its reference, and the attention of its tokens.

    With `decode` bound (`functools.partial(translations, decode)`), it is a `show`.

    Args:
      decode: Function from tokens to text.
      batch: `source_text` and `target_text`, [N, L] UTF-8 padded by zeros, and `source_length`, [N].
      predictions: Tokens `prediction`, [N, T] padded by zeros, and their `attention`, [N, T, S].

    Example:
      >>> batch = {name: np.frombuffer(b"a", np.uint8)[None] for name in ("source_text", "target_text")}
      >>> predictions = {"prediction": np.array([[5, 2, 0]]), "attention": np.ones((1, 3, 4))}
      >>> made = translations(str, batch | {"source_length": [2]}, predictions)
      >>> made[0]["title"], [part["kind"] for part in made[0]["parts"]]
      ('a', ['text', 'text', 'picture'])
    """

    def unpadded(row: np.ndarray) -> str:
        return bytes(row).rstrip(b"\0").decode(errors="replace")

    made = []
    for i, tokens in enumerate(predictions["prediction"]):
        attention = np.asarray(predictions["attention"][i], np.float32)
        attention = attention[: (tokens > 0).sum(), : batch["source_length"][i]]
        parts = [text(decode(tokens), "translation:"), text(unpadded(batch["target_text"][i]), "reference:")]
        if attention.size:  # else the translation, or the source, is empty
            shades = np.kron(1 - attention, np.ones((8, 8)))  # dark where the attention is high
            label = "attention: a row for each token of the translation, a column for each of the source"
            parts.append(picture(shades, label))
        made.append(card(unpadded(batch["source_text"][i]), *parts))
    return made
