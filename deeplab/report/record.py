"""A run directory as a value, however much of it a kill, a full disk or a divergence has left."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.arguments import told
from deeplab.core.errors import UserError
from deeplab.core.monitor import Monitor
from deeplab.core.text import read_evaluations
from deeplab.report.files import is_in_use, read_arrays, read_object, read_rows
from deeplab.report.text import number

NOT_METRICS = ("step", "split", "seconds", "steps_per_second", "stalled")
"""Fields of a row of `metrics.jsonl` that are not metrics."""


class Headline(NamedTuple):
    """A number that stands for a run: of its last evaluation, which need not be its best one."""

    split: str
    metric: str
    value: float
    step: int


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The files of a run directory.

    Attributes:
      directory: Path of the run directory.
      record: Content of `run.json`.
      rows: Rows of `metrics.jsonl`, ordered by step; the last one where a split has two of one step.
      damaged: Number of lines of `metrics.jsonl` that cannot be read, a torn last line excepted.
      result: Content of `result.json`; None before the end.
      failure: Content of `failure/report.json`; None where every value was finite.
      evaluations: Rows of `evaluations.jsonl` by step: evaluations after training, each with its `metrics`.
      ended: Content of `ended.json`, which tells why a session ended early; None where it did not, or was killed.
      in_use: Whether a process holds the directory.

    Example:
      >>> RunRecord(Path("runs/a"), {}).name
      'runs/a'
    """

    directory: Path
    record: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]] = ()
    damaged: int = 0
    result: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    evaluations: Sequence[Mapping[str, Any]] = ()
    ended: Mapping[str, Any] | None = None
    in_use: bool = False

    @property
    def name(self) -> str:
        """The last two parts of the path: `image_digits/3f9c2a`."""
        return "/".join(self.directory.parts[-2:])

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the experiment, its seed among them."""
        recorded = {name: told(value) for name, value in self.record["arguments"].items()}
        return recorded | {"seed": self.record.get("seed", 0)}

    @property
    def num_steps(self) -> int:
        return int(self.record["num_steps"])

    @property
    def monitor(self) -> Monitor:
        """The metric by which the best evaluation is chosen; the loss where the record gives none."""
        try:
            return Monitor.parse(self.record.get("monitor") or "-loss")
        except (UserError, KeyError):
            return Monitor()

    @property
    def unit(self) -> str:
        """Unit of the throughput: "images", "tokens"."""
        return str(self.record.get("unit") or "units")

    @property
    def units_per_step(self) -> float:
        return number(self.record.get("units_per_step"), 1.0)

    @property
    def step(self) -> int:
        """The last step that the files name."""
        told = [int(number((file or {}).get("step"), 0)) for file in (self.result, self.ended)]
        return max(told + [row["step"] for row in self.rows[-1:]])

    @functools.cached_property
    def splits(self) -> list[str]:
        """Names of the evaluated splits in the order of their appearance, then "train"."""
        seen = dict.fromkeys([*self.final, *(row["split"] for row in (*self.rows, *self.evaluations))])
        return [s for s in seen if s != "train"] + ["train"] * ("train" in seen)

    @functools.cached_property
    def metrics(self) -> list[str]:
        """Names of all metrics, in the order of their appearance, the loss first."""
        rows = [*self.rows, *self.final.values(), *(row["metrics"] for row in self.evaluations)]
        names = dict.fromkeys(key for row in rows for key in _metrics_of(row))
        return sorted(names, key=lambda name: name != "loss")

    @property
    def final(self) -> dict[str, Mapping[str, Any]]:
        """The metrics of `result.json`, split by split; empty before the end."""
        found = (self.result or {}).get("metrics")
        return {s: m for s, m in found.items() if isinstance(m, Mapping)} if isinstance(found, Mapping) else {}

    def series(self, split: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of a metric, [N] each; NaN and infinity are kept."""
        points = [(row["step"], number(row[metric])) for row in self.rows if row["split"] == split and metric in row]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return np.asarray(steps, np.int64), np.asarray(values, np.float64)

    def last(self, split: str) -> tuple[int, dict[str, float]]:
        """Step and metrics of `result.json`, of the last row, or of the last recorded evaluation; (0, {}) without."""
        if split in self.final:
            return self.step, _metrics_of(self.final[split])
        rows = [row for row in self.rows if row["split"] == split]
        rows = rows or [{"step": row["step"]} | row["metrics"] for row in self.evaluations if row["split"] == split]
        return (rows[-1]["step"], _metrics_of(rows[-1])) if rows else (0, {})

    def best(self, split: str) -> tuple[int, dict[str, float]]:
        """Step and metrics of the best evaluation by the monitor; (0, {}) where there is none."""
        name = self.monitor.name
        steps, values = self.series(split, name)
        scores = np.array([self.monitor.score({name: value}) for value in values.tolist()])
        if not np.any(np.isfinite(scores)):
            return 0, {}
        step = int(steps[np.argmax(scores)])
        return step, _metrics_of(next(row for row in self.rows if row["split"] == split and row["step"] == step))

    @property
    def headlines(self) -> list[Headline]:
        """The metrics that stand for the run, at its last evaluation, the most telling first; none before the first.

        They are the monitored metric, if it is not the loss, and those that the record names as its "headline". Of a
        run that has neither it is the loss, or its accuracy where nothing else was evaluated.
        """
        named = self.record.get("headline")
        names = [] if self.monitor.name == "loss" else [self.monitor.name]
        names += [str(name) for name in named] if isinstance(named, list) else []
        for split in self.splits:
            if split == "train":
                continue
            step, values = self.last(split)
            fallback = ["accuracy" if values.keys() == {"loss", "accuracy"} else "loss"]
            chosen = [name for name in dict.fromkeys(names) if name in values] or fallback
            if found := [Headline(split, name, values[name], step) for name in chosen if name in values]:
                return found
        return []

    @property
    def headline(self) -> Headline | None:
        """The first of `headlines`; None before the first evaluation."""
        return next(iter(self.headlines), None)

    @property
    def seconds(self) -> float:
        """Wall time of training; NaN while unknown."""
        known = [number(row.get("seconds")) for row in self.rows if "seconds" in row]
        return number((self.result or {}).get("seconds"), known[-1] if known else math.nan)

    @property
    def steps_per_second(self) -> float:
        """Median over the run; NaN while unknown."""
        _, rates = self.series("train", "steps_per_second")
        rates = rates[np.isfinite(rates)]
        return float(np.median(rates)) if len(rates) else math.nan

    @property
    def stalled(self) -> float:
        """Share of the training time in which the device waited for input; NaN where unknown."""
        rows = [row for row in self.rows if row["split"] == "train" and "stalled" in row]
        ends = np.array([number(row.get("seconds"), 0.0) for row in rows])
        shares = np.array([number(row["stalled"], 0.0) for row in rows])
        spent = np.maximum(np.diff(ends, prepend=0.0), 0.0)
        return float(np.sum(shares * spent) / np.sum(spent)) if np.sum(spent) else math.nan

    @property
    def status(self) -> str:
        """One of "finished", "running", "diverged", "stopped", "crashed", and "unfinished" where the run was killed."""
        if self.result is not None and (self.step >= self.num_steps or self.told_early):
            return "finished"
        if self.in_use:
            return "running"
        if self.failure is not None:
            return "diverged"
        why = (self.ended or {}).get("status")
        return why if why in ("stopped", "crashed") else "unfinished"

    @property
    def told_early(self) -> str:
        """The end of a run that its patience has ended, in a line; "" of any other."""
        found = (self.result or {}).get("stopped_early")
        if not isinstance(found, Mapping):
            return ""
        best = int(number(found.get("best_step"), 0))
        return f"stopped early at step {self.step:,} of {self.num_steps:,}, best at step {best:,}"

    def predictions(self) -> dict[str, np.ndarray] | None:
        """The arrays of `predictions.npz`; None where there is no such file.

        Raises:
          UserError: The file is damaged.
        """
        return read_arrays(self.directory / "predictions.npz")

    def text(self, file: str) -> str | None:
        """The text of a file in the run directory; None where there is no such file."""
        try:
            return (self.directory / file).read_text(errors="replace", encoding="utf-8")
        except OSError:
            return None


