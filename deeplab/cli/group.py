"""This process as one of several: where it belongs, how it joins, and how it ends without keeping the others."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
from rich.console import Console
from rich.markup import escape

import deeplab
from deeplab.cli.arguments import Invocation
from deeplab.core.errors import UserError
from deeplab.runs import provenance
from deeplab.scale import processes
from deeplab.scale.processes.watch import RESTART, Watch

PULSE = "DEEPLAB_PULSE"
"""The variable with the file descriptor on which a supervisor hears that its process lives."""

_STALL = 60.0  # seconds of --watchdog, where several processes wait for each other
_SILENCE = 8.0  # seconds without a sign of life
_HEARTBEAT = 2.5 * _SILENCE  # JAX's own ends all without a word of ours, after 0.5 to 1 times this: let ours be first
_OWN = ("run_dir", "data_dir", "json", "wandb", "coordinator", "process_id", "num_processes", "connect_timeout")
_OWN += ("watchdog", "processes", "devices_per_process", "restarts")
"""Flags that each process may have for itself, or that only who starts it reads."""


@contextlib.contextmanager
def joined(flags: Any, console: Console) -> Iterator[Watch]:
    """Within it this process is one of its group, if it has one, and watched.

    Process 0 speaks and writes for all. An error in one process ends the others, and is said by whoever it concerns;
    with several processes it therefore does not come out of this context: the process ends.

    Args:
      flags: `TrainFlags`.
      console: made quiet in all processes but the first.
    """
    place = processes.find_place(flags.coordinator, flags.num_processes, flags.process_id)
    pulse = int(os.environ[PULSE]) if PULSE in os.environ else None
    if place is None:
        watch = Watch(stall=flags.watchdog, pulse=pulse)
        if pulse is not None or flags.watchdog:
            watch.start()
        try:
            yield watch
        finally:
            watch.close()
        return
    if place.rank == 0:
        console.print(f"{place.count} processes, by {place.found}; process 0 at {place.coordinator}", highlight=False)
    console.quiet = place.rank > 0
    processes.join(place, flags.connect_timeout, _HEARTBEAT)
    stall = _STALL if flags.watchdog is None else flags.watchdog
    watch = Watch(processes.client(), place.rank, place.count, stall=stall, silence=_SILENCE, pulse=pulse)
    watch.start()
    try:
        yield watch
        watch.close()
    except BaseException as error:
        _end(error, watch, place)


def _end(error: BaseException, watch: Watch, place: processes.Place) -> NoReturn:
    """Says what happened, once, and ends the process: a waiting collective, or JAX's own end, would hold it."""
    expected = isinstance(error, UserError | KeyboardInterrupt)
    code = error.exit_code if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {str(error)[:300]}"
    name = f"process {place.rank} of {place.count} ({socket.gethostname()}, pid {os.getpid()})"
    verdict = watch.fail(
        f"{name}: {text}",
        code if expected else RESTART,
        consequence=isinstance(error, jax.errors.JaxRuntimeError),
    )
    ours = verdict["text"].endswith(text)  # others may have raised the very same
    if ours and not expected:
        traceback.print_exception(error)
    elif place.rank == 0 or not ours:
        said = text if ours and place.rank == 0 else verdict["text"]
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(said)}", highlight=False)
    sys.stdout.flush()
    sys.stderr.flush()
    watch.linger()
    os._exit(code if ours else verdict["code"])


def agree(call: Invocation) -> None:
    """Refuses processes that run other code, other packages or other arguments than process 0, with the difference."""
    if jax.process_count() == 1:
        return
    flags = {name: str(value) for name, value in vars(call.flags).items() if name not in _OWN}
    facts: dict[str, Any] = {"experiment": call.module}
    facts |= {f"argument {name}": value for name, value in call.arguments.items()}
    facts |= {f"flag --{name.replace('_', '-')}": value for name, value in flags.items()}
    facts |= {f"package {name}": version for name, version in provenance.environment()["versions"].items()}
    facts |= {f"file {name}": digest for name, digest in _sources(call).items()}
    processes.assert_same_across_processes(facts)


def _sources(call: Invocation) -> dict[str, str]:
    """A digest of each file of the package, and of the experiment's."""
    root = Path(deeplab.__file__).parent
    texts = {path.relative_to(root.parent).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.py"))}
    texts[f"of {call.module}"] = provenance.source_of(call.function).encode()
    return {name: hashlib.sha256(text).hexdigest()[:12] for name, text in texts.items()}
