"""A run directory, read. Whatever a kill, a full disk or a divergence has left of it, that much is shown."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.errors import UserError
from deeplab.core.monitor import Monitor

NOT_METRICS = ("step", "split", "seconds", "steps_per_second", "stalled")
"""Fields of a row of `metrics.jsonl` that say where it stands, not what was measured."""


class Headline(NamedTuple):
    """The one number of a run: that of its last evaluation, which is not its best one."""

    split: str
    metric: str
    value: float
    step: int


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory says.

    Attributes:
      directory: where it is.
      record: `run.json`.
      rows: `metrics.jsonl`, ordered by step; the last row where a split has two of one step.
      damaged: lines of `metrics.jsonl` that could not be read; a torn last line is not counted.
      result: `result.json`, or None before the end.
      failure: `failure/report.json`, or None where nothing became infinite or NaN.
    """

    directory: Path
    record: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = ()
    damaged: int = 0
    result: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The last two parts of the path: `image_digits/3f9c2a`."""
        return "/".join(self.directory.parts[-2:])

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the experiment, its seed among them."""
        return dict(self.record["arguments"]) | {"seed": self.record.get("seed", 0)}

    @property
    def num_steps(self) -> int:
        return int(self.record["num_steps"])

    @property
    def monitor(self) -> Monitor:
        """The metric that tells the best evaluation; "-loss" means smaller is better."""
        return Monitor.parse(self.record.get("monitor") or "-loss")

    @property
    def unit(self) -> str:
        """What throughput counts: "images", "tokens"."""
        return str(self.record.get("unit") or "units")

    @property
    def units_per_step(self) -> float:
        return number(self.record.get("units_per_step"), 1.0)

    @property
    def step(self) -> int:
        """The last step that is known of."""
        return max([int(number((self.result or {}).get("step"), 0))] + [row["step"] for row in self.rows[-1:]])

    @functools.cached_property
    def splits(self) -> list[str]:
        """Those evaluated, in the order of their appearance, then "train"."""
        seen = dict.fromkeys([*self.final, *(row["split"] for row in self.rows)])
        return [s for s in seen if s != "train"] + ["train"] * ("train" in seen)

    @functools.cached_property
    def metrics(self) -> list[str]:
        """Names of all metrics, in the order of their appearance, the loss first."""
        rows = [*self.rows, *self.final.values()]
        names = dict.fromkeys(key for row in rows for key in _metrics_of(row))
        return sorted(names, key=lambda name: name != "loss")

    @property
    def final(self) -> dict[str, Mapping[str, Any]]:
        """The metrics of `result.json`, split by split; empty before the end."""
        found = (self.result or {}).get("metrics")
        return {s: m for s, m in found.items() if isinstance(m, Mapping)} if isinstance(found, Mapping) else {}

    def series(self, split: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of one curve, [N] each; NaN and infinity are kept."""
        points = [(row["step"], number(row[metric])) for row in self.rows if row["split"] == split and metric in row]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return np.asarray(steps, np.int64), np.asarray(values, np.float64)

    def last(self, split: str) -> tuple[int, dict[str, float]]:
        """Step and metrics at the end: of `result.json`, else of the last row; (0, {}) where there is neither."""
        if split in self.final:
            return self.step, _metrics_of(self.final[split])
        rows = [row for row in self.rows if row["split"] == split]
        return (rows[-1]["step"], _metrics_of(rows[-1])) if rows else (0, {})

    def best(self, split: str) -> tuple[int, dict[str, float]]:
        """Step and metrics of the best evaluation by `monitor`."""
        steps, values = self.series(split, self.monitor.name)
        scores = np.array([self.monitor.score({self.monitor.name: value}) for value in values])
        if not np.any(np.isfinite(scores)):
            return 0, {}
        step = int(steps[np.argmax(scores)])
        return step, _metrics_of(next(row for row in self.rows if row["split"] == split and row["step"] == step))

    @property
    def headline(self) -> Headline | None:
        """The accuracy of a classifier, else the monitored metric, at the last evaluation; None before the first."""
        for split in self.splits:
            if split == "train":
                continue
            step, values = self.last(split)
            monitored = self.monitor.name
            if monitored == "loss" and self.record.get("task") == "Classification":
                monitored = "accuracy"
            for metric in (monitored, "loss"):
                if metric in values:
                    return Headline(split, metric, values[metric], step)
        return None

    @property
    def seconds(self) -> float:
        """Wall time of training; NaN when not yet known."""
        known = [number(row.get("seconds")) for row in self.rows if "seconds" in row]
        return number((self.result or {}).get("seconds"), known[-1] if known else math.nan)

    @property
    def steps_per_second(self) -> float:
        """The median over the run; NaN when not yet known."""
        _, rates = self.series("train", "steps_per_second")
        rates = rates[np.isfinite(rates)]
        return float(np.median(rates)) if len(rates) else math.nan

    @property
    def stalled(self) -> float:
        """Share of the training time in which the device waited for input; NaN when not known."""
        rows = [row for row in self.rows if row["split"] == "train" and "stalled" in row]
        ends = np.array([number(row.get("seconds"), 0.0) for row in rows])
        shares = np.array([number(row["stalled"], 0.0) for row in rows])
        spent = np.maximum(np.diff(ends, prepend=0.0), 0.0)
        return float(np.sum(shares * spent) / np.sum(spent)) if np.sum(spent) else math.nan

    @property
    def status(self) -> str:
        """One of "finished", "diverged", "unfinished" (stopped, or still running)."""
        if self.result is not None and self.step >= self.num_steps:
            return "finished"
        return "diverged" if self.failure is not None else "unfinished"

    def predictions(self) -> dict[str, np.ndarray] | None:
        """`predictions.npz`, or None where there is none.

        Raises:
          UserError: it is damaged.
        """
        path = self.directory / "predictions.npz"
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} cannot be read ({error}); `eval` on this run writes it anew") from error

    def text(self, file: str) -> str | None:
        """A text file of the run, or None where there is none."""
        try:
            return (self.directory / file).read_text(errors="replace")
        except OSError:
            return None


def read(directory: str | Path) -> Run:
    """Reads a run directory, finished or not.

    Raises:
      UserError: it is no run directory, or its `run.json` is damaged.
    """
    directory = Path(directory).resolve()
    path = directory / "run.json"
    if not path.is_file():
        raise UserError(f"{directory} is no run directory (it holds no run.json); `deeplab runs` lists those there are")
    record = _read_object(path)
    if record is None:
        raise UserError(f"{path} is damaged: expected a JSON object; train again into another --run-dir")
    for key, kind in (("experiment", str), ("arguments", Mapping), ("num_steps", int)):
        if not isinstance(record.get(key), kind):
            raise UserError(f"{path} is damaged: {key!r} is {record.get(key)!r}; train again into another --run-dir")
    rows, damaged = _read_rows(directory / "metrics.jsonl")
    result, failure = _read_object(directory / "result.json"), _read_object(directory / "failure" / "report.json")
    return Run(directory, record, rows, damaged, result, failure)


def number(value: Any, otherwise: float = math.nan) -> float:
    """The value as a float, or `otherwise` when it is none (missing, null, text)."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Rows by step, and how many lines before the last could not be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return [], 0
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    damaged = 0
    for i, line in enumerate(lines):
        try:
            row = json.loads(line)
            rows[str(row["split"]), int(row["step"])] = row | {"split": str(row["split"]), "step": int(row["step"])}
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            damaged += i < len(lines) - 1
    return sorted(rows.values(), key=lambda row: row["step"]), damaged


def _metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row, null as NaN."""
    return {k: number(v) for k, v in row.items() if k not in NOT_METRICS and isinstance(v, int | float | None)}
