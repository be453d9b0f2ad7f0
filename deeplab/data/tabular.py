"""A table of one's own as data, in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deeplab.data.base import Prepare
from deeplab.data.examples import Examples
from deeplab.data.prepare import frame_sources
from deeplab.data.sets.synthetic import SyntheticExamples
from deeplab.data.sets.tabular.summary import TableSummary
from deeplab.data.sets.tabular.table import Table

_EPOCHS = 50


@dataclasses.dataclass(frozen=True)
class TableData(Examples):
    """`Examples` of a `Table`, with what a model and a task need to know of it; made by `table`.

    Example:
      >>> data = table({"size": [50, 80, 95, 60, 71], "town": list("abbab"), "price": [1, 4, 5, 2, 3]}, "price")
      >>> data.cardinalities, data.columns
      ((3,), ('size',))
    """

    @property
    def table(self) -> Table:
        """The table itself; of a synthetic twin, the one whose shapes it has."""
        dataset = self.dataset.like if isinstance(self.dataset, SyntheticExamples) else self.dataset
        assert isinstance(dataset, Table)
        return dataset

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers, [N]."""
        return self.table.features.names

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of classes of each category, the unknown one included, [C]: an argument of the models of tables."""
        return self.table.features.cardinalities

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training targets: an argument of `Regression`; (0, 1) for classes."""
        return self.table.scale

    def summary(self, data_dir: str | Path | None = None) -> TableSummary:
        """What was read, to print: columns, splits, the first rows, and what may be wrong with them."""
        return self.table.summary()


def table(
    source: Any,
    target: str,
    *,
    classes: Sequence[Any] = (),
    categories: Sequence[str] = (),
    dates: Sequence[str] = (),
    ignore: Sequence[str] = (),
    missing: Sequence[Any] = (),
    split: str = "",
    group: str = "",
    time: str = "",
    test: float = 0.2,
    validation: float = 0.0,
    fold: int = 0,
    seed: int = 0,
    batch_size: int = 128,
    epochs: int | None = None,
    num_steps: int | None = None,
    eval_split: str = "test",
    prepare: Prepare | None = None,
) -> TableData:
    """Batches of a user's table: `numbers` [B, N], `categories` [B, C], and `label` or `target` [B].

    `print(data.summary())` shows what was read. A model needs `data.cardinalities`, the sizes of categories, and the
    task of a number `data.scale`, its mean and standard deviation.

    Args:
      source: Path of a CSV file (or of a Parquet file), a pandas data frame, or a dict of columns.
      target: Name of the column to predict: classes if it holds text or truth values, else a number.
      classes: Classes in their order; makes classes of a column of numbers.
      categories: Names of columns that are categories, although their cells are numbers.
      dates: Names of columns that are dates.
      ignore: Names of columns that the model does not get.
      missing: Further texts, or numbers, that stand for a missing cell, such as "unknown" or -999.
      split: Name of a column that says "train", "test" and so on for each row.
      group: Name of a column, such as the patient, all of whose rows are in one split.
      time: Name of a column, such as the date, whose latest rows are the test split.
      test: Share of the rows (or groups) in the split "test", in (0, 1).
      validation: Share of the rows (or groups) in the split "validation", in [0, 1).
      fold: Index of the part that is the test split: 0 to 4 hold each row once, where `test` is 0.2.
      seed: Seed of the shuffle before the split.
      batch_size: Examples of a training or evaluation batch.
      epochs: Passes over the training rows; 50 if `num_steps` is not given either.
      num_steps: Number of training steps.
      eval_split: Split to evaluate on.
      prepare: Pure function of one example, `(example, key) -> example`; see `Examples`.

    Raises:
      UserError: see `deeplab.data.sets.tabular.table.Table`.

    Example:
      >>> homes = {"size": [50, 80, 95, 60, 71], "town": ["Ulm", "Bonn", "Bonn", None, "Ulm"], "price": [1, 4, 5, 2, 3]}
      >>> data = table(homes, "price", test=0.4, batch_size=2)
      >>> batch = next(data.batches("test"))
      >>> batch["numbers"].shape, batch["categories"].shape, batch["target"].tolist()
      ((2, 1), (2, 1), [4.0, 2.0])
    """
    rows = Table(
        source if isinstance(source, str | Path) else frame_sources.read(source, missing),
        target,
        classes=classes,
        categories=categories,
        dates=dates,
        ignore=ignore,
        missing=missing,
        split=split,
        group=group,
        time=time,
        test=test,
        validation=validation,
        fold=fold,
        seed=seed,
    )
    epochs = _EPOCHS if epochs is None and num_steps is None else epochs
    steps: Any = num_steps  # None stands for "from epochs"
    return TableData(
        rows, batch_size=batch_size, epochs=epochs, num_steps=steps, prepare=prepare, eval_split=eval_split
    )
