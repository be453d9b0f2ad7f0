"""Transcripts as tokens of characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deeplab.core.errors import UserError

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""What stands for a character that no training transcript holds."""


def alphabet(texts: Sequence[str], train: np.ndarray) -> tuple[str, ...]:
    """The characters of the training texts, sorted; with `UNKNOWN` at the end, if other texts hold further ones.

    Example:
      >>> alphabet(["ab", "b c"], np.array([0, 1])), alphabet(["ab", "b c"], np.array([0]))[-1] == UNKNOWN
      ((' ', 'a', 'b', 'c'), True)
    """
    known = {character for row in train for character in texts[row]}
    others = {character for text in texts for character in text} - known
    return (*sorted(known), *[UNKNOWN] * bool(others))


def encoded(texts: Sequence[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """`label` [N, L], k + 1 for character k and 0 for padding, and `label_length` [N].

    Raises:
      UserError: a character is none of the names, and `UNKNOWN` is none, either.

    Example:
      >>> encoded(["ba", "b"], ("a", "b"))["label"].tolist()
      [[2, 1], [2, 0]]
    """
    number = {character: k for k, character in enumerate(names, start=1)}
    label = np.zeros((len(texts), max(map(len, texts))), np.int32)
    for row, text in enumerate(texts):
        for at, character in enumerate(text):
            token = number.get(character, number.get(UNKNOWN))
            if token is None:
                raise UserError(f"the transcript {text!r} holds {character!r}, which is none of the given characters")
            label[row, at] = token
    return {"label": label, "label_length": np.array([len(text) for text in texts], np.int32)}
