"""Decoding: sampling and beam search over one protocol, streamed text, and the search for CTC transcripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.decode import beam, boxes, ctc, generate, logits, protocol, stream

__getattr__, __dir__, __all__ = lazy.attach(
    __name__, {name: name for name in ("beam", "boxes", "ctc", "generate", "logits", "protocol", "stream")}
)
