"""Bytes on disk to batches: sets, their order, transforms on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeplab.core import lazy

if TYPE_CHECKING:
    from deeplab.data import augment, features, order, pair_rows, prepare, records, sets
    from deeplab.data.augment.base import Augment
    from deeplab.data.base import Batch, Data, Example, Mix, Prepare, Source, Spec
    from deeplab.data.example_weights import weighted
    from deeplab.data.examples import Examples
    from deeplab.data.images import Images
    from deeplab.data.mixture import Mixture
    from deeplab.data.normalize import Normalize, Standardize
    from deeplab.data.packing import Packed
    from deeplab.data.prepare.files import Archive, File
    from deeplab.data.sets.arrayrecord import write
    from deeplab.data.sets.base import ExampleSet
    from deeplab.data.sets.detection.own import Boxes as boxes
    from deeplab.data.sets.fields import Field
    from deeplab.data.sets.held_out import HeldOut as held_out
    from deeplab.data.sets.huggingface import HuggingFace as huggingface
    from deeplab.data.sets.image.folder import ImageFolder as image_folder
    from deeplab.data.sets.image.image_table import ImageTable as image_table
    from deeplab.data.sets.image.mask_folders import MaskFolders as masks
    from deeplab.data.sets.memory import Arrays as arrays
    from deeplab.data.sets.recsys.movielens_ratings import MovieLensRatings as movielens_ratings
    from deeplab.data.sets.recsys.one_line import interactions
    from deeplab.data.sets.series.own import OwnSeries as series
    from deeplab.data.sets.speech.sounds import Sounds as sounds
    from deeplab.data.sets.text.lines import TextLines as text_lines
    from deeplab.data.sets.text.multi30k import Multi30k as multi30k
    from deeplab.data.sets.text.one_line import sentences
    from deeplab.data.sets.text.own_pairs import OwnPairs as pairs
    from deeplab.data.sets.text.tokenized import Tokenized as tokenized
    from deeplab.data.sets.tfds import PreparedTfds as tfds
    from deeplab.data.sets.tfds_text import PreparedTfdsText as tfds_text
    from deeplab.data.tabular import table
    from deeplab.data.text import Text

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Archive": "prepare.files:Archive",
        "arrays": "sets.memory:Arrays",
        "augment": "augment",
        "Augment": "augment.base:Augment",
        "Batch": "base:Batch",
        "boxes": "sets.detection.own:Boxes",
        "Data": "base:Data",
        "Example": "base:Example",
        "ExampleSet": "sets.base:ExampleSet",
        "Examples": "examples:Examples",
        "features": "features",
        "Field": "sets.fields:Field",
        "File": "prepare.files:File",
        "held_out": "sets.held_out:HeldOut",
        "huggingface": "sets.huggingface:HuggingFace",
        "image_folder": "sets.image.folder:ImageFolder",
        "image_table": "sets.image.image_table:ImageTable",
        "Images": "images:Images",
        "interactions": "sets.recsys.one_line:interactions",
        "masks": "sets.image.mask_folders:MaskFolders",
        "Mix": "base:Mix",
        "Mixture": "mixture:Mixture",
        "movielens_ratings": "sets.recsys.movielens_ratings:MovieLensRatings",
        "multi30k": "sets.text.multi30k:Multi30k",
        "Normalize": "normalize:Normalize",
        "order": "order",
        "Packed": "packing:Packed",
        "pair_rows": "pair_rows",
        "pairs": "sets.text.own_pairs:OwnPairs",
        "prepare": "prepare",
        "Prepare": "base:Prepare",
        "records": "records",
        "sentences": "sets.text.one_line:sentences",
        "series": "sets.series.own:OwnSeries",
        "sets": "sets",
        "sounds": "sets.speech.sounds:Sounds",
        "Source": "base:Source",
        "Spec": "base:Spec",
        "Standardize": "normalize:Standardize",
        "table": "tabular:table",
        "Text": "text:Text",
        "text_lines": "sets.text.lines:TextLines",
        "tfds": "sets.tfds:PreparedTfds",
        "tfds_text": "sets.tfds_text:PreparedTfdsText",
        "tokenized": "sets.text.tokenized:Tokenized",
        "weighted": "example_weights:weighted",
        "write": "sets.arrayrecord:write",
    },
)
