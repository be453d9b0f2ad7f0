"""Features: from raw signals, text and events to the arrays that models read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.data.features import audio, ecg, interactions, speech, vocab, words

__getattr__, __dir__, __all__ = lazy.attach(
    __name__, {name: name for name in ("audio", "ecg", "interactions", "speech", "vocab", "words")}
)
