"""Time series of several channels as windows: a past and the future after it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core import blocks
from deeplab.core.errors import UserError
from deeplab.data.base import Source
from deeplab.data.prepare import tables, texts
from deeplab.data.prepare.files import File
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field

_SPLITS = ("train", "validation", "test")


class Windows(ExampleSet):
    """Every window of a table with a row for each time and a column for each channel.

    The rows are split in the order of time. The windows of a split are those whose future lies in it; their past may
    reach back into the previous split. The stored rows of a split end where the split ends, so no window can hold a
    value of a later one. Windows are cut when a batch is fetched, and not stored. Values are (x - mean) / std.

    Attributes:
      columns: Names of the C channels.
      lengths: Number of rows of the splits "train", "validation" and "test", consecutive from the first row on; 0 for
        a split that there is not.
      context: Length L of the past.
      horizon: Length H of the future.
    """

    columns: tuple[str, ...]
    lengths: tuple[int, int, int]
    context: int
    horizon: int

    @property
    @abc.abstractmethod
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel over the training rows, [C] float64 each."""

    @abc.abstractmethod
    def of_file(self, path: Path) -> np.ndarray:
        """The channels of a user's file, [T, C] float64, oldest first."""

    def check_lengths(self) -> None:
        """Raises UserError where a split is too short for a window."""
        longest = min(self.lengths[0] - self.context, *(length for length in self.lengths[1:] if length))
        if self.context < 1 or not 1 <= self.horizon <= longest:
            raise UserError(
                f"windows of {self.name} have a context of {self.context} and a horizon of {self.horizon}; expected "
                f"1 or more of both, and at most {longest} ahead of such a context"
            )

    @property
    def splits(self) -> Mapping[str, int]:
        before = (self.context, 0, 0)
        sizes = [n - self.horizon + 1 - past for n, past in zip(self.lengths, before, strict=True)]
        return {name: size for name, size, n in zip(_SPLITS, sizes, self.lengths, strict=True) if n}

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "history": Field((self.context, len(self.columns))),
            "target": Field((self.horizon, len(self.columns))),
        }

    def end(self, split: str) -> int:
        """Number of rows up to the end of a split."""
        return sum(self.lengths[: _SPLITS.index(split) + 1])

    def fetch(self, source: Source, ids: Any) -> dict[str, Any]:
        span = self.context + self.horizon
        # The last window ends where the series ends.
        starts = ids + (len(source.arrays["series"]) - span - source.size + 1)
        rows = starts[:, None] + np.arange(span, dtype=np.int32)[None]  # [B, L + H]
        window = source.arrays["series"][rows]  # [B, L + H, C]
        batch = {"history": window[:, : self.context], "target": window[:, self.context :]}
        if "present" in source.arrays:
            batch["mask"] = source.arrays["present"][rows[:, self.context :]]
        return batch

    def check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        given, expected = arrays["series"].shape, (self.end(split), len(self.columns))
        if given != expected:
            raise UserError(f"split {split!r} of {self.name} was read as {given} values, expected {expected}")

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """The last `context` rows of a user's file, after which the forecast begins."""
        del data_dir
        table = self.of_file(path)
        if len(table) < self.context:
            raise UserError(f"{path} has {len(table):,} rows, expected at least {self.context:,}, the model's context")
        yield path.name, {"history": self.scaled(table[-self.context :])}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The forecast of each column in its own unit, [H]; with quantiles, their lowest and highest, too."""
        named = {"": prediction["forecast"]}
        if "quantiles" in prediction:
            named |= {" (low)": prediction["quantiles"][..., 0], " (high)": prediction["quantiles"][..., -1]}
        return {
            f"{column}{which}": self.unscaled(values)[:, c].round(4).tolist()
            for c, column in enumerate(self.columns)
            for which, values in named.items()
        }

    def show(self, batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[blocks.Card]:
        """Curves of past, truth and forecast, for a report."""
        return blocks.forecasts(self.columns, self.unscaled, batch, predictions)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """(x - mean) / std, [..., C] float32."""
        mean, std = self.statistics
        return ((values - mean) / std).astype(np.float32)

    def unscaled(self, values: np.ndarray) -> np.ndarray:
        """The inverse of `scaled`, float64."""
        mean, std = self.statistics
        return np.asarray(values, np.float64) * std + mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series(Windows):
    """Windows of a published table.

    Args:
      name: Name of the set.
      version: Identity of the prepared copy.
      citation: Reference and address.
      files: One CSV file with a header.
      columns: Names of the C channels.
      mean: Mean of each channel over the training rows.
      std: Standard deviation of each channel over the training rows.
      lengths: Number of rows of the splits "train", "validation" and "test", consecutive from the first row on.
      context: Length L of the past.
      horizon: Length H of the future.

    Raises:
      UserError: a split is too short for a window.

    Example (the last split has one window for each of its first 2880 - 24 + 1 hours):
      >>> dict(dataclasses.replace(ETT_H1, context=336, horizon=24).splits)
      {'train': 8281, 'validation': 2857, 'test': 2857}
    """

    name: str
    version: str
    citation: str
    files: tuple[File, ...]
    columns: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    lengths: tuple[int, int, int]
    context: int = 336
    horizon: int = 96

    def __post_init__(self) -> None:
        self.check_lengths()

    @property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.mean), np.array(self.std)

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        """`series` [T, C]: all rows up to the end of the split."""
        table = self._table(content(self.files[0].name), self.files[0].name)
        end = self.end(split)
        if len(table) < end:
            raise UserError(
                f"{self.files[0].name} has {len(table):,} rows, expected {end:,} up to the end of {split!r}"
            )
        return {"series": self.scaled(table[:end])}

    def of_file(self, path: Path) -> np.ndarray:
        return self._table(texts.read_bytes(path), str(path))

    def _table(self, content: bytes, name: str) -> np.ndarray:
        """The columns of a CSV file, [T, C] float64, in the order of the channels; others are ignored."""
        columns = tables.parse(content, self.columns, name)
        return np.stack([columns[column] for column in self.columns], axis=1)


# Means and standard deviations over the first 8,640 rows: 12 months of 30 days.
ETT_H1 = Series(
    name="ett_h1",
    version="1.0.0",
    citation=(
        "Zhou et al.: Informer: beyond efficient transformer for long sequence time-series forecasting. AAAI 2021. "
        "https://arxiv.org/abs/2012.07436"
    ),
    files=(
        File(
            name="ETTh1.csv",
            url="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
            size=2_589_657,
            sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
        ),
    ),
    columns=("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"),
    mean=(7.93774225, 2.02103866, 5.07977060, 0.74618588, 2.78176239, 0.78845312, 17.12826170),
    std=(5.81274941, 2.09010465, 5.51879358, 1.92637927, 1.02352266, 0.63023664, 9.17649102),
    lengths=(8_640, 2_880, 2_880),
)
