"""Handwritten digits of 8 x 8 pixels, from scikit-learn: no download."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ImageSet


@dataclasses.dataclass(frozen=True)
class Digits(ImageSet):
    """1,797 digits by 13 writers: the test part of UCI's "Optical recognition of handwritten digits".

    The set comes without a split, in the order in which people wrote. Ours is fixed: of the examples sorted by class
    (and within a class as they come) every fifth is a test example, from the first one on. So each class gives a
    fifth of its images, and all writers are in both parts; no random number is involved.
    """

    name: str = "digits"
    version: str = "1.0.0"
    citation: str = (
        "Alpaydin, Kaynak: Optical recognition of handwritten digits. UCI Machine Learning Repository, 1998. "
        "https://doi.org/10.24432/C50P49"
    )
    image_shape: tuple[int, int, int] = (8, 8, 1)
    class_names: tuple[str, ...] = tuple("0123456789")
    mean: tuple[float, ...] = (0.3058,)
    std: tuple[float, ...] = (0.3761,)

    @property
    def splits(self) -> Mapping[str, int]:
        return {"train": 1437, "test": 360}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        from sklearn.datasets import load_digits  # takes a second to import, and is needed once

        counts, label = map(np.asarray, load_digits(return_X_y=True))
        test = np.zeros(len(label), bool)
        test[np.argsort(label, kind="stable")[::5]] = True
        chosen = test if split == "test" else ~test
        image = np.round(counts * (255 / 16)).astype(np.uint8)  # counts from 0 to 16 -> grey values
        image = image.reshape(-1, 8, 8, 1)  # [N, 64] -> [N, H, W, C]
        return {"image": image[chosen], "label": label[chosen].astype(np.int32)}


DIGITS = Digits()
