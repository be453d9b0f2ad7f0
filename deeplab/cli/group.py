"""This command as one of several processes: the flags, and the context that joins the group."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.core.backend import explain_out_of_memory
from deeplab.runs import provenance
from deeplab.scale import processes
from deeplab.scale.processes.join import GroupOptions, joined
from deeplab.scale.processes.watch import Watchdog

_OF_ONE_PROCESS = (
    *("run_dir", "data_dir", "json", "wandb", "coordinator", "process_id", "num_processes", "connect_timeout"),
    *("watchdog", "processes", "devices_per_process", "restarts"),
)
"""Flags that may differ between the processes of a run."""


@dataclasses.dataclass(frozen=True)
class ProcessFlags(CommonFlags):
    """Flags of the verbs that train.

    Args:
      coordinator: HOST:PORT of process 0 of several; by SLURM, Open MPI, Kubernetes or a TPU when left out.
      num_processes: How many processes there are; found like the coordinator.
      process_id: Which of them this is, from 0; found like the coordinator.
      connect_timeout: Seconds to wait for the other processes.
      watchdog: Seconds after which a loop that has not moved is stuck; 60 with several processes, else never.
      processes: Start so many processes on this machine, each with one of its GPUs, or with CPU devices of its own.
      devices_per_process: How many CPU devices each of them has.
      restarts: How often a process that died, or was ended for another one's sake, is started again.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    connect_timeout: float = 300.0
    watchdog: float | None = None
    processes: int | None = None
    devices_per_process: int | None = None
    restarts: int = 0


@contextlib.contextmanager
def joined_group(call: Invocation, console: Console) -> Iterator[Watchdog]:
    """A context in which this process belongs to its group, if there is one, and all of them run the same.

    Args:
      call: What was asked for; its flags are `ProcessFlags`.
      console: Console of the command, silenced in all processes but process 0.

    Raises:
      UserError: The processes differ in code, packages, arguments or flags.
    """
    flags: ProcessFlags = call.flags
    options = GroupOptions(**{field.name: getattr(flags, field.name) for field in dataclasses.fields(GroupOptions)})
    with joined(options, console) as watchdog, explain_out_of_memory():
        if jax.process_count() > 1:
            shared = {name: str(value) for name, value in vars(flags).items() if name not in _OF_ONE_PROCESS}
            processes.assert_same_across_processes(
                provenance.identity(call.function, call.module, call.arguments, shared)
            )
        yield watchdog
