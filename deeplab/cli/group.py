"""Flags of several processes, and the context in which a command joins its group."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.core.arguments import to_json
from deeplab.core.backend import explain_out_of_memory
from deeplab.runs.identity import provenance
from deeplab.scale import processes
from deeplab.scale.processes.join import GroupOptions, joined
from deeplab.scale.processes.signals import stop_on_signal
from deeplab.scale.processes.watch import Watchdog
from deeplab.search.axes import Axis
from deeplab.search.execution import How
from deeplab.verbs.answers.progress import Line
from deeplab.verbs.many import Many
from deeplab.verbs.training.progress import progress
from deeplab.verbs.training.surroundings import Surroundings

_OF_ONE_PROCESS = (
    *("run_dir", "data_dir", "json", "wandb", "coordinator", "process_id", "num_processes", "connect_timeout"),
    *("watchdog", "processes", "devices_per_process", "restarts"),
)
"""Flags that may differ between the processes of a run."""


@dataclasses.dataclass(frozen=True)
class ProcessFlags(CommonFlags):
    """Flags of the verbs that train.

    Args:
      coordinator: Address of process 0 as HOST:PORT; detected on SLURM, Open MPI, Kubernetes and TPUs when left out.
      num_processes: Number of processes; detected like the coordinator.
      process_id: Index of this process, from 0; detected like the coordinator.
      connect_timeout: Seconds after which missing processes are reported.
      watchdog: Seconds without progress until the loop counts as stuck; when left out, 60 with several processes, and
        never with one.
      processes: Number of processes to start on this machine, each with one of its GPUs, or with its own CPU devices.
      devices_per_process: Number of CPU devices of each process that is started.
      restarts: Largest number of restarts after a process has died or was ended because another one had.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    connect_timeout: float = 300.0
    watchdog: float | None = None
    processes: int | None = None
    devices_per_process: int | None = None
    restarts: int = 0


@dataclasses.dataclass(frozen=True)
class MembersFlags(ProcessFlags):
    """Flags of the verbs that make many runs.

    Args:
      mesh: Devices that runs are spread over, such as member=8; auto is all accelerators, or one CPU device.
      seeds: Runs of each setting, with the seeds from --seed on.
      execution: How runs share a program: vmap, as many as fit; serial, one after another, compiled once; auto chooses.
      members_per_program: Runs in one program, at most; what fits the memory when left out.
      fresh: Begin anew; what the run directory holds is moved aside, and kept.
      allow_change: Go on although the arguments or the source differ from those of the run directory.
    """

    mesh: str = "auto"
    seeds: int = 3
    execution: How = "auto"
    members_per_program: int | None = None
    fresh: bool = False
    allow_change: bool = False

    def many(self) -> Many:
        """How many runs are made."""
        return Many(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Many)})


@contextlib.contextmanager
def surroundings(call: Invocation, watchdog: Watchdog, console: Console) -> Iterator[Surroundings]:
    """The effects of a command line around training: signals, a watchdog, lines and a progress bar on a console.

    Args:
      call: What was asked for.
      watchdog: Watchdog of this process.
      console: Console of the command.
    """
    line = Line(None if console.quiet else console.file, console.is_terminal)

    def say(text: str) -> None:
        line.clear()
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    with stop_on_signal(watchdog) as stop:
        yield Surroundings(
            say=say,
            progress=lambda experiment, start: progress(console, experiment, start),
            stop=stop,
            exit_code=lambda: stop.exit_code,
            slow=watchdog.slow,
            import_seconds=call.import_seconds,
            line=lambda: line,
        )


@contextlib.contextmanager
def joined_group(call: Invocation, console: Console) -> Iterator[Watchdog]:
    """Context in which this process has joined its group, if there is one, and all processes run the same code.

    Args:
      call: Invocation whose flags are `ProcessFlags`.
      console: Console of the command, silenced in all processes but process 0.

    Raises:
      UserError: The processes differ in code, packages, arguments or flags.
    """
    flags: ProcessFlags = call.flags
    options = GroupOptions(**{field.name: getattr(flags, field.name) for field in dataclasses.fields(GroupOptions)})
    with joined(options, console) as watchdog, explain_out_of_memory():
        if jax.process_count() > 1:
            shared = {name: str(value) for name, value in vars(flags).items() if name not in _OF_ONE_PROCESS}
            # Those of a sweep are axes, which are compared by their text.
            arguments = {k: str(v) if isinstance(v, Axis) else to_json(v) for k, v in call.arguments.items()}
            processes.assert_same_across_processes(provenance.identity(call.function, call.module, arguments, shared))
        yield watchdog
