"""The watch that processes keep over each other: one that dies, fails or hangs ends the others, by name.

A collective waits for ever for a process that does not come, and JAX itself notices only a process that is gone. Here
a thread beside the loop tells the coordinator twice a second that it lives and how far its loop has come, and reads
the news: the verdict that ends all, or the wish of one to stop, upon which all agree on a step to stop at.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

RESTART = 75  # the exit code that says: start me again
PULSE = 0.5  # seconds between two signs of life
_NEWS, _BEATS, _PLACES = "deeplab/news/", "deeplab/beat/", "deeplab/stop/"
_SLOW = 10  # compiling, an evaluation, a checkpoint may take so many times longer than a dispatch
_LONGER = 20  # a dispatch may take so many times longer than the longest so far, if that is below a slow phase's time


class Watch:
    """Over one process and its group; alone, it hands on the wish to stop.

    Args:
      client: of JAX's coordinator; None for a process by itself.
      rank: of this process.
      count: of the group.
      stall: seconds after which a loop that has not moved is stuck; None never.
      silence: seconds after which a process that gives no sign of life is dead.
      pulse: a file descriptor that is told of each sign of life, of whoever has started this process.

    Example:
      >>> watch = Watch()
      >>> watch.boundary()
      >>> watch.ask(15)
      >>> watch.boundary()
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
        pulse: int | None = None,
    ):
        self._client, self._rank, self._count = client, rank, count
        self._stall, self._silence, self._pulse = stall, silence, pulse
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._boundaries, self._longest = 0, 0.0
        self._phase, self._moved = "the start", time.monotonic()
        self._asked: int | None = None  # by a signal to this process
        self._signal: int | None = None  # of the group
        self._stop_at: int | None = None  # the boundary at which the group stops
        self._seen: dict[int, tuple[str, float]] = {}
        self._answered = time.monotonic()  # by the coordinator
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """From here on the process is watched."""
        self._answered = self._moved = time.monotonic()
        self._thread.start()
        if self._client is not None and self._rank > 0:
            threading.Thread(target=self._doubt, name="watch of the coordinator", daemon=True).start()

    def ask(self, signal: int) -> None:
        """Wishes to stop; for signal handlers: it takes no lock."""
        self._asked = signal

    def boundary(self) -> int | None:
        """To be called between dispatches, which are the same in each process: the signal to stop by, or None.

        While the group agrees on where to stop, it waits.
        """
        with self._lock:
            now = time.monotonic()
            if self._phase == "":
                self._longest = max(self._longest, now - self._moved)
            self._boundaries, self._phase, self._moved = self._boundaries + 1, "", now
            if self._client is None:
                return self._asked
            return self._signal if self._stop_at is not None and self._boundaries >= self._stop_at else None

    @contextlib.contextmanager
    def slow(self, phase: str) -> Iterator[None]:
        """Within it, ten times longer is not yet stuck."""
        before, self._phase, self._moved = self._phase, phase, time.monotonic()
        try:
            yield
        finally:
            self._phase, self._moved = before, time.monotonic()

    def close(self, timeout: float = 3600.0) -> None:
        """Waits for the others, which may still be writing, and ends the watch."""
        if self._client is not None:
            with self.slow("the end"):
                self._client.wait_at_barrier("deeplab/end", int(1000 * timeout))
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def fail(self, text: str, code: int, *, consequence: bool = False) -> dict[str, Any]:
        """Tells the others why this process ends; gives the verdict on all, {"text", "code", "ranks"}: the first one.

        Args:
          text: the reason.
          code: the exit code of the others.
          consequence: whether the error may come from another process' end; the verdict on that one is awaited first.
        """
        deadline = time.monotonic() + (self._silence + 4 * PULSE if consequence and self._client else 0)
        while time.monotonic() < deadline:  # the watch ends this process when it learns more
            time.sleep(PULSE)
        self._ended.set()
        return self._condemn(text, code, [self._rank])

    def _run(self) -> None:
        try:
            while not self._ended.wait(PULSE / 5 if self._waits() else PULSE):
                self._beat()
        except Exception as error:
            if not self._ended.is_set():
                gone = f"process 0, the coordinator, is gone ({str(error)[:200]})"
                self._leave({"text": gone, "code": RESTART, "ranks": [0]})

    def _doubt(self) -> None:
        """Ends a process whose coordinator is stopped: its watch waits for an answer."""
        while not self._ended.wait(PULSE):
            if time.monotonic() - self._answered > self._silence:
                text = (
                    f"process 0, the coordinator, has not answered for {self._silence:g} s: it is stopped, or far away"
                )
                self._leave({"text": text, "code": RESTART, "ranks": [0]})

    def _beat(self) -> None:
        if self._pulse is not None:
            try:
                os.write(self._pulse, b".")
            except BrokenPipeError:
                self._leave({"text": "the process that started this one is gone", "code": RESTART, "ranks": []})
        if self._client is not None:
            name = f"{socket.gethostname()}, pid {os.getpid()}"
            beat = {"boundaries": self._boundaries, "name": name, "at": time.time()}
            self._client.key_value_set(f"{_BEATS}{self._rank}", json.dumps(beat), allow_overwrite=True)
            if (verdict := self._news("verdict")) is not None:
                self._leave(verdict)
            self._agree_on_stop()
            self._answered = time.monotonic()
        self._check_self()
        if self._client is not None and self._rank == 0:
            self._check_others()

    def _check_self(self) -> None:
        """A loop that does not move is stuck, or waits for one that is behind."""
        if self._stall is None or self._waits():
            return
        # That a process is dead is to be known before the others are taken for stuck.
        least = max(self._stall, self._silence + 4 * PULSE) if self._client is not None else self._stall
        most = _SLOW * least
        limit = most if self._phase else min(max(least, _LONGER * self._longest), most)
        if time.monotonic() - self._moved <= limit:
            return
        where = self._phase or f"training, at dispatch {self._boundaries:,}"
        text, ranks = f"nothing has moved for {limit:g} s in {where}", [self._rank]
        if self._client is not None:
            beats = self._beats()
            places = {rank: beat["boundaries"] for rank, beat in beats.items()}
            behind = [rank for rank, place in places.items() if place < max(places.values())]
            ranks = behind or list(beats)
            who = " and ".join(f"process {rank} ({beats[rank]['name']})" for rank in behind)
            text = f"{who} is stuck: behind the others, and {text}" if behind else f"no process is behind, but {text}"
        self._leave(self._condemn(f"{text}; the stacks are in its output (--watchdog waits longer)", RESTART, ranks))

    def _check_others(self) -> None:
        """Process 0 looks for those whose beat has stopped."""
        now = time.monotonic()
        for rank, beat in self._beats().items():
            if self._seen.get(rank, ("", 0.0))[0] != (text := json.dumps(beat)):
                self._seen[rank] = text, now
            elif now - self._seen[rank][1] > self._silence:
                text = (
                    f"process {rank} of {self._count} ({beat['name']}) has given no sign of life for {self._silence:g} "
                    "s: it was killed or stopped, or its machine is gone"
                )
                self._leave(self._condemn(text, RESTART, [rank]))

    def _agree_on_stop(self) -> None:
        """All stop after the dispatch that the foremost is at.

        Each tells where it is and waits there, in `boundary`; one that is waiting for a dispatch of another goes on,
        since that other is told to go on as soon as all places are known.
        """
        if self._stop_at is not None:
            return
        signal = self._asked or self._news("stop")
        if signal is None:
            return
        if not self._waits():
            self._lock.acquire()
            if self._asked:
                self._tell("stop", self._asked)
            self._signal = self._news("stop")
            self._client.key_value_set(f"{_PLACES}{self._rank}", str(self._boundaries))
        places = self._client.key_value_dir_get(_PLACES)
        if len(places) == self._count:
            self._stop_at = max(int(place) for _, place in places) + 1
            self._moved = time.monotonic()
            self._lock.release()

    def _waits(self) -> bool:
        """Whether the group is just agreeing on where to stop."""
        return self._signal is not None and self._stop_at is None

    def _beats(self) -> dict[int, dict[str, Any]]:
        beats = self._client.key_value_dir_get(_BEATS)
        return {int(key.rpartition("/")[2]): json.loads(beat) for key, beat in sorted(beats)}

    def _news(self, name: str) -> Any:
        found = [value for key, value in self._client.key_value_dir_get(_NEWS) if key.endswith(f"/{name}")]
        return json.loads(found[0]) if found else None

    def _tell(self, name: str, value: Any) -> None:
        """The first to tell is heard."""
        with contextlib.suppress(Exception):  # a JaxRuntimeError, ALREADY_EXISTS
            self._client.key_value_set(f"{_NEWS}{name}", json.dumps(value))

    def _condemn(self, text: str, code: int, ranks: list[int]) -> dict[str, Any]:
        verdict = {"text": text, "code": code, "ranks": ranks}
        with contextlib.suppress(Exception):  # there is no coordinator, or none any more
            self._tell("verdict", verdict)
            return self._news("verdict") or verdict
        return verdict

    def _leave(self, verdict: dict[str, Any]) -> None:
        """Ends the process at once: a thread in a collective cannot be woken."""
        print(f"error: {verdict['text']}", file=sys.stderr, flush=True)
        if self._rank in verdict["ranks"]:
            faulthandler.dump_traceback(file=sys.stderr)
        self.linger()
        os._exit(verdict["code"])

    def linger(self) -> None:
        """The coordinator goes last: the others must have read the news."""
        if self._client is not None and self._rank == 0:
            time.sleep(4 * PULSE)