def read(directory: str | Path) -> RunRecord:
    """Reads a run directory, of a finished run or not.

    Args:
      directory: Path of the run directory.

    Raises:
      UserError: The directory has no `run.json`, or a damaged one.

    Example:
      >>> import json, tempfile
      >>> folder = Path(tempfile.mkdtemp())  # stands for the directory of a run
      >>> told = {"experiment": "image_digits", "arguments": {"width": 32}, "num_steps": 100}
      >>> _ = (folder / "run.json").write_text(json.dumps(told), encoding="utf-8")
      >>> run = read(folder)
      >>> run.record["arguments"], run.rows, run.result
      ({'width': 32}, [], None)
    """
    directory = Path(os.path.expanduser(directory)).resolve()
    path = directory / "run.json"
    if not path.is_file():
        raise UserError(
            f"{directory} is no run directory (it holds no run.json); `deeplab runs` lists the run directories"
        )
    record = read_object(path)
    if record is None:
        raise UserError(f"{path} is damaged: expected a JSON object; train again into another --run-dir")
    for key, kind in (("experiment", str), ("arguments", Mapping), ("num_steps", int)):
        if not isinstance(record.get(key), kind):
            raise UserError(f"{path} is damaged: {key!r} is {record.get(key)!r}; train again into another --run-dir")
    rows, damaged = read_rows(directory / "metrics.jsonl")
    result, failure = read_object(directory / "result.json"), read_object(directory / "failure" / "report.json")
    return RunRecord(
        directory, record, rows, damaged, result, failure, read_evaluations(directory / "evaluations.jsonl"),
        read_object(directory / "ended.json"), is_in_use(directory),
    )  # fmt: skip


def _metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row, null as NaN."""
    return {k: number(v) for k, v in row.items() if k not in NOT_METRICS and isinstance(v, int | float | None)}
