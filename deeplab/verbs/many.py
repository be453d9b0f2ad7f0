"""Many runs in one run directory: saved at each evaluation, and kept as they end; what sweeps and studies share."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.core.text import dumps
from deeplab.data.base import Data
from deeplab.report.document import save
from deeplab.report.sweeps import study as page
from deeplab.report.text import Html, duration
from deeplab.runs import non_primary, record
from deeplab.runs.identity import datasets
from deeplab.runs.non_primary import NonPrimaryRun
from deeplab.runs.record import Run
from deeplab.scale import processes
from deeplab.search import sweep
from deeplab.search.execution import Devices, How
from deeplab.search.groups import Group, Member, groups
from deeplab.search.parts import key_of
from deeplab.search.setup import Row, Setup, Stopped
from deeplab.verbs.answers.plans import plans, set_out
from deeplab.verbs.answers.progress import Watch
from deeplab.verbs.answers.rows import append, finished, name, told
from deeplab.verbs.fit import Surroundings
from deeplab.verbs.recipe import Recipe

FOLDER = "members"
"""Folder of the states of unfinished runs."""

FILE = "members.jsonl"


@dataclasses.dataclass(frozen=True)
@ranges.checked(seeds=ranges.COUNT, members_per_program=ranges.COUNT)
class Many:
    """How many runs are made.

    Args:
      seeds: Number of runs of each setting, with the seeds from the recipe's on.
      execution: How runs share a program: "vmap", as many as fit; "serial", one after another, compiled once; "auto"
        chooses.
      members_per_program: Largest number of runs in one program; what fits the memory when None.
      fresh: Whether to begin anew; what the run directory holds is moved aside, and kept.
      allow_change: Whether to go on although arguments or source differ from those of the run directory.

    Example:
      >>> Many(seeds=5, execution="serial").seeds
      5
    """

    seeds: int = 1
    execution: How = "auto"
    members_per_program: int | None = None
    fresh: bool = False
    allow_change: bool = False

    def flags(self) -> dict[str, Any]:
        """Flags of the command line that makes these runs again."""
        given = {"execution": self.execution, "members_per_program": self.members_per_program}
        return {"seeds": self.seeds} | {k: v for k, v in given.items() if v != getattr(Many(), k)}


def how_many(many: Many | None, seeds: int | None, usual: int) -> Many:
    """How the runs of a call are made that takes `seeds` and `many`.

    Args:
      many: How runs are made; None where the caller gave none.
      seeds: Number of runs of each setting; None where the caller gave none.
      usual: That number where neither is given.

    Raises:
      UserError: Both are given, and differ.
    """
    if many is not None and seeds not in (None, many.seeds):
        raise UserError(
            f"seeds={seeds} and Many(seeds={many.seeds}) were given, which differ; give Many(seeds={seeds}, ...) alone"
        )
    return many or Many(usual if seeds is None else seeds)


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
    """A session that trains many runs.

    Attributes:
      recipe: Recipe of the runs.
      many: How many runs are made.
      held: The run directory; None where nothing is written.
      setup: What all runs share.
      surroundings: Effects of a command line or a notebook.
      watch: How far the runs are.
    """

    recipe: Recipe
    many: Many
    held: Run | NonPrimaryRun | None
    setup: Setup
    surroundings: Surroundings
    watch: Watch

    @property
    def seeds(self) -> range:
        """The seeds of each setting."""
        return range(self.recipe.seed, self.recipe.seed + self.many.seeds)


@contextlib.contextmanager
def session(
    recipe: Recipe,
    many: Many,
    directory: Path | None,
    manifest: Mapping[str, Any],
    surroundings: Surroundings,
    data: Data,
    **setup: Any,
) -> Iterator[Session]:
    """Opens the run directory, as one of several processes where there are several.

    Args:
      recipe: Recipe of the runs.
      many: How many runs are made.
      directory: Run directory; None writes nothing.
      manifest: Record of the run.
      surroundings: Effects of a command line or a notebook.
      data: Data of the first run, which those of the sessions before are compared with.
      **setup: Further fields of the `Setup`.
    """
    ranges.SEED.check("the seed of the last run", recipe.seed + many.seeds - 1)
    watch = Watch(surroundings.line())
    shared = Setup(
        recipe.data_dir, _devices(recipe.runtime.mesh), many.execution, many.members_per_program,
        directory=directory and directory / FOLDER, stop=surroundings.stop, slow=surroundings.slow, watch=watch,
        **setup,
    )  # fmt: skip
    if directory is None:
        yield Session(recipe, many, None, shared, surroundings, watch)
        return

    def open_run() -> record.Run:
        known = {**manifest, "sources": recipe.sources}
        return record.Run.open(directory, known, recipe.source, fresh=many.fresh, allow_change=many.allow_change)

    with non_primary.shared(open_run) as held:
        surroundings.say(f"{recipe.name} {manifest['task']}: {held.directory}")
        if processes.is_primary():
            sources = {split: data.open(split, recipe.data_dir) for split in ("train", data.eval_split)}
            datasets.check_training(held, data, sources, recipe.data_dir, allow_change=many.allow_change)
        held.go_on()
        shared = dataclasses.replace(shared, directory=held.directory / FOLDER)
        yield Session(recipe, many, held, shared, surroundings, watch)


Runner = Callable[[Sequence[Group], Sequence[Row], Callable[[list[Row]], None]], None]
"""A function `(groups, known rows, keep)` that trains the other members, and calls `keep` with their rows."""


def complete(now: Session, wanted: Sequence[Member], runner: Runner, runs: int = 0) -> tuple[list[Row], int]:
    """Makes the runs whose rows are not kept yet; gives the rows of all, and how many were made.

    Args:
      now: Session that trains them.
      wanted: Runs that are wanted.
      runner: Function that trains those that are missing.
      runs: Number of all runs of the session, where more will be wanted later.
    """
    file, say = now.held and now.held.directory / FILE, now.surroundings.say
    done = processes.allgather_json(finished(file) if file and processes.is_primary() else {})[0]
    missing = [key for member in wanted if (key := name(member.arguments, member.seed)) not in done]
    varied = [k for k in wanted[0].arguments if len({str(m.arguments[k]) for m in wanted}) > 1] if wanted else []
    ended, execution = 0, ""

    def keep(rows: list[Row]) -> None:
        nonlocal ended, execution
        done.update(append(file, rows))
        ended += len(rows)
        if rows[0].get("execution", execution) != execution:
            execution = rows[0]["execution"]
            say(f"runs: {execution}")
        now.watch.end([(key_of(Member(row["arguments"], row["seed"])), row) for row in rows])
        if not now.watch.live or any(row.get("diverged", False) for row in rows):
            say(f"{ended} of {len(missing)}: {told(rows, varied)}")

    folder, members = now.setup.directory, {name(member.arguments, member.seed): member for member in wanted}
    for keys in plans(folder, members, missing, done) if folder and missing else [missing] * bool(missing):
        if folder:
            set_out(folder, keys)
        known = [done[key] for key in members if key in done]
        made = groups(now.recipe.build, [members[key] for key in keys], now.recipe.runtime)
        now.watch.begin(_steps(made, done), made[0].experiment().monitor, known, max(runs, len(missing)))
        try:
            runner(made, known, keep)
        except Stopped:
            if now.held is not None:
                now.held.end("stopped", "saved; the same command goes on")
            raise
        finally:
            now.watch.clear()
        if folder and processes.is_primary():
            shutil.rmtree(folder, ignore_errors=True)
    return [done[name(member.arguments, member.seed)] for member in wanted], len(missing)


def _steps(made: Sequence[Group], done: Mapping[str, Row]) -> dict[str, int]:
    """The steps of each run that is not done, by its key."""
    left: dict[str, int] = {}
    for group in made:
        steps = group.experiment().num_steps
        missing = [member for member in group.members if name(member.arguments, member.seed) not in done]
        left |= {key_of(member): steps for member in missing}
    return left


def local(setup: Setup, eta: int | None = None) -> Runner:
    """Makes the runner that trains groups in this process, see `sweep.run`."""

    def runner(groups: Sequence[Group], known: Sequence[Row], keep: Callable[[list[Row]], None]) -> None:
        for rows in sweep.run(groups, setup, eta, known):
            keep(rows)

    return runner


def publish(
    now: Session, kind: str, rows: Sequence[Row], summary: Any, drawn: Callable[[], Sequence[Html]]
) -> Path | None:
    """Writes `KIND.json` and `report.html`; gives the path of the page, and None where nothing is written.

    The sections are `drawn` when the result is written, so that a page that fails does not lose it.
    """
    held, seconds = now.held, sum(row["seconds"] for row in rows)
    if held is None or isinstance(held, NonPrimaryRun):
        return None
    manifest = held.manifest
    whole = {k: manifest[k] for k in ("experiment", "arguments", "seed", "command", "devices", "versions", "git")}
    whole |= {"seconds": seconds, "summary": summary, "members": rows}
    save(held.directory / f"{kind}.json", dumps(whole, str))
    facts = {
        "runs": f"{len(rows):,}",
        "seeds": len({row["seed"] for row in rows}),
        "time": duration(seconds),
        "hardware": f"{len(manifest['devices'])} \u00d7 {manifest['device_kind']}",
        "commit": str(manifest["git"]["commit"])[:10],
    }
    source, command = (held.directory / "source.py").read_text(encoding="utf-8"), manifest["command"]
    report = page.write(
        held.directory, manifest["experiment"], source=source, command=command, facts=facts, sections=drawn(),
        kind=kind,
    )  # fmt: skip
    held.finish({"step": len(rows), "steps": len(rows), "seconds": seconds})
    return report
