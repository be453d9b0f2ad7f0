"""Starts the processes of a run on this machine, and starts them again when one has died.

When a process ends, the others are given time to notice by themselves and are killed if they do not, since a stopped
process cannot. Then all start again, and continue from the last checkpoint. On several machines each has its own
supervisor, and the processes meet at the coordinator's address.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.scale.processes.watch import HEARTBEAT_VARIABLE, RESTART

_GRACE = 15.0  # Seconds for the other processes to end by themselves after one has failed.
_GRACE_RESTART = 5.0  # The same where the first ended with RESTART: the others have received the same verdict.
_SILENCE = 30.0  # Seconds without a heartbeat, after the first, until a process is killed.
_POLL = 0.2  # Seconds.
_FINAL = (0, 2, 3, 4, 130, 143)  # Exit codes that a restart would not change.


@dataclasses.dataclass(frozen=True)
@ranges.checked(restarts=ranges.NATURAL, processes=ranges.COUNT, devices_per_process=ranges.COUNT)
class Launch:
    """Processes to start on this machine.

    Attributes:
      command: Command line of each process.
      restart_command: Command line of each restart; `command` when None.
      processes: Number of processes, each with one of the machine's GPUs; when None, one process whose place is found
        as without a supervisor.
      devices_per_process: Number of virtual CPU devices of each process; when None, JAX's default.
      restarts: Largest number of restarts.
    """

    command: Sequence[str]
    restart_command: Sequence[str] | None = None
    processes: int | None = None
    devices_per_process: int | None = None
    restarts: int = 0


def is_supervised() -> bool:
    """Whether this process was started by a supervisor."""
    return HEARTBEAT_VARIABLE in os.environ


def run(launch: Launch, say: Callable[[str], None]) -> tuple[int, int]:
    """Starts the processes, waits for all of them, and restarts them after a failure that may pass.

    Args:
      launch: What to start.
      say: Prints one line for the user.

    Returns:
      The exit code and the number of restarts.

    Raises:
      UserError: The number of processes is below 1.

    Example:
      >>> import sys
      >>> run(Launch([sys.executable, "-c", "raise SystemExit(2)"], restarts=3), print)
      the process of this machine ended with exit code 2
      (2, 0)
    """
    if launch.processes is not None and launch.processes < 1:
        raise UserError(f"--processes {launch.processes}: expected 1 or more")
    command, restarts = launch.command, 0
    with _passing_on_signals() as group:
        while True:
            group.start(command, launch.processes, launch.devices_per_process)
            code = group.wait(say)
            if code in _FINAL or restarts == launch.restarts or group.signaled:
                return code, restarts
            restarts += 1
            command = launch.restart_command or launch.command
            say(f"restart {restarts} of at most {launch.restarts}")


class _Group:
    """The processes of this machine, and the pipes that carry their heartbeats."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen] = []
        self._names: list[str] = []
        self._heard: dict[int, float | None] = {}  # Time of the last heartbeat, by pipe.
        self.signaled = False

    def start(self, command: Sequence[str], count: int | None, devices: int | None) -> None:
        """Starts the processes, each with its place in environment variables, as on a cluster."""
        address = f"127.0.0.1:{_free_port()}"
        self.close()
        self._names = [f"process {rank}" for rank in range(count)] if count else ["the process of this machine"]
        for rank in range(len(self._names)):
            environment = dict(os.environ)
            if count is not None:
                environment |= {
                    "JAX_COORDINATOR_ADDRESS": address,
                    "JAX_NUM_PROCESSES": str(count),
                    "JAX_PROCESS_ID": str(rank),
                    "JAX_LOCAL_DEVICE_IDS": str(rank),  # Of GPUs; each process has its own CPU devices.
                }
            if devices is not None:
                environment["JAX_NUM_CPU_DEVICES"] = str(devices)
            ours, theirs = os.pipe()
            self._heard[ours] = None
            environment[HEARTBEAT_VARIABLE] = str(theirs)
            self._processes.append(
                subprocess.Popen(command, env=environment, pass_fds=[theirs], start_new_session=True)
            )
            os.close(theirs)

    def wait(self, say: Callable[[str], None]) -> int:
        """Waits for all processes; returns the exit code of the first that failed, or 0."""
        first, deadline = 0, float("inf")
        while True:
            alive = [i for i, process in enumerate(self._processes) if process.poll() is None]
            failed = [i for i, process in enumerate(self._processes) if process.returncode]
            if failed and not first:
                first = self._processes[failed[0]].returncode
                deadline = time.monotonic() + (_GRACE_RESTART if first == RESTART else _GRACE)
                say(f"{self._names[failed[0]]} {_describe_exit(first)}")
            if not alive:
                break
            self._listen(say, alive)
            if time.monotonic() > deadline:
                for i in alive:
                    self._kill(say, i, "has not ended with the others")
                deadline = float("inf")
        # A final exit code of one process, such as a user's error, is that of the group.
        code = next((p.returncode for p in self._processes if p.returncode and p.returncode in _FINAL), first)
        return 128 - code if code < 0 else code

    def send(self, number: int) -> None:
        """Passes a signal on to the processes; a second one kills them."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if self.signaled else number)
        self.signaled = True

    def close(self) -> None:
        """Kills the processes that still run, and closes their pipes."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for pipe in self._heard:
            os.close(pipe)
        self._processes, self._heard = [], {}

    def _listen(self, say: Callable[[str], None], alive: list[int]) -> None:
        """Reads heartbeats, and kills a process that has sent none for long: it is stopped and cannot end by itself."""
        pipes = list(self._heard)
        ready, _, _ = select.select([pipes[i] for i in alive], [], [], _POLL)
        now = time.monotonic()
        for pipe in ready:
            if os.read(pipe, 4096):
                self._heard[pipe] = now
            else:
                time.sleep(_POLL)  # Closed: the process is about to end.
        for i in alive:
            heard = self._heard[pipes[i]]
            if heard is not None and now - heard > _SILENCE and pipes[i] not in ready:
                self._kill(say, i, f"has sent no heartbeat for {_SILENCE:g} s")

    def _kill(self, say: Callable[[str], None], i: int, reason: str) -> None:
        say(f"{self._names[i]} {reason}: killed")
        self._processes[i].kill()


@contextlib.contextmanager
def _passing_on_signals() -> Iterator[_Group]:
    group = _Group()

    def handle(number: int, frame: FrameType | None) -> None:
        group.send(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield group
    finally:
        group.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _describe_exit(code: int) -> str:
    """The end of a process, in words, from its return code.

    Example:
      >>> _describe_exit(75), _describe_exit(-9)
      ('ended with exit code 75 (restart)', 'was ended by SIGKILL')
    """
    if code >= 0:
        return f"ended with exit code {code}" + (" (restart)" if code == RESTART else "")
    name = signal.Signals(-code).name
    cause = " (JAX aborts when process 0, the coordinator, is gone)" if -code == signal.SIGABRT else ""
    return f"was ended by {name}{cause}"
