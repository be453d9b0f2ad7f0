"""What the members of a sweep share, and what is kept of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax

from deeplab.core.runtime import Runtime
from deeplab.search import execution
from deeplab.train.evaluate import Probe

Row = dict[str, Any]
"""What is kept of one run, as JSON: `arguments`, `seed`, `num_train` examples, `num_params`, `steps` taken, `curve` (a
list over the evaluations: `step`, `train`, `evaluation`), `diverged`, `rungs` (its scores where it was compared),
`stopped` there, `execution`, `seconds` (those of a part are divided among its members), `compiled` (seconds of each
compilation that it was the first to need), and what a probe measured: `first`, `last` and `best`."""


class Stopped(Exception):
    """`Setup.stop` returned True; the states are saved."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all members share.

    Args:
      data_dir: Folder with the original files.
      devices: Devices that members are spread over; one CPU device, or all accelerators, when None.
      execution: How members share a program: "auto", "vmap" or "serial".
      members_per_program: Largest number of members in one program; what fits when None.
      probe: What is measured before training, after it, and of the best state; nothing when None.
      split: Split that the probe measures on.
      runtime: Precision, accumulation and offload of a group made by `sweep`.
      directory: Folder where the members are saved at each evaluation; None saves nothing.
      stop: Function that is asked between dispatches; training ends early when it returns True.
      slow: Context around what takes longer than dispatches, given its name, for whoever watches the loop.
      watch: Function that is called between dispatches with the runs (`parts.MemberRun`) of a program, and their step.
    """

    data_dir: Path | None = None
    devices: execution.Devices | None = None
    execution: execution.How = "auto"
    members_per_program: int | None = None
    probe: Probe | None = None
    split: str = "test"
    runtime: Runtime = Runtime()
    directory: Path | None = None
    stop: Callable[[], bool] = lambda: False
    slow: Callable[[str], AbstractContextManager[Any]] = nullcontext
    watch: Callable[[Sequence[Any], int], None] = lambda runs, step: None


def rungs_of(row: Row) -> list[float]:
    """The scores of a row where it was compared; -inf was null in earlier versions."""
    return [float("-inf") if value is None else value for value in row["rungs"]]


def default_devices() -> execution.Devices:
    """One CPU device of each process, or all accelerators."""
    if jax.default_backend() != "cpu":
        return jax.devices()
    return [next(d for d in jax.devices() if d.process_index == i) for i in range(jax.process_count())]
