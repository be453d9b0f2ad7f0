"""A watchdog over the processes of a run: one that dies, fails or hangs ends all, with its rank and the reason.

A collective waits forever for a missing process, and JAX's own heartbeat detects only processes that are gone. So a
thread beside the training loop reports to the coordinator twice a second that the process is alive, and how many
dispatches it has begun. It reads two messages back: a verdict, which ends every process, and a request to stop, after
which the processes agree on the dispatch to stop at.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from deeplab.scale.processes.store import Store

RESTART = 75  # Exit code that asks a supervisor to start the process again.
HEARTBEAT = 0.5  # Seconds between two heartbeats.
HEARTBEAT_VARIABLE = "DEEPLAB_HEARTBEAT_FD"
"""Environment variable with the file descriptor on which a supervisor receives the heartbeats of its process."""

_SLOW_FACTOR = 10  # Compiling, an evaluation or a checkpoint may take this many times longer than a dispatch.
_DISPATCH_FACTOR = 20  # A dispatch may take this many times longer than the longest so far, within the limit above.


class Watchdog:
    """Watches one process and its group; with one process, it only passes on a request to stop.

    Args:
      client: Client of JAX's coordinator; None with one process.
      rank: Index of this process.
      count: Number of processes.
      stall: Seconds without progress until the loop counts as stuck; None for never.
      silence: Seconds without a heartbeat until a process counts as dead.
      supervisor: File descriptor that receives a byte at each heartbeat; None without a supervisor.

    Example:
      >>> watchdog = Watchdog()
      >>> watchdog.boundary()
      >>> watchdog.request_stop(15)
      >>> watchdog.boundary()
      15
    """

    def __init__(
        self,
        client: Any = None,
        rank: int = 0,
        count: int = 1,
        *,
        stall: float | None = None,
        silence: float = 10.0,
        supervisor: int | None = None,
    ):
        self._store = None if client is None else Store(client, rank)
        self._rank, self._count = rank, count
        self._stall, self._silence, self._supervisor = stall, silence, supervisor
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._boundaries, self._longest = 0, 0.0
        self._phase, self._moved = "the start", time.monotonic()
        self._requested: int | None = None  # Signal that this process received.
        self._signal: int | None = None  # Signal that the group obeys.
        self._stop_at: int | None = None  # Boundary at which the group stops.
        self._seen: dict[int, tuple[dict[str, Any], float]] = {}  # Last heartbeat by rank, and when it changed.
        self._answered = time.monotonic()  # Time of the coordinator's last answer.
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Starts the threads that watch."""
        self._answered = self._moved = time.monotonic()
        self._thread.start()
        if self._store is not None and self._rank > 0:
            threading.Thread(target=self._watch_coordinator, name="coordinator watchdog", daemon=True).start()

    def request_stop(self, signal: int) -> None:
        """Requests that the group stops; safe in a signal handler, since it takes no lock."""
        self._requested = signal

    def boundary(self) -> int | None:
        """Marks the time between two dispatches; returns the signal to stop by, or None.

        Every process must call it at the same dispatches. It blocks while the group agrees on where to stop.
        """
        with self._lock:
            now = time.monotonic()
            if self._phase == "":
                self._longest = max(self._longest, now - self._moved)
            self._boundaries, self._phase, self._moved = self._boundaries + 1, "", now
            if self._store is None:
                return self._requested
            return self._signal if self._stop_at is not None and self._boundaries >= self._stop_at else None

    @contextlib.contextmanager
    def slow(self, phase: str) -> Iterator[None]:
        """A context for work that may take ten times longer than a dispatch.

        Args:
          phase: Name of the work for the error, such as "an evaluation".
        """
        before, self._phase, self._moved = self._phase, phase, time.monotonic()
        try:
            yield
        finally:
            self._phase, self._moved = before, time.monotonic()

    def close(self, timeout: float = 3600.0) -> None:
        """Waits for the other processes, which may still be writing, and stops watching.

        Args:
          timeout: Seconds to wait.
        """
        if self._store is not None:
            with self.slow("the end"):
                self._store.wait_for_all(timeout)
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def fail(self, text: str, code: int, *, consequence: bool = False) -> dict[str, Any]:
        """Reports to the other processes why this one ends.

        Args:
          text: Reason.
          code: Exit code of the other processes.
          consequence: Whether the error may be caused by another process that ended; its verdict is then awaited.

        Returns:
          The first verdict of the group: its `text`, the exit `code`, and the `ranks` that caused it.
        """
        deadline = time.monotonic() + (self._silence + 4 * HEARTBEAT if consequence and self._store else 0)
        while time.monotonic() < deadline:  # The watching thread ends this process when it reads another verdict.
            time.sleep(HEARTBEAT)
        self._ended.set()
        return self._publish_verdict(text, code, [self._rank])

    def linger(self) -> None:
        """Keeps the coordinator alive until the other processes have read its messages."""
        if self._store is not None and self._rank == 0:
            time.sleep(4 * HEARTBEAT)

    def _run(self) -> None:
        try:
            while not self._ended.wait(HEARTBEAT / 5 if self._agreeing() else HEARTBEAT):
                self._beat()
        except Exception as error:
            if not self._ended.is_set():
                text = f"process 0, the coordinator, is gone ({str(error)[:200]})"
                self._exit({"text": text, "code": RESTART, "ranks": [0]})

    def _watch_coordinator(self) -> None:
        """Ends this process when the coordinator is stopped, since the main watchdog thread blocks on its answer."""
        while not self._ended.wait(HEARTBEAT):
            if time.monotonic() - self._answered > self._silence:
                text = f"process 0, the coordinator, has not answered for {self._silence:g} s: stopped or unreachable"
                self._exit({"text": text, "code": RESTART, "ranks": [0]})

    def _beat(self) -> None:
        if self._supervisor is not None:
            try:
                os.write(self._supervisor, b".")
            except BrokenPipeError:
                self._exit({"text": "the supervisor of this process is gone", "code": RESTART, "ranks": []})
        if self._store is not None:
            self._store.beat(self._boundaries)
            if (verdict := self._store.read("verdict")) is not None:
                self._exit(verdict)
            self._agree_on_stop(self._store)
            self._answered = time.monotonic()
        self._check_self()
        if self._store is not None and self._rank == 0:
            self._check_others(self._store)

    def _check_self(self) -> None:
        """Ends the group when this loop has not moved: it is stuck, or waits for a process that is behind."""
        if self._stall is None or self._agreeing():
            return
        # A dead process must be detected before the processes that wait for it count as stuck.
        least = max(self._stall, self._silence + 4 * HEARTBEAT) if self._store is not None else self._stall
        most = _SLOW_FACTOR * least
        limit = most if self._phase else min(max(least, _DISPATCH_FACTOR * self._longest), most)
        if time.monotonic() - self._moved <= limit:
            return
        where = self._phase or f"training, at dispatch {self._boundaries:,}"
        text, ranks = f"no progress for {limit:g} s during {where}", [self._rank]
        if self._store is not None:
            beats = self._store.heartbeats()
            furthest = max(beat["boundaries"] for beat in beats.values())
            behind = [rank for rank, beat in beats.items() if beat["boundaries"] < furthest]
            ranks = behind or list(beats)
            names = " and ".join(f"process {rank} ({beats[rank]['name']})" for rank in behind)
            text = f"{names} is stuck behind the others: {text}" if behind else f"no process is behind, but {text}"
        text = f"{text}; the stacks are in its output (a longer --watchdog waits longer)"
        self._exit(self._publish_verdict(text, RESTART, ranks))

    def _check_others(self, store: Store) -> None:
        """Process 0: ends the group when a heartbeat has stopped."""
        now = time.monotonic()
        for rank, beat in store.heartbeats().items():
            if rank not in self._seen or self._seen[rank][0] != beat:
                self._seen[rank] = beat, now
            elif now - self._seen[rank][1] > self._silence:
                text = (
                    f"process {rank} of {self._count} ({beat['name']}) has sent no heartbeat for {self._silence:g} s: "
                    "it was killed or stopped, or its machine is gone"
                )
                self._exit(self._publish_verdict(text, RESTART, [rank]))

    def _agree_on_stop(self, store: Store) -> None:
        """Chooses the dispatch after which all stop: the one that the furthest process has begun.

        Each process publishes its dispatch and then blocks in `boundary`. A process that waits in a collective for a
        blocked one is not deadlocked: the blocked one goes on as soon as all dispatches are known.
        """
        if self._stop_at is not None:
            return
        signal = self._requested or store.read("stop")
        if signal is None:
            return
        if not self._agreeing():
            self._lock.acquire()
            if self._requested:
                store.post("stop", self._requested)
            self._signal = store.read("stop")
            store.post_stop(self._boundaries)
        stops = store.stops()
        if len(stops) == self._count:
            self._stop_at = max(stops) + 1
            self._moved = time.monotonic()
            self._lock.release()

    def _agreeing(self) -> bool:
        """Whether the group is agreeing on where to stop."""
        return self._signal is not None and self._stop_at is None

    def _publish_verdict(self, text: str, code: int, ranks: list[int]) -> dict[str, Any]:
        verdict = {"text": text, "code": code, "ranks": ranks}
        if self._store is not None:
            with contextlib.suppress(Exception):  # The coordinator is gone.
                self._store.post("verdict", verdict)
                return self._store.read("verdict") or verdict
        return verdict

    def _exit(self, verdict: dict[str, Any]) -> None:
        """Ends the process at once: a thread that waits in a collective cannot be interrupted."""
        print(f"error: {verdict['text']}", file=sys.stderr, flush=True)
        if self._rank in verdict["ranks"]:
            faulthandler.dump_traceback(file=sys.stderr)
        self.linger()
        os._exit(verdict["code"])
