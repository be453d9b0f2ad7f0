"""Any text that TFDS has prepared as ArrayRecord, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.data.prepare import cache
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import TextSet
from deeplab.data.sets.tfds import fingerprint, read_only_builder


@dataclasses.dataclass(frozen=True)
class PreparedTfdsText(TextSet):
    """The texts of a TFDS directory, record after record, each ended by a line break.

    Args:
      path: The directory, as for `dl.data.tfds`.
      text: Feature that holds the texts.

    Example:
      >>> import tempfile
      >>> import deeplab as dl
      >>> folder = Path(tempfile.mkdtemp())
      >>> _ = (folder / "play.txt").write_text("To be, or not to be\\n" * 20, encoding="utf-8")
      >>> place = dl.data.write(dl.data.text_lines(folder), folder / "prepared")  # doctest: +ELLIPSIS
      Downloading and preparing dataset ... Subsequent calls will reuse this data.
      >>> text = dl.data.tfds_text(place)
      >>> sorted(text.splits)
      ['train', 'validation']
    """

    path: str | Path
    text: str = "text"

    @functools.cached_property
    def _tfds(self) -> Any:
        return read_only_builder(self.path, (self.text,))

    @property
    def name(self) -> str:
        return self._tfds.info.name

    @property
    def citation(self) -> str:
        return self._tfds.info.citation

    @functools.cached_property
    def version(self) -> str:
        return fingerprint(self._tfds, self.text)

    @functools.cached_property
    def splits(self) -> Mapping[str, int]:
        """Bytes of each split, which only the texts themselves tell: they are kept as arrays once read."""
        return {split: len(text) for split, text in self._texts.items()}

    def read(self, split: str, content: Content) -> bytes:
        return self._texts[split].tobytes()

    @functools.cached_property
    def _texts(self) -> Mapping[str, np.ndarray]:
        def joined(split: str) -> bytes:
            texts = (record[self.text] for record in self._tfds.as_data_source(split))
            return b"".join(text if text.endswith(b"\n") else text + b"\n" for text in texts)

        def make() -> dict[str, np.ndarray]:
            return {split: np.frombuffer(joined(split), np.uint8) for split in self._tfds.info.splits}

        return cache.arrays(cache.cache_dir() / self.name / self.version / "text", make)
