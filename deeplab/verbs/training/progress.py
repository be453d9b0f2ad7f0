"""Progress of a run: a bar on a terminal, one line that changes in a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from deeplab.core.monitor import Best
from deeplab.experiment import Experiment
from deeplab.runs.metadata import throughput_unit
from deeplab.train.loop import Hook, Progress, on_dispatch

_LINE_SECONDS = 5.0
_EVALUATION_SECONDS = 0.5  # of evaluations that follow one another faster, not each has a line
_NOTEBOOK_SECONDS = 0.2
_SHOWN = 3  # metrics of an evaluation


class Shown(NamedTuple):
    """What shows the progress of a run.

    Attributes:
      hook: Hook of the training loop.
      row: Function of (step, split, metrics), called with each row of metrics.
    """

    hook: Hook
    row: Callable[[int, str, Mapping[str, float]], None]


@contextmanager
def progress(console: Any, experiment: Experiment, start: int) -> Iterator[Shown]:
    """Shows steps, loss, the last evaluation and the best one so far, throughput, waiting for input, and the time left.

    Args:
      console: Console of `rich`.
      experiment: Experiment that is trained.
      start: First step of this session.
    """
    meter = _Meter(experiment, start)
    if console.is_jupyter:
        line = _OneLine(meter)
        yield Shown(on_dispatch(line.dispatch), line.row)
        print(flush=True)
    elif not console.is_terminal:
        lines = _Lines(console, meter)
        yield Shown(on_dispatch(lines.dispatch), lines.row)
    else:
        with _bar(console, meter) as shown:
            yield shown


@contextmanager
def _bar(console: Any, meter: _Meter) -> Iterator[Shown]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[news]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=meter.end, completed=meter.start, news="")
        yield Shown(
            on_dispatch(lambda step: bar.update(task, completed=step.step, news=meter.news(step))), meter.evaluated
        )


class _Meter:
    """Loss, evaluations, throughput and stalls as text."""

    def __init__(self, experiment: Experiment, start: int):
        self.start, self.end = start, experiment.num_steps
        self._monitor, self._best = experiment.monitor, Best()
        self._headline, self._split = experiment.task.headline, experiment.data.eval_split
        self._unit, self._units = throughput_unit(experiment)
        self._began = time.monotonic()
        self.evaluation = ""

    def evaluated(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
        """Takes the row of an evaluation; others are ignored."""
        name = self._monitor.name
        if split != self._split or name not in metrics:
            return
        self._best = self._best.after(step, self._monitor.score(metrics))
        names = [key for key in dict.fromkeys([name, *self._headline]) if key in metrics][:_SHOWN]
        told = ", ".join(f"{key} {metrics[key]:.4g}" for key in names)
        value = self._best.score if self._monitor.direction == "max" else -self._best.score
        since = f"since step {self.start:,}" if self.start else "so far"  # sessions before this one are not known here
        best = f"the best {since}"
        if self._best.step != step:
            best = f"best {name}{f' {since}' if self.start else ''} {value:.4g} at step {self._best.step:,}"
        best = best if self._best.step else f"no finite {name} yet"
        self.evaluation = f"{split} {told} ({best})"

    def rate(self, step: int) -> float:
        return (step - self.start) / max(time.monotonic() - self._began, 1e-9)

    def left(self, step: int) -> str:
        return f"{(self.end - step) / max(self.rate(step), 1e-9):.0f} s left"

    def news(self, step: Progress, *, evaluation: bool = True) -> str:
        loss = f"loss {step.metrics['loss'].compute():.4f}  " if "loss" in step.metrics else ""
        stalled = step.stalled / max(time.monotonic() - self._began, 1e-9)
        waiting = f"  waits for input {100 * stalled:.0f} % of the time" if stalled >= 0.01 else ""
        told, rate = f"{self.evaluation}  " if self.evaluation and evaluation else "", self.rate(step.step)
        return f"{loss}{told}{rate:.3g} steps/s, {rate * self._units:,.0f} {self._unit}/s{waiting}"


class _Lines:
    """Prints a line every few seconds, at each evaluation, and at the end."""

    def __init__(self, console: Any, meter: _Meter):
        self._console, self._meter, self._last = console, meter, time.monotonic()
        self._evaluated = 0.0

    def dispatch(self, step: Progress) -> None:
        now = time.monotonic()
        if now - self._last < _LINE_SECONDS and step.step < step.num_steps:
            return
        self._last = now
        news = self._meter.news(step, evaluation=False)  # which has a line of its own, of its own step
        self._print(step.step, f"{news}  {self._meter.left(step.step)}")

    def row(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
        before = self._meter.evaluation
        self._meter.evaluated(step, split, metrics)
        now = time.monotonic()
        quiet = now - self._evaluated < _EVALUATION_SECONDS and step < self._meter.end
        if self._meter.evaluation != before and not quiet:
            self._evaluated = now
            self._print(step, self._meter.evaluation)

    def _print(self, step: int, text: str) -> None:
        self._console.print(f"step {step:,}/{self._meter.end:,}  {text}", highlight=False, markup=False, soft_wrap=True)


class _OneLine:
    """Writes one line again and again: a carriage return brings the output of a notebook back to its start."""

    def __init__(self, meter: _Meter):
        self._meter, self._last, self._width = meter, 0.0, 0
        self.row = meter.evaluated

    def dispatch(self, step: Progress) -> None:
        now = time.monotonic()
        if now - self._last < _NOTEBOOK_SECONDS and step.step < step.num_steps:
            return
        self._last = now
        text = f"step {step.step:,}/{step.num_steps:,}  {self._meter.news(step)}  {self._meter.left(step.step)}"
        sys.stdout.write(f"\r{text.ljust(self._width)}")
        sys.stdout.flush()
        self._width = len(text)
