"""The data sets that are known by name."""

from __future__ import annotations

from collections.abc import Mapping

from deeplab.core.errors import UserError, nearest
from deeplab.data.prepare.files import Archive, File
from deeplab.data.sets.base import ExampleSet, TextSet
from deeplab.data.sets.fields import Field, image_fields
from deeplab.data.sets.health.bccd import BLOOD_CELLS
from deeplab.data.sets.health.breast_cancer import BREAST_CANCER
from deeplab.data.sets.health.membrane import MEMBRANE
from deeplab.data.sets.health.mitbih import MITBIH_BEATS
from deeplab.data.sets.image.camvid import CAMVID
from deeplab.data.sets.image.cifar import CIFAR10
from deeplab.data.sets.image.digits import DIGITS
from deeplab.data.sets.image.mnist import FASHION_MNIST, MNIST
from deeplab.data.sets.recsys.movielens_clicks import MovieLensClicks
from deeplab.data.sets.recsys.movielens_sequences import MOVIELENS_SEQUENCES
from deeplab.data.sets.series.windows import ETT_H1
from deeplab.data.sets.speech.digit_strings import DigitStrings
from deeplab.data.sets.speech.fsdd import FSDD
from deeplab.data.sets.text.multi30k import Multi30k
from deeplab.data.sets.text.stdlib import PYTHON_STDLIB
from deeplab.data.sets.text.tiny_shakespeare import TINY_SHAKESPEARE
from deeplab.data.sets.text.wikitext import WikiText2

__all__ = [
    "SETS",
    "Archive",
    "ExampleSet",
    "Field",
    "File",
    "TextSet",
    "example_set",
    "image_fields",
    "named",
    "text_set",
]

SETS: Mapping[str, ExampleSet | TextSet] = {
    s.name: s
    for s in (
        DIGITS, MNIST, FASHION_MNIST, CIFAR10, CAMVID, MEMBRANE, BLOOD_CELLS, BREAST_CANCER, MITBIH_BEATS, ETT_H1,
        MovieLensClicks(), MOVIELENS_SEQUENCES, FSDD(), DigitStrings(), Multi30k(), TINY_SHAKESPEARE, PYTHON_STDLIB,
        WikiText2(),
    )
}  # fmt: skip
"""Sets by the names that `Images`, `Examples` and `Text` take."""


def example_set(dataset: str | ExampleSet) -> ExampleSet:
    """The set of that name; a set is returned as it is.

    Raises:
      UserError: there is no such set (the message names the nearest), or it is running text.

    Example:
      >>> example_set("digits").class_names[:3]
      ('0', '1', '2')
    """
    found = named(dataset) if isinstance(dataset, str) else dataset
    if isinstance(found, TextSet):
        raise UserError(f"{found.name} is running text, which has no examples; use dl.data.Text")
    return found


def text_set(dataset: str | TextSet) -> TextSet:
    """The running text of that name; a set is returned as it is.

    Raises:
      UserError: there is no such set (the message names the nearest), or it is no running text.

    Example:
      >>> text_set("python_stdlib").name
      'python_stdlib'
    """
    found = named(dataset) if isinstance(dataset, str) else dataset
    if isinstance(found, ExampleSet):
        raise UserError(f"{found.name} is no running text; use dl.data.Examples or dl.data.Images")
    return found


def named(name: str) -> ExampleSet | TextSet:
    """The set of that name, of either kind; UserError names the nearest otherwise.

    Example:
      >>> named("digits").name
      'digits'
    """
    if name not in SETS:
        raise UserError(f"there is no data set {name!r}; {nearest(name, SETS)}")
    return SETS[name]
