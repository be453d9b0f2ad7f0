"""Joins this process to its group, watches it, and ends the group when one process fails."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import NoReturn

import jax
from rich.console import Console
from rich.markup import escape

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.scale.processes.exchange import client
from deeplab.scale.processes.find import Place, find_place
from deeplab.scale.processes.meet import meet
from deeplab.scale.processes.watch import HEARTBEAT_VARIABLE, RESTART, Watchdog

_STALL = 60.0  # Seconds without progress until a loop counts as stuck; the default with several processes.
_SILENCE = 8.0  # Seconds without a heartbeat until a process counts as dead.
# JAX's own heartbeat ends all processes without a message, after 0.5 to 1 times this many seconds: ours must be first.
_JAX_HEARTBEAT = 2.5 * _SILENCE


@dataclasses.dataclass(frozen=True)
@ranges.checked(
    num_processes=ranges.COUNT, process_id=ranges.NATURAL, connect_timeout=ranges.POSITIVE, watchdog=ranges.POSITIVE
)
class GroupOptions:
    """How a process finds and watches its group.

    Attributes:
      coordinator: Address of process 0, as HOST:PORT; detected when None, see `find_place`.
      num_processes: Number of processes; detected when None.
      process_id: Index of this process, from 0; detected when None.
      connect_timeout: Seconds to wait for the other processes.
      watchdog: Seconds without progress until the loop counts as stuck; when None, 60 with several processes, and
        never with one.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    connect_timeout: float = 300.0
    watchdog: float | None = None


@contextlib.contextmanager
def joined(options: GroupOptions, console: Console) -> Iterator[Watchdog]:
    """A context in which this process belongs to its group, if there is one, and is watched.

    Only process 0 prints. With several processes an exception does not leave this context: it is reported once, by the
    process that raised it and by process 0, and ends all processes.

    Args:
      options: How the group is found.
      console: Console of the command, silenced in all processes but process 0.

    Raises:
      UserError: The place of this process is known in part only, or the processes cannot connect.

    Example:
      >>> with joined(GroupOptions(), Console()) as watchdog:
      ...     signal = watchdog.boundary()
    """
    place = find_place(options.coordinator, options.num_processes, options.process_id)
    supervisor = int(os.environ[HEARTBEAT_VARIABLE]) if HEARTBEAT_VARIABLE in os.environ else None
    if place is None:
        watchdog = Watchdog(stall=options.watchdog, supervisor=supervisor)
        if supervisor is not None or options.watchdog:
            watchdog.start()
        try:
            yield watchdog
        finally:
            watchdog.close()
        return
    if place.rank == 0:
        text = f"{place.count} processes, from {place.source}; process 0 at {place.coordinator}"
        console.print(text, highlight=False)
    console.quiet = place.rank > 0
    join(place, options.connect_timeout, _JAX_HEARTBEAT)
    stall = _STALL if options.watchdog is None else options.watchdog
    watchdog = Watchdog(client(), place.rank, place.count, stall=stall, silence=_SILENCE, supervisor=supervisor)
    watchdog.start()
    try:
        yield watchdog
        watchdog.close()
    except BaseException as error:
        _end(error, watchdog, place)


def join(place: Place, timeout: float, heartbeat: float) -> None:
    """Waits for the other processes and initializes `jax.distributed`; must run before the first array is created.

    Args:
      place: Place of this process.
      timeout: Seconds to wait for the other processes.
      heartbeat: Seconds without JAX's own heartbeat until JAX ends the processes.

    Raises:
      UserError: Processes are missing or do not match; the text gives the address and the ranks.
    """
    meet(place.coordinator, place.count, place.rank, timeout)
    jax.config.update("jax_enable_preemption_service", False)  # It would take over SIGTERM, see signals.py.
    jax.distributed.initialize(
        place.coordinator,
        place.count,
        place.rank,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=max(60, int(timeout)),
        heartbeat_timeout_seconds=max(2, int(heartbeat)),
    )
    if place.rank:
        warnings.simplefilter("ignore")  # Process 0 shows the same warnings.


def _end(error: BaseException, watchdog: Watchdog, place: Place) -> NoReturn:
    """Reports an error once, and exits without waiting for a collective or for JAX's own shutdown."""
    expected = isinstance(error, UserError | KeyboardInterrupt)
    code = error.exit_code if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {str(error)[:300]}"
    name = f"process {place.rank} of {place.count} ({socket.gethostname()}, pid {os.getpid()})"
    verdict = watchdog.fail(
        f"{name}: {text}",
        code if expected else RESTART,
        consequence=isinstance(error, jax.errors.JaxRuntimeError),
    )
    ours = verdict["text"].endswith(text)  # Other processes may have raised the same error.
    if ours and not expected:
        traceback.print_exception(error)
    elif place.rank == 0 or not ours:
        message = text if ours and place.rank == 0 else verdict["text"]
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False)
    sys.stdout.flush()
    sys.stderr.flush()
    watchdog.linger()
    os._exit(code if ours else verdict["code"])
