"""A rendezvous before JAX starts, so that a missing or mismatched process is reported by rank.

JAX's own start waits for all processes. When one is missing it ends the program by a signal that cannot be caught, with
pages of a native stack. So process 0 first listens at the address that JAX will use, the other processes report their
rank to it, and each receives either a go-ahead or the same error.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Any

from deeplab.core.errors import UserError

_MAGIC = "deeplab-1"  # Other clients of the port (a process of the previous run, a scanner) are ignored.
_MAX_BYTES = 4096  # Of one message.
_RETRY = 0.2  # Seconds.


def meet(address: str, count: int, rank: int, timeout: float) -> None:
    """Returns in each of `count` processes once all of them have connected.

    Args:
      address: Address of process 0, as HOST:PORT.
      count: Number of processes.
      rank: Index of this process, from 0.
      timeout: Seconds to wait for the other processes.

    Raises:
      UserError: A process is missing, two have the same rank, the counts differ, or process 0 cannot be reached.

    Example:
      >>> meet("localhost:8476", count=1, rank=0, timeout=10.0)
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--coordinator {address} is not HOST:PORT; for example --coordinator node001:8476")
    if count > 1:
        deadline = time.monotonic() + timeout
        if rank == 0:
            _receive(address, int(port), count, deadline, timeout)
        else:
            _report((host.strip("[]"), int(port)), count, rank, deadline, timeout)


def _receive(address: str, port: int, count: int, deadline: float, timeout: float) -> None:
    """Process 0: waits for the other processes, then sends all of them the outcome."""
    guests: dict[int, tuple[socket.socket, str]] = {}
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(_listen(port, address))
        problem = ""
        while len(guests) < count - 1 and not problem:
            if time.monotonic() > deadline:
                missing = ", ".join(str(i) for i in range(1, count) if i not in guests)
                problem = (
                    f"missing after {timeout:g} s at {address}: process {missing} of {count}; start the missing "
                    "processes, check that their machines reach this address, or wait longer by --connect-timeout"
                )
                break
            with contextlib.suppress(TimeoutError):
                guest = closing.enter_context(server.accept()[0])
                problem = _admit(guest, guests, count)
        for guest, _ in guests.values():
            with contextlib.suppress(OSError):
                guest.sendall(_encode({"error": problem}))
    if problem:
        raise UserError(problem)


def _listen(port: int, address: str) -> socket.socket:
    try:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=both)
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen at {address} ({error.strerror}): another program uses the port; choose another "
            "by --coordinator HOST:PORT"
        ) from error
    server.settimeout(_RETRY)
    return server


def _admit(guest: socket.socket, guests: dict[int, tuple[socket.socket, str]], count: int) -> str:
    """Adds a connected process to `guests`; returns what is wrong with it, or ""."""
    guest.settimeout(2.0)
    hello = _read(guest)
    if hello is None:
        return ""
    rank, name = hello["rank"], f"{hello['host']}, pid {hello['pid']}"
    if hello["count"] != count:
        text = (
            f"process {rank} ({name}) was started with --num-processes {hello['count']}, and process 0 with {count}; "
            "start all processes with the same number"
        )
    elif rank in guests and not _closed(guests[rank][0]):
        text = f"two processes have --process-id {rank} ({guests[rank][1]}, and {name}); give each process its own"
    else:
        guests[rank] = guest, name
        return ""
    with contextlib.suppress(OSError):
        guest.sendall(_encode({"error": text}))
    return text


def _closed(guest: socket.socket) -> bool:
    """Whether the other end is closed: a process that was restarted connects again."""
    guest.setblocking(False)  # With a timeout, recv would wait for it.
    try:
        return guest.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        guest.settimeout(2.0)


def _report(target: tuple[str, int], count: int, rank: int, deadline: float, timeout: float) -> None:
    """The other processes: report to process 0, repeatedly, until it sends the outcome."""
    reason = "no answer"
    hello = _encode({"rank": rank, "count": count, "host": socket.gethostname(), "pid": os.getpid()})
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(target, timeout=left) as connection:
                connection.sendall(hello)
                connection.settimeout(left + 5)  # The deadline of process 0, which answers last, may be later.
                answer = _read(connection)
        except OSError as error:
            answer, reason = None, error.strerror or str(error) or type(error).__name__
        if answer is None:  # Process 0 is not there yet, or the port still belongs to a run that is ending.
            time.sleep(_RETRY)
        elif answer["error"]:
            raise UserError(answer["error"])
        else:
            return
    raise UserError(
        f"process {rank} of {count} cannot reach process 0 at {target[0]}:{target[1]} within {timeout:g} s ({reason}); "
        "check that process 0 is started, that --coordinator is its address, and that no firewall blocks the port"
    )


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps({"magic": _MAGIC, **message}).encode() + b"\n"


def _read(connection: socket.socket) -> dict[str, Any] | None:
    """One message; None where the connection does not send a valid one."""
    data = b""
    try:
        while not data.endswith(b"\n") and len(data) < _MAX_BYTES:
            if not (part := connection.recv(_MAX_BYTES)):
                return None
            data += part
        message = json.loads(data)
        return message if message["magic"] == _MAGIC else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
