"""The messages of a group of processes, in the key-value store of JAX's coordinator."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Any

_HEARTBEATS, _MESSAGES, _STOPS = "deeplab/heartbeat/", "deeplab/message/", "deeplab/stop/"


class Store:
    """Heartbeats, messages to all processes, and the dispatches at which processes could stop.

    Args:
      client: Client of JAX's coordinator; it works while devices hang.
      rank: Index of this process.
    """

    def __init__(self, client: Any, rank: int):
        self._client, self._rank = client, rank

    def beat(self, boundaries: int) -> None:
        """Writes a heartbeat, with the number of dispatches that the loop has begun."""
        name = f"{socket.gethostname()}, pid {os.getpid()}"
        beat = {"boundaries": boundaries, "name": name, "at": time.time()}
        self._client.key_value_set(f"{_HEARTBEATS}{self._rank}", json.dumps(beat), allow_overwrite=True)

    def heartbeats(self) -> dict[int, dict[str, Any]]:
        """The last heartbeat of each process, by rank: its `boundaries`, the `name` of the process, and the time."""
        beats = self._client.key_value_dir_get(_HEARTBEATS)
        return {int(key.rpartition("/")[2]): json.loads(beat) for key, beat in sorted(beats)}

    def read(self, name: str) -> Any:
        """The message of a name, a JSON value; None where there is none yet."""
        found = [value for key, value in self._client.key_value_dir_get(_MESSAGES) if key.endswith(f"/{name}")]
        return json.loads(found[0]) if found else None

    def post(self, name: str, value: Any) -> None:
        """Writes a message; of several with one name, the first is kept."""
        with contextlib.suppress(Exception):  # A JaxRuntimeError, ALREADY_EXISTS.
            self._client.key_value_set(f"{_MESSAGES}{name}", json.dumps(value))

    def post_stop(self, boundary: int) -> None:
        """Writes the dispatch at which this process waits for the agreement on where to stop."""
        self._client.key_value_set(f"{_STOPS}{self._rank}", str(boundary))

    def stops(self) -> list[int]:
        """The dispatches at which processes wait."""
        return [int(boundary) for _, boundary in self._client.key_value_dir_get(_STOPS)]

    def wait_for_all(self, timeout: float) -> None:
        """Waits until all processes have reached their end.

        Args:
          timeout: Seconds.
        """
        self._client.wait_at_barrier("deeplab/end", int(1000 * timeout))
