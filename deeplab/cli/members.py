"""What `study` and `sweep` share: many runs into one run directory, each kept as soon as its chunk has ended."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation, as_json
from deeplab.core.errors import UserError
from deeplab.core.precision import named
from deeplab.core.runtime import Runtime
from deeplab.report.document import save
from deeplab.report.sweeps import study as page
from deeplab.report.text import Html, duration
from deeplab.runs.record import Run
from deeplab.search import sweep
from deeplab.search.execution import Devices, How
from deeplab.search.groups import Group, Member, groups
from deeplab.search.runner import Row, Setup

FILE = "members.jsonl"


@dataclasses.dataclass(frozen=True)
class MembersFlags(CommonFlags):
    """Flags of the verbs that make many runs.

    Args:
      mesh: Devices that runs are spread over, such as member=8; auto is all accelerators, or one CPU device.
      seeds: Runs of each setting, with the seeds from --seed on.
      way: How runs share a program: vmap, as many as fit; serial, one after another, compiled once; auto chooses.
      at_once: Runs in one program, at most; what fits the memory when left out.
      fresh: Begin anew; what the run directory holds is moved aside, and kept.
      allow_change: Go on although the arguments or the source differ from those of the run directory.
    """

    mesh: str = "auto"
    seeds: int = 3
    way: How = "auto"
    at_once: int | None = None
    fresh: bool = False
    allow_change: bool = False

    def setup(self) -> Setup:
        """Where the data are and how runs share programs."""
        if jax.process_count() > 1:
            raise UserError(
                f"this verb runs in one process, and this one is of {jax.process_count()}; start it once, and spread "
                "the groups of a sweep over machines by --backend ray"
            )
        if self.offload:
            raise UserError("--offload: members stay on the devices between steps; leave it out, and give --at-once N "
                            "so that fewer of them share the memory")  # fmt: skip
        runtime = Runtime(precision=named(self.precision), accumulate=self.accumulate)
        return Setup(self.data_dir, _devices(self.mesh), self.way, self.at_once, runtime=runtime)


def _devices(mesh: str) -> Devices | None:
    if mesh == "auto":
        return None
    axis, _, count = mesh.partition("=")
    devices = jax.local_devices()
    if axis != "member" or not count.isdigit() or not 1 <= int(count) <= len(devices):
        raise UserError(
            f"--mesh {mesh}: many runs are spread along the axis member, over the {len(devices)} devices there are; "
            f"for example --mesh member={len(devices)}"
        )
    return devices[: int(count)]


Runner = Callable[[Sequence[Group], Callable[[list[Row]], None]], None]
"""Trains groups, and hands over the rows of runs as they end."""


def complete(
    call: Invocation, file: Path, wanted: Sequence[Member], console: Console, runner: Runner
) -> tuple[list[Row], int]:
    """Makes the runs that a file lacks; gives the rows of all, and how many were made."""
    done = finished(file)
    missing = [member for member in wanted if name(member.arguments, member.seed) not in done]
    varied = [k for k in wanted[0].arguments if len({str(m.arguments[k]) for m in wanted}) > 1] if wanted else []
    ended, way = 0, ""

    def keep(rows: list[Row]) -> None:
        nonlocal ended, way
        done.update(append(file, rows))
        ended += len(rows)
        if rows[0].get("way", way) != way:
            way = rows[0]["way"]
            console.print(f"runs: {way}", highlight=False)
        console.print(f"{ended} of {len(missing)}: {_told(rows, varied)}", highlight=False)

    if missing:
        runner(groups(call.recipe.build, missing, call.recipe.runtime), keep)
    return [done[name(member.arguments, member.seed)] for member in wanted], len(missing)


def local(setup: Setup, eta: int | None = None, known: Sequence[Row] = ()) -> Runner:
    """Trains groups in this process, see `sweep.run`."""

    def runner(groups: Sequence[Group], keep: Callable[[list[Row]], None]) -> None:
        for rows in sweep.run(groups, setup, eta, known):
            keep(rows)

    return runner


def publish(
    held: Run, kind: str, rows: Sequence[Row], summary: Any, sections: Sequence[Html], console: Console
) -> dict[str, Any]:
    """Writes `KIND.json` and `report.html`.

    Returns:
      run_dir, members, seconds (of all), report.
    """
    manifest, seconds = held.manifest, sum(row["seconds"] for row in rows)
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
    return {"run_dir": held.directory, "members": len(rows), "seconds": round(seconds, 1), "report": report}


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
    with file.open("a") as out:
        out.write("".join(f"{line}\n" for line in lines))
    return {name(row["arguments"], row["seed"]): json.loads(line) for row, line in zip(rows, lines, strict=True)}
