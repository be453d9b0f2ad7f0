"""Handwritten digits of 8 x 8 pixels, from scikit-learn: no download."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from deeplab.data.normalize import Normalize, Standardize
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field, image_fields

_NORMALIZE = Standardize(mean=(0.3058,), std=(0.3761,))


@dataclasses.dataclass(frozen=True)
class Digits(ExampleSet):
    """1,797 digits by 13 writers: the test part of UCI's "Optical recognition of handwritten digits".

    The set comes without a split, in the order of writing. Ours is fixed: the examples are sorted by class (stably),
    and every fifth, from the first one on, is a test example. So a fifth of each class is in the test part, all writers
    are in both parts, and no random number is involved.
    """

    name: str = "digits"
    version: str = "1.0.0"
    citation: str = (
        "Alpaydin, Kaynak: Optical recognition of handwritten digits. UCI Machine Learning Repository, 1998. "
        "https://doi.org/10.24432/C50P49"
    )
    class_names: tuple[str, ...] = tuple("0123456789")
    normalize: Normalize | None = _NORMALIZE

    @property
    def splits(self) -> Mapping[str, int]:
        return {"train": 1437, "test": 360}

    @property
    def fields(self) -> Mapping[str, Field]:
        return image_fields((8, 8, 1), num_classes=10)

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        from sklearn.datasets import load_digits  # takes a second to import, and is needed once

        counts, label = map(np.asarray, load_digits(return_X_y=True))
        test = np.zeros(len(label), bool)
        test[np.argsort(label, kind="stable")[::5]] = True
        chosen = test if split == "test" else ~test
        image = np.round(counts * (255 / 16)).astype(np.uint8)  # counts from 0 to 16 -> gray values
        image = image.reshape(-1, 8, 8, 1)  # [N, 64] -> [N, H, W, C]
        return {"image": image[chosen], "label": label[chosen].astype(np.int32)}


DIGITS = Digits()
