"""The data sets that are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from deeplab.data.builders.base import Archive, File, ImageSet, TextSet
from deeplab.data.builders.breast_cancer import BREAST_CANCER
from deeplab.data.builders.camvid import CAMVID
from deeplab.data.builders.cifar import CIFAR10
from deeplab.data.builders.digit_strings import DigitStrings
from deeplab.data.builders.digits import DIGITS
from deeplab.data.builders.examples import ExampleSet
from deeplab.data.builders.fsdd import FSDD
from deeplab.data.builders.idx import FASHION_MNIST, MNIST
from deeplab.data.builders.membrane import MEMBRANE
from deeplab.data.builders.mitbih import MITBIH_BEATS
from deeplab.data.builders.movielens_sequences import MOVIELENS_SEQUENCES
from deeplab.data.builders.multi30k import Multi30k
from deeplab.data.builders.series import ETT_H1
from deeplab.data.builders.stdlib import PYTHON_STDLIB
from deeplab.data.builders.tiny_shakespeare import TINY_SHAKESPEARE
from deeplab.data.builders.wikitext import WikiText2
from deeplab.errors import UserError, nearest

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
