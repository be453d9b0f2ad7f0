"""Breast cancer, Wisconsin (diagnostic), from scikit-learn: no download."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare import tables
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field

NUM_FOLDS = 5

_NUCLEUS = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip
COLUMNS = (
    *(f"mean {name}" for name in _NUCLEUS),
    *(f"{name} error" for name in _NUCLEUS),
    *(f"worst {name}" for name in _NUCLEUS),
)
"""Mean, standard error, and mean of the three largest values, for ten measures of the cell nuclei in an image."""


@dataclasses.dataclass(frozen=True)
class BreastCancer(ExampleSet):
    """Needle biopsies of 569 women: 357 benign, 212 malignant.

    The set comes without a split. Ours has five stratified folds: the examples are sorted by class (stably), and number
    i is in fold i modulo 5. No random number is involved, and since each woman is one example, no patient is in two
    folds.

    `x` holds the 30 measures, standardized by their mean and standard deviation over the training part.

    Args:
      fold: Fold that is "test", 0 to 4; the others are "train".

    Raises:
      UserError: there is no such fold.
    """

    fold: int = 0
    name: str = "breast_cancer"
    version: str = "1.0.0"
    citation: str = (
        "Wolberg, Mangasarian, Street: Breast Cancer Wisconsin (Diagnostic). UCI Machine Learning Repository, 1993. "
        "https://doi.org/10.24432/C5DW2B"
    )
    cached: ClassVar[bool] = False
    class_names: tuple[str, ...] = ("benign", "malignant")

    def __post_init__(self) -> None:
        if not 0 <= self.fold < NUM_FOLDS:
            raise UserError(f"fold is {self.fold}, expected 0 to {NUM_FOLDS - 1}")

    @property
    def splits(self) -> Mapping[str, int]:
        test = len(range(self.fold, 569, NUM_FOLDS))
        return {"train": 569 - test, "test": test}

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"x": Field((len(COLUMNS),)), "label": Field((), "int32", below=2)}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        table, malignant, test = self._table()
        chosen = test if split == "test" else ~test
        return {"x": self.scaled(table[chosen]), "label": malignant[chosen].astype(np.int32)}

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """Rows of measures, [N, 30], standardized as in training."""
        table, _, test = self._table()
        train = table[~test]
        return ((rows - train.mean(axis=0)) / train.std(axis=0)).astype(np.float32)

    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All measures [569, 30], the malignant examples [569], and the test examples [569]."""
        from sklearn.datasets import load_breast_cancer  # takes a second to import

        table, benign = map(np.asarray, load_breast_cancer(return_X_y=True))
        malignant = benign == 0
        test = np.zeros(len(malignant), bool)
        test[np.argsort(malignant, kind="stable")[self.fold :: NUM_FOLDS]] = True
        return table, malignant, test

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row of a CSV file with the 30 `COLUMNS`, named by its number in the file."""
        columns = tables.read(path, COLUMNS)
        rows = self.scaled(np.stack([columns[name] for name in COLUMNS], axis=1))  # [N, 30]
        for i, row in enumerate(rows):
            yield f"{path.name}:{i + 1}", {"x": row}


BREAST_CANCER = BreastCancer()
