"""What `study` and `sweep` share: many runs in one run directory, saved at each evaluation, and kept as they end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from deeplab.cli.arguments import Invocation, as_json
from deeplab.cli.group import ProcessFlags, joined_group
from deeplab.core.errors import UserError
from deeplab.report.document import save
from deeplab.report.sweeps import study as page
from deeplab.report.text import Html, duration
from deeplab.runs import non_primary
from deeplab.runs.non_primary import NonPrimaryRun
from deeplab.runs.record import Run, write_json
from deeplab.scale import processes
from deeplab.scale.processes.signals import Stop, stop_on_signal
from deeplab.search import sweep
from deeplab.search.execution import Devices, How
from deeplab.search.groups import Group, Member, groups
from deeplab.search.runner import Row, Setup

FOLDER = "members"
"""The folder with the states of runs under way."""

FILE = "members.jsonl"


@dataclasses.dataclass(frozen=True)
class MembersFlags(ProcessFlags):
    """Flags of the verbs that make many runs.

    Args:
      mesh: Devices that runs are spread over, such as member=8; auto is all accelerators, or one CPU device.
      seeds: Runs of each setting, with the seeds from --seed on.
      execution: How runs share a program: vmap, as many as fit; serial, one after another, compiled once; auto chooses.
      members_per_program: Runs in one program, at most; what fits the memory when left out.
      fresh: Begin anew; what the run directory holds is moved aside, and kept.
      allow_change: Go on although the arguments or the source differ from those of the run directory.
    """

    mesh: str = "auto"
    seeds: int = 3
    execution: How = "auto"
    members_per_program: int | None = None
    fresh: bool = False
    allow_change: bool = False


def _devices(mesh: str) -> Devices | None:
    if mesh == "auto":
        return None
    axis, _, count = mesh.partition("=")
    devices, processes = jax.devices(), jax.process_count()
    if axis != "member" or not count.isdigit() or not 1 <= int(count) <= len(devices):
        raise UserError(
            f"--mesh {mesh}: many runs are spread along the axis member, over the {len(devices)} devices there are; "
            f"for example --mesh member={len(devices)}"
        )
    if processes > 1 and int(count) < len(devices):
        raise UserError(
            f"--mesh {mesh} leaves {len(devices) - int(count)} of the {len(devices)} devices of {processes} processes "
            f"without work; use all of them (--mesh member={len(devices)}), or fewer processes"
        )
    return devices[: int(count)]


@dataclasses.dataclass(frozen=True)
class Session:
    """Many runs under way.

    Attributes:
      call: What was asked for.
      held: The run directory.
      console: Console of process 0; quiet in the others.
      setup: What all runs share.
      stop: Whether a signal has asked to stop.
    """

    call: Invocation
    held: Run | NonPrimaryRun
    console: Console
    setup: Setup
    stop: Stop

    @property
    def directory(self) -> Path:
        return self.held.directory

    def stopped(self) -> dict[str, Any]:
        """The result after a signal."""
        self.console.print("stopped, and saved; give the same command again to go on", highlight=False)
        return {"run_dir": self.directory, "stopped": self.stop.exit_code, "report": None}


@contextlib.contextmanager
def session(call: Invocation, console: Console, open_run: Callable[[], Run], **setup: Any) -> Iterator[Session]:
    """Opens the run directory, as one of several processes where there are several.

    Args:
      call: What was asked for.
      console: Made quiet in all processes but the first.
      open_run: Function that opens the run directory, called by process 0.
      **setup: Further fields of the `Setup`.
    """
    flags: MembersFlags = call.flags
    with joined_group(call, console) as watchdog:
        devices = _devices(flags.mesh)
        with non_primary.shared(open_run) as held, stop_on_signal(watchdog) as stop:
            console.print(f"{call.name} {call.verb}: {held.directory}", highlight=False, soft_wrap=True)
            shared = Setup(
                flags.data_dir, devices, flags.execution, flags.members_per_program,
                directory=held.directory / FOLDER, stop=stop, slow=watchdog.slow, **setup,
            )  # fmt: skip
            yield Session(call, held, console, shared, stop)


Runner = Callable[[Sequence[Group], Sequence[Row], Callable[[list[Row]], None]], None]
"""Trains groups without those whose rows are given, and hands over the rows of the others as they end."""


def complete(now: Session, wanted: Sequence[Member], runner: Runner) -> tuple[list[Row], int]:
    """Makes the runs whose rows are not kept yet; gives the rows of all, and how many were made."""
    file, console = now.directory / FILE, now.console
    done = processes.allgather_json(finished(file) if processes.is_primary() else None)[0]
    missing = [key for member in wanted if (key := name(member.arguments, member.seed)) not in done]
    varied = [k for k in wanted[0].arguments if len({str(m.arguments[k]) for m in wanted}) > 1] if wanted else []
    ended, execution = 0, ""

    def keep(rows: list[Row]) -> None:
        nonlocal ended, execution
        done.update(append(file, rows))
        ended += len(rows)
        if rows[0].get("execution", execution) != execution:
            execution = rows[0]["execution"]
            console.print(f"runs: {execution}", highlight=False)
        console.print(f"{ended} of {len(missing)}: {_told(rows, varied)}", highlight=False)

    if missing:
        planned = _planned(now.directory / FOLDER, wanted, missing)
        known = [done[key] for member in wanted if (key := name(member.arguments, member.seed)) in done]
        runner(groups(now.call.recipe.build, planned, now.call.recipe.runtime), known, keep)
        if processes.is_primary():
            shutil.rmtree(now.directory / FOLDER, ignore_errors=True)
    return [done[name(member.arguments, member.seed)] for member in wanted], len(missing)


def _planned(folder: Path, wanted: Sequence[Member], missing: Sequence[str]) -> list[Member]:
    """The members that an interrupted session set out to make, or else those that are missing.

    Which members share a program decides the last bits of each: so a session that goes on cuts the same parts.
    """
    members, file = {name(member.arguments, member.seed): member for member in wanted}, folder / "plan.json"
    plan = json.loads(file.read_text()) if processes.is_primary() and file.exists() else []
    if not (set(missing) <= set(plan) <= set(members)):
        plan = list(missing)
        if processes.is_primary():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_json(file, plan)
    return [members[key] for key in processes.allgather_json(plan)[0]]


def local(setup: Setup, eta: int | None = None) -> Runner:
    """Trains groups in this process, see `sweep.run`."""

    def runner(groups: Sequence[Group], known: Sequence[Row], keep: Callable[[list[Row]], None]) -> None:
        for rows in sweep.run(groups, setup, eta, known):
            keep(rows)

    return runner


def publish(now: Session, kind: str, rows: Sequence[Row], summary: Any, sections: Sequence[Html]) -> dict[str, Any]:
    """Writes `KIND.json` and `report.html`.

    Returns:
      run_dir, members, seconds (of all), report.
    """
    held, console, seconds = now.held, now.console, sum(row["seconds"] for row in rows)
    result = {"run_dir": held.directory, "members": len(rows), "seconds": round(seconds, 1), "report": None}
    if isinstance(held, NonPrimaryRun):
        return result
    manifest = held.manifest
    whole = {k: manifest[k] for k in ("experiment", "arguments", "seed", "command", "devices", "versions", "git")}
    whole |= {"seconds": seconds, "summary": summary, "members": rows}
    save(held.directory / f"{kind}.json", as_json(whole))
    facts = {
        "runs": f"{len(rows):,}",
        "seeds": len({row["seed"] for row in rows}),
        "time": duration(seconds),
        "hardware": f"{len(manifest['devices'])} \u00d7 {manifest['device_kind']}",
        "commit": str(manifest["git"]["commit"])[:10],
    }
    source, command = (held.directory / "source.py").read_text(), manifest["command"]
    report = page.write(
        held.directory, manifest["experiment"], source=source, command=command, facts=facts, sections=sections,
        kind=kind,
    )  # fmt: skip
    held.finish({"step": len(rows), "steps": len(rows), "seconds": seconds})
    console.print(f"report: {report}", highlight=False, soft_wrap=True)
    return result | {"report": report}


def _told(rows: Sequence[Row], varied: Sequence[str]) -> str:
    """A line about runs that have ended together."""
    same = [k for k in varied if len({str(row["arguments"][k]) for row in rows}) == 1]
    setting = ", ".join(f"{k} {rows[0]['arguments'][k]}" for k in same)
    counts = {
        "diverged": sum(row.get("diverged", False) for row in rows),
        "stopped": sum(r.get("stopped", False) for r in rows),
    }
    compiled = sum(sum(row.get("compiled", ())) for row in rows)
    parts = [
        f"seed {rows[0]['seed']}" if len(rows) == 1 else f"{len(rows)} runs",
        duration(sum(r["seconds"] for r in rows)),
    ]
    parts += [f"{count} {what}" for what, count in counts.items() if count]
    parts += [f"of which compiling {duration(compiled)}"] if compiled else []
    return f"{setting}: {', '.join(parts)}" if setting else ", ".join(parts)


def name(arguments: Mapping[str, Any], seed: int) -> str:
    """Which run a row is of."""
    return as_json({"arguments": dict(sorted(arguments.items())), "seed": seed})


def finished(file: Path) -> dict[str, Row]:
    """The rows of a file by name; a line that a kill has torn is cut off."""
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines):
        try:
            row = json.loads(line if line.endswith("\n") else "")
            rows[name(row["arguments"], row["seed"])] = row
        except (ValueError, KeyError, TypeError, AttributeError):
            if number + 1 < len(lines):
                raise UserError(
                    f"{file}: line {number + 1} is damaged; delete the line, its run is made again"
                ) from None
            save(file, "".join(lines[:number]))
    return rows


def append(file: Path, rows: Sequence[Row]) -> dict[str, Row]:
    """Keeps rows, and gives them as they will be read again."""
    lines = [as_json(row) for row in rows]
    if processes.is_primary():
        with file.open("a") as out:
            out.write("".join(f"{line}\n" for line in lines))
            out.flush()
            os.fsync(out.fileno())  # their states are deleted next
    return {name(row["arguments"], row["seed"]): json.loads(line) for row, line in zip(rows, lines, strict=True)}
