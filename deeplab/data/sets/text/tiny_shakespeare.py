"""A million characters of Shakespeare, with nanoGPT's split."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from deeplab.data.prepare.files import File
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import TextSet

_TRAIN = 1_003_854  # the first 90 %, rounded down


@dataclasses.dataclass(frozen=True)
class TinyShakespeare(TextSet):
    """40,000 lines of plays: the first 90 % of the characters for training, the last 10 % for validation."""

    name: str = "tiny_shakespeare"
    version: str = "1.0.0"
    citation: str = (
        "Karpathy: The unreasonable effectiveness of recurrent neural networks. 2015. "
        "https://karpathy.github.io/2015/05/21/rnn-effectiveness/"
    )
    files: tuple[File, ...] = (
        File(
            name="input.txt",
            url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            size=1_115_394,
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    )
    characters: str | None = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    @property
    def splits(self) -> Mapping[str, int]:
        return {"train": _TRAIN, "validation": self.files[0].size - _TRAIN}

    def read(self, split: str, content: Content) -> bytes:
        text = content("input.txt")
        return text[:_TRAIN] if split == "train" else text[_TRAIN:]


TINY_SHAKESPEARE = TinyShakespeare()
