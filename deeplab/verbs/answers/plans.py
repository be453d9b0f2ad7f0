"""Which of many runs are made together: the plan of a session, which the one after a kill goes on with."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

from deeplab.core.text import loads
from deeplab.runs.files import move_aside, write_json
from deeplab.scale import processes


def plans(folder: Path, wanted: Collection[str], missing: Sequence[str], done: Collection[str]) -> list[list[str]]:
    """The runs that an interrupted session set out to make, and then those that are wanted since; by their names.

    The last bits of a run depend on the others in its program, so a resumed session forms the same programs.

    Args:
      folder: Folder of the states of unfinished runs.
      wanted: All runs that are wanted.
      missing: Those that are not done, at least one.
      done: All runs whose rows are kept.
    """
    plan = processes.allgather_json(_plan_of(folder))[0]
    if not set(plan) <= set(wanted):
        if processes.is_primary() and not set(plan) <= set(done):
            _keep_aside(folder)
        return [list(missing)]
    rest = [key for key in missing if key not in plan]
    return [plan, rest] if rest and len(rest) < len(missing) else [rest or plan]


def set_out(folder: Path, plan: Sequence[str]) -> None:
    """Makes the folder of the states of the runs of a plan, unless it is theirs already."""
    if processes.is_primary() and _plan_of(folder) != list(plan):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / "plan.json", plan)
    processes.allgather_json(None)  # no process looks there before


def _plan_of(folder: Path) -> list[str]:
    file = folder / "plan.json"
    return loads(file.read_text(encoding="utf-8")) if processes.is_primary() and file.exists() else []


def _keep_aside(folder: Path) -> None:
    """Keeps the states of runs that are wanted no more: another plan's programs cannot go on with them."""
    if any(path.name.isdigit() for path in folder.glob("*/*")):
        warnings.warn(
            f"an interrupted session had set out to make other runs, and what it has saved of them is kept in "
            f"{move_aside(folder)}; to finish them, name that {folder.name} again and give the command of before",
            stacklevel=4,
        )
