"""Cards of sounds with a class or a transcript each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core.blocks.base import Card, card, picture, text


def sound_cards(
    names: Sequence[str], draw: Callable[[np.ndarray, int], np.ndarray], separator: str = ""
) -> Callable[[Mapping[str, Any], Mapping[str, Any]], list[Card]]:
    """A `show` for an experiment with sounds: a picture of each, what is predicted and what is right.

    Args:
      names: Names of the classes; of transcripts, the text of each token.
      draw: Function from a waveform [T] and its length to a picture, such as `functools.partial(speech.image, mel)`.
      separator: Text between the tokens of a transcript.

    Returns:
      `(batch, predictions) -> cards` for a batch with `audio`, `length`, `id` and `label`, and the predictions of a
      `Classification` or a `CTC`.

    Example:
      >>> show = sound_cards(("no", "yes"), lambda x, length: np.zeros((8, 8), np.uint8))
      >>> batch = {"audio": np.zeros((1, 9)), "length": np.array([9]), "id": np.array([3]), "label": np.array([1])}
      >>> show(batch, {"prediction": np.array([0])})[0]["caption"]
      'no, actually yes'
    """

    def named(values: Mapping[str, Any], name: str, i: int) -> str:
        if f"{name}_length" not in values:
            return names[int(values[name][i])]
        tokens = values[name][i][: values[f"{name}_length"][i]]
        return separator.join(names[int(token) - 1] for token in tokens)

    def show(batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[Card]:
        made = []
        for i, (x, length) in enumerate(zip(batch["audio"], batch["length"], strict=True)):
            predicted, actual = named(predictions, "prediction", i), named(batch, "label", i)
            parts: list[Any] = [picture(draw(x, int(length)))]
            caption = predicted if predicted == actual else f"{predicted}, actually {actual}"
            if "prediction_length" in predictions:
                parts += [text(predicted, "predicted:"), text(actual, "actual:")]
                caption = "right" if predicted == actual else "wrong"
            made.append(card(f"example {int(batch['id'][i])}", *parts, caption=caption, wrong=predicted != actual))
        return made

    return show
