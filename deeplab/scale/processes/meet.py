"""Processes meet before JAX starts: who is late, or does not fit, is named.

JAX's own start waits for all processes, and ends by a signal that no program can catch, with pages of a compiler's
stack, when one of them does not come. So process 0 listens first at the very address that JAX will use, the others
say who they are, and all of them are told either to go on or the same sentence about what is wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Any

from deeplab.core.errors import UserError

_MAGIC = "deeplab-1"  # what else may knock at the port (a process of the last group, a scanner) is not counted
_LONGEST = 4096  # bytes of a line
_RETRY = 0.2


def meet(address: str, count: int, rank: int, timeout: float) -> None:
    """Returns in each of `count` processes once all of them have come.

    Args:
      address: HOST:PORT of process 0.
      count: of the processes.
      rank: of this one, 0 to count - 1.
      timeout: seconds to wait for the others.

    Raises:
      UserError: some have not come, two have one number, the numbers of processes differ, or nobody listens.
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
    """Process 0: collects the others, and tells them the outcome."""
    guests: dict[int, tuple[socket.socket, str]] = {}
    with contextlib.ExitStack() as closing:
        server = closing.enter_context(_listen(port, address))
        trouble = ""
        while len(guests) < count - 1 and not trouble:
            if time.monotonic() > deadline:
                missing = ", ".join(str(i) for i in range(1, count) if i not in guests)
                trouble = (
                    f"of {count} processes {missing} did not come to {address} within {timeout:g} s: start them, see "
                    "whether their machines reach that address, or wait longer by --connect-timeout"
                )
                break
            with contextlib.suppress(TimeoutError):
                guest = closing.enter_context(server.accept()[0])
                trouble = _admit(guest, guests, count)
        for guest, _ in guests.values():
            with contextlib.suppress(OSError):
                guest.sendall(_line({"error": trouble}))
    if trouble:
        raise UserError(trouble)


def _listen(port: int, address: str) -> socket.socket:
    try:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        server = socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=both)
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen at {address} ({error.strerror}): another program has the port; give another by "
            "--coordinator HOST:PORT"
        ) from error
    server.settimeout(_RETRY)
    return server


def _admit(guest: socket.socket, guests: dict[int, tuple[socket.socket, str]], count: int) -> str:
    """Adds a process to those that have come; what is wrong with it, or ""."""
    guest.settimeout(2.0)
    hello = _read(guest)
    if hello is None:
        return ""
    rank, name = hello["rank"], f"{hello['host']}, pid {hello['pid']}"
    if hello["count"] != count:
        text = f"process {rank} ({name}) was told of {hello['count']} processes, process 0 of {count}; start both alike"
    elif rank in guests and not _gone(guests[rank][0]):
        text = f"two processes are number {rank} ({guests[rank][1]}, and {name}); give each its own --process-id"
    else:
        guests[rank] = guest, name
        return ""
    with contextlib.suppress(OSError):
        guest.sendall(_line({"error": text}))
    return text


def _gone(guest: socket.socket) -> bool:
    """Whether the other end has been closed: a process that was started again comes again."""
    guest.setblocking(False)  # with a timeout, recv would wait for it
    try:
        return guest.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        guest.settimeout(2.0)


def _report(target: tuple[str, int], count: int, rank: int, deadline: float, timeout: float) -> None:
    """The others: say who they are until process 0 has an answer."""
    reason = "no answer"
    hello = _line({"rank": rank, "count": count, "host": socket.gethostname(), "pid": os.getpid()})
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(target, timeout=left) as connection:
                connection.sendall(hello)
                connection.settimeout(left + 5)  # process 0 has begun to wait later, and speaks last
                answer = _read(connection)
        except OSError as error:
            answer, reason = None, error.strerror or str(error) or type(error).__name__
        if answer is None:  # nobody there yet, or a group that is just ending
            time.sleep(_RETRY)
        elif answer["error"]:
            raise UserError(answer["error"])
        else:
            return
    raise UserError(
        f"process {rank} of {count} cannot reach process 0 at {target[0]}:{target[1]} within {timeout:g} s ({reason}): "
        "is it started, is --coordinator its address, and does a firewall let the port through?"
    )


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps({"magic": _MAGIC, **message}).encode() + b"\n"


def _read(connection: socket.socket) -> dict[str, Any] | None:
    """One message; None where what comes is none."""
    data = b""
    try:
        while not data.endswith(b"\n") and len(data) < _LONGEST:
            if not (part := connection.recv(_LONGEST)):
                return None
            data += part
        message = json.loads(data)
        return message if message["magic"] == _MAGIC else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
