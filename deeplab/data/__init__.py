"""Bytes on disk to batches: sets, their order, transforms on the device.

Submodules load when a name is first used, so that `import deeplab` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab.data import (
        audio,
        augment,
        augment_audio,
        builders,
        interactions,
        mix,
        order,
        pairs,
        records,
        speech,
        vocab,
        words,
    )
    from deeplab.data.base import Batch, Data, Source, Spec
    from deeplab.data.builders.arrayrecord import write
    from deeplab.data.builders.held_out import HeldOut as held_out
    from deeplab.data.builders.image_folder import ImageFolder as image_folder
    from deeplab.data.builders.memory import Arrays as arrays
    from deeplab.data.builders.movielens_ratings import MovieLensRatings as movielens_ratings
    from deeplab.data.builders.multi30k import Multi30k as multi30k
    from deeplab.data.builders.prepared_tfds import PreparedTfds as tfds
    from deeplab.data.builders.prepared_tfds_text import PreparedTfdsText as tfds_text
    from deeplab.data.builders.sentences import Sentences as sentences
    from deeplab.data.builders.text_lines import TextLines as text_lines
    from deeplab.data.examples import Examples, Mix, Prepare
    from deeplab.data.images import Augment, Images
    from deeplab.data.mixture import Mixture
    from deeplab.data.packing import Packed
    from deeplab.data.text import Text

_WHERE = {
    "Augment": "images.Augment",
    "Batch": "base.Batch",
    "Data": "base.Data",
    "Examples": "examples.Examples",
    "Images": "images.Images",
    "Mix": "examples.Mix",
    "Mixture": "mixture.Mixture",
    "Packed": "packing.Packed",
    "Prepare": "examples.Prepare",
    "Source": "base.Source",
    "Spec": "base.Spec",
    "Text": "text.Text",
    "arrays": "builders.memory.Arrays",
    "held_out": "builders.held_out.HeldOut",
    "movielens_ratings": "builders.movielens_ratings.MovieLensRatings",
    "image_folder": "builders.image_folder.ImageFolder",
    "multi30k": "builders.multi30k.Multi30k",
    "sentences": "builders.sentences.Sentences",
    "text_lines": "builders.text_lines.TextLines",
    "tfds": "builders.prepared_tfds.PreparedTfds",
    "tfds_text": "builders.prepared_tfds_text.PreparedTfdsText",
    "write": "builders.arrayrecord.write",
}
_MODULES = (
    "audio",
    "augment",
    "augment_audio",
    "builders",
    "interactions",
    "mix",
    "order",
    "pairs",
    "records",
    "speech",
    "vocab",
    "words",
)

__all__ = [
    "Augment",
    "Batch",
    "Data",
    "Examples",
    "Images",
    "Mix",
    "Mixture",
    "Packed",
    "Prepare",
    "Source",
    "Spec",
    "Text",
    "arrays",
    "audio",
    "augment",
    "augment_audio",
    "builders",
    "held_out",
    "image_folder",
    "interactions",
    "mix",
    "movielens_ratings",
    "multi30k",
    "order",
    "pairs",
    "records",
    "sentences",
    "speech",
    "text_lines",
    "tfds",
    "tfds_text",
    "vocab",
    "words",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name].rsplit(".", 1)
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return __all__
