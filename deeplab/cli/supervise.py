"""Starts the processes of a run, and starts them again when one has died: `--processes` and `--restarts`.

One supervisor stands over the processes of a machine. When one of them ends the rest are given the time to notice,
which they do by themselves, and are killed if they do not (a stopped process cannot). Then all begin again, and go on
from the last checkpoint; on several machines each has its own supervisor, and they meet at the coordinator's address.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import Invocation
from deeplab.cli.group import PULSE
from deeplab.core.errors import UserError
from deeplab.scale.processes.watch import RESTART

_GRACE = 15.0  # seconds for the others to notice, and to end by themselves
_TOLD = 5.0  # the same, where the first was told to end, and so are the others
_SILENT = 30.0  # seconds without a pulse, after the first, until a process is killed
_POLL = 0.2
_FINAL = (0, 2, 3, 4, 130, 143)  # exit codes that another start would not change


def asked(call: Invocation) -> bool:
    """Whether processes are to be started, and this one is none of them."""
    flags = call.flags
    return PULSE not in os.environ and bool(getattr(flags, "processes", None) or getattr(flags, "restarts", 0))


def run(call: Invocation, console: Console, *, by_command: bool) -> dict[str, Any]:
    """Runs this process' own command line in processes of their own, to its end.

    Returns:
      exit_code, and restarts: how many were needed.

    Raises:
      UserError: there is no command line, or the flags contradict each other.
    """
    flags = call.flags
    if not by_command:
        raise UserError("--processes and --restarts start this command line again, and there is none in a notebook")
    if flags.processes is not None and (flags.processes < 1 or flags.coordinator or flags.process_id is not None):
        raise UserError(f"--processes {flags.processes} starts 1 or more on this machine, and says to each where it is")
    command, restarts = [sys.executable, *sys.orig_argv[1:]], 0
    with _passing_on_signals() as group:
        while True:
            group.start(command, flags.processes, flags.devices_per_process)
            code = group.wait(console)
            if code in _FINAL or restarts == flags.restarts or group.signalled:
                return {"exit_code": code, "restarts": restarts}
            restarts += 1
            command = [word for word in command if word != "--fresh"]  # to begin anew was meant once
            console.print(f"starting again, {restarts} of {flags.restarts} times", highlight=False)


class _Group:
    """The processes of this machine, and the pipes by which they show that they live."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen] = []
        self._names: list[str] = []
        self._pulses: dict[int, float | None] = {}
        self.signalled = False

    def start(self, command: list[str], count: int | None, devices: int | None) -> None:
        """Starts them: each knows its place by the environment, as on a cluster."""
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
                    "JAX_LOCAL_DEVICE_IDS": str(rank),  # of GPUs; a CPU's devices are each process' own
                }
            if devices is not None:
                environment["JAX_NUM_CPU_DEVICES"] = str(devices)
            mine, theirs = os.pipe()
            self._pulses[mine] = None
            self._processes.append(
                subprocess.Popen(
                    command, env=environment | {PULSE: str(theirs)}, pass_fds=[theirs], start_new_session=True
                )
            )
            os.close(theirs)

    def wait(self, console: Console) -> int:
        """Waits for all of them; the exit code of the first that failed, or 0."""
        first, deadline = 0, float("inf")
        while True:
            alive = [i for i, process in enumerate(self._processes) if process.poll() is None]
            failed = [i for i, process in enumerate(self._processes) if process.returncode]
            if failed and not first:
                first = self._processes[failed[0]].returncode
                deadline = time.monotonic() + (_TOLD if first == RESTART else _GRACE)
                console.print(f"{self._names[failed[0]]} {_ending(first)}", highlight=False)
            if not alive:
                break
            self._listen(console, alive)
            if time.monotonic() > deadline:
                for i in alive:
                    self._kill(console, i, "has not ended with the others")
                deadline = float("inf")
        # What one of them says for good is so for all.
        code = next((p.returncode for p in self._processes if p.returncode and p.returncode in _FINAL), first)
        return 128 - code if code < 0 else code

    def send(self, number: int) -> None:
        """Passes on a signal; the second time there is no more waiting."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if self.signalled else number)
        self.signalled = True

    def close(self) -> None:
        """Leaves nothing behind."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for pipe in self._pulses:
            os.close(pipe)
        self._processes, self._pulses = [], {}

    def _listen(self, console: Console, alive: list[int]) -> None:
        """Reads the pulses, and kills who has fallen silent: it is stopped, and cannot end by itself."""
        pipes = list(self._pulses)
        ready, _, _ = select.select([pipes[i] for i in alive], [], [], _POLL)
        now = time.monotonic()
        for pipe in ready:
            if os.read(pipe, 4096):
                self._pulses[pipe] = now
            else:
                time.sleep(_POLL)  # closed: it is about to end
        for i in alive:
            heard = self._pulses[pipes[i]]
            if heard is not None and now - heard > _SILENT and pipes[i] not in ready:
                self._kill(console, i, f"has been silent for {_SILENT:g} s")

    def _kill(self, console: Console, i: int, why: str) -> None:
        console.print(f"{self._names[i]} {why}: killed", highlight=False)
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


def _ending(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}" + (" (start again)" if code == RESTART else "")
    name = signal.Signals(-code).name
    gone = "; by JAX, if the coordinator, process 0, is gone" if -code == signal.SIGABRT else ""
    return f"was ended by {name}{gone}"
