"""The data sets that are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from deeplab.core.errors import UserError, nearest
from deeplab.data.sets.base import Archive, File, ImageSet, TextSet
from deeplab.data.sets.examples import ExampleSet
from deeplab.data.sets.health.breast_cancer import BREAST_CANCER
from deeplab.data.sets.health.membrane import MEMBRANE
from deeplab.data.sets.health.mitbih import MITBIH_BEATS
from deeplab.data.sets.image.camvid import CAMVID
from deeplab.data.sets.image.cifar import CIFAR10
from deeplab.data.sets.image.digits import DIGITS
from deeplab.data.sets.image.mnist import FASHION_MNIST, MNIST
from deeplab.data.sets.recsys.movielens_sequences import MOVIELENS_SEQUENCES
from deeplab.data.sets.series.windows import ETT_H1
from deeplab.data.sets.speech.digit_strings import DigitStrings
from deeplab.data.sets.speech.fsdd import FSDD
from deeplab.data.sets.text.multi30k import Multi30k
from deeplab.data.sets.text.stdlib import PYTHON_STDLIB
from deeplab.data.sets.text.tiny_shakespeare import TINY_SHAKESPEARE
from deeplab.data.sets.text.wikitext import WikiText2

__all__ = [
    "EXAMPLE_SETS",
    "IMAGE_SETS",
    "TEXT_SETS",
    "Archive",
    "ExampleSet",
    "File",
    "ImageSet",
    "TextSet",
    "example_set",
    "image_set",
    "text_set",
]

IMAGE_SETS: Mapping[str, ImageSet] = {s.name: s for s in (DIGITS, MNIST, FASHION_MNIST, CIFAR10)}
TEXT_SETS: Mapping[str, TextSet] = {s.name: s for s in (TINY_SHAKESPEARE, PYTHON_STDLIB, WikiText2())}
EXAMPLE_SETS: Mapping[str, ExampleSet] = {
    s.name: s
    for s in (
        BREAST_CANCER, MITBIH_BEATS, CAMVID, MEMBRANE, ETT_H1, MOVIELENS_SEQUENCES, FSDD(), DigitStrings(), Multi30k(),
    )
}  # fmt: skip

_Set = TypeVar("_Set")


def image_set(name: str) -> ImageSet:
    """The set of that name; UserError names the nearest ones otherwise."""
    return _named(name, IMAGE_SETS, "image")


def text_set(name: str) -> TextSet:
    """Likewise."""
    return _named(name, TEXT_SETS, "text")


def example_set(name: str) -> ExampleSet:
    """Likewise."""
    return _named(name, EXAMPLE_SETS, "example")


def _named(name: str, sets: Mapping[str, _Set], kind: str) -> _Set:
    if name not in sets:
        raise UserError(f"there is no {kind} data set {name!r}; {nearest(name, sets)}")
    return sets[name]
