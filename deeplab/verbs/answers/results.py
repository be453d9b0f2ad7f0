"""The rows of many runs with their metrics by name, as a data frame and in print."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.core.errors import UserError
from deeplab.core.monitor import Monitor
from deeplab.core.printable import Printable
from deeplab.report.sweeps import sentences
from deeplab.report.sweeps.page import two
from deeplab.report.sweeps.responses import state, told_interval
from deeplab.report.text import metric
from deeplab.search.setup import Row

_SHOWN = 10  # settings in print


@dataclasses.dataclass(frozen=True, eq=False)
class Found(Printable):
    """The rows of many runs, and what they say.

    Attributes:
      rows: One row a run: `arguments`, `seed`, `metrics` by name, `curve`, `steps`, `diverged` and others; JSON.
      summary: What they say; empty where a signal has stopped the runs.
      trained: Number of runs made by this call; the others had ended before.
      directory: Run directory; None where nothing was written.
      report: Path of the page; None where there is none.
      stopped: Exit code of the signal that stopped the runs; None where none did.
      monitor: Metric by which runs are compared.
    """

    rows: Sequence[Row]
    summary: Any
    trained: int
    directory: Path | None = None
    report: Path | None = None
    stopped: int | None = None
    monitor: Monitor = Monitor()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    @property
    def records(self) -> list[dict[str, Any]]:
        """A flat dict for each run: its arguments, `seed`, `status`, `steps`, its metrics by name, and `best`.

        `status` is "finished", "diverged" or "stopped" (by successive halving); `best` is the monitored metric at its
        best evaluation, NaN where it was never finite.
        """
        return [
            {**row["arguments"], "seed": row["seed"], "status": _status(row), "steps": row["steps"], **row["metrics"],
             "best": _best(row, self.monitor)}
            for row in self.rows
        ]  # fmt: skip

    @property
    def frame(self) -> Any:
        """The records as a pandas data frame.

        Raises:
          UserError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise UserError("the frame is one of pandas: pip install pandas; or read `records`") from error
        return pd.DataFrame(self.records)

    def __rich__(self) -> Any:
        from rich.console import Group

        if not self.summary:
            return "stopped and saved; run the same command again to resume"
        return Group(printed(self.summary), *notes(self.summary))


def with_metrics(rows: Sequence[Row], split: str | None = None) -> list[Row]:
    """Rows with `metrics` by name: those of the last evaluation, and those that were measured on another split.

    Args:
      rows: Rows of the runs.
      split: Split on which the last and the best state were measured, which becomes part of the names: `test/loss` is
        of the last state, `test/best/loss` of the one with the best evaluation. None where none was.
    """
    return [row | {"metrics": _named(row, split)} for row in rows]


def _named(row: Row, split: str | None) -> dict[str, float]:
    values = dict(row["curve"][-1]["evaluation"]) if row["curve"] else {}
    if split is not None:
        values |= {f"{split}/{name}": value for name, value in row["last"].items()}
        values |= {f"{split}/best/{name}": value for name, value in row["best"].items()}
    return {name: math.nan if value is None else value for name, value in values.items()}  # null in earlier versions


def _status(row: Row) -> str:
    return "diverged" if row["diverged"] else "stopped" if row["stopped"] else "finished"


def _best(row: Row, monitor: Monitor) -> float:
    values = [point["evaluation"].get(monitor.name) for point in row["curve"]]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return (min if monitor.direction == "min" else max)(finite, default=math.nan)


def printed(summary: Mapping[str, Any]) -> Any:
    """The best settings as a table of `rich`: mean and interval of the monitored metric, then the other metrics."""
    from rich.table import Table

    name, settings = summary["metric"], summary["settings"]
    others = [key for key in settings[0]["metrics"] if key != name and "/best/" not in key]
    several = len(settings[0]["units"]) > 1
    table = Table("setting", name, *["95 % interval"] * several, *others, "", box=None)
    for entry in settings[:_SHOWN]:
        means = [metric(key, entry["metrics"][key][0]) for key in others]
        ends = [told_interval(name, entry["low"], entry["high"])] * several
        table.add_row(sentences.named(entry["setting"]), metric(name, entry["mean"]), *ends, *means, state(entry))
    return table


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What to bear in mind of a summary, as lines of text."""
    rest = len(summary["settings"]) - _SHOWN
    over = [f"mean over {summary['over']}" + f"; {rest} more settings on the page" * (rest > 0)]
    return over + summary["remarks"] + ([two(summary)] if len(summary["settings"]) == 2 else [])
