"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deeplab.train.loop import Hook, on_dispatch
from deeplab.train.loop import Progress as Step

_LINE_SECONDS = 5.0


@contextmanager
def progress(console: Console, start: int, end: int, units_per_step: int, unit: str) -> Iterator[Hook]:
    """Hook that shows steps, loss, throughput, the fraction of time spent waiting for input, and the time left."""
    meter = _Meter(start, units_per_step, unit)
    if not console.is_terminal:
        yield on_dispatch(_Lines(console, meter))
        return
    columns = (
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
        BarColumn(),
        TextColumn("{task.fields[news]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=end, completed=start, news="")
        yield on_dispatch(lambda step: bar.update(task, completed=step.step, news=meter.news(step)))


class _Meter:
    """Loss, throughput and stalls as text."""

    def __init__(self, start: int, units_per_step: int, unit: str):
        self._start, self._units, self._unit = start, units_per_step, unit
        self._began = time.monotonic()

    def rate(self, step: int) -> float:
        return (step - self._start) / max(time.monotonic() - self._began, 1e-9)

    def news(self, step: Step) -> str:
        loss = f"loss {step.metrics['loss'].compute():.4f}  " if "loss" in step.metrics else ""
        stalled = step.stalled / max(time.monotonic() - self._began, 1e-9)
        waiting = f"  waits for input {100 * stalled:.0f} % of the time" if stalled >= 0.01 else ""
        return f"{loss}{self.rate(step.step) * self._units:,.0f} {self._unit}/s{waiting}"


class _Lines:
    """Prints one line every few seconds, and one at the end."""

    def __init__(self, console: Console, meter: _Meter):
        self._console, self._meter, self._last = console, meter, time.monotonic()

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        if now - self._last < _LINE_SECONDS and step.step < step.num_steps:
            return
        self._last = now
        left = (step.num_steps - step.step) / max(self._meter.rate(step.step), 1e-9)
        self._console.print(
            f"step {step.step:,}/{step.num_steps:,}  {self._meter.news(step)}  {left:.0f} s left", highlight=False
        )
