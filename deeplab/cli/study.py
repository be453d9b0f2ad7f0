"""`study`: many runs of an experiment on one page; finished runs are not trained again."""

from __future__ import annotations

import functools
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import Invocation, Verb
from deeplab.cli.group import MembersFlags, joined_group, surroundings
from deeplab.verbs.study import Study, study


def verb(question: Study) -> Verb:
    """The verb `study` of an experiment that has a question."""
    return Verb(MembersFlags, functools.partial(run, question))


def run(question: Study, call: Invocation, console: Console) -> dict[str, Any]:
    """Trains the runs that answer the question of this file, and writes its page; goes on if stopped.

    Returns:
      run_dir, members, trained (number of runs trained by this call), seconds (of all runs), report; after a signal
      run_dir, stopped (its exit code) and report (None).
    """
    flags: MembersFlags = call.flags
    with joined_group(call, console) as watchdog, surroundings(call, watchdog, console) as around:
        found = study(call.recipe, question, many=flags.many(), run_dir=flags.run_dir or "auto", surroundings=around)
    console.print(found, highlight=False, soft_wrap=True)
    result = {"run_dir": found.directory, "report": found.report}
    if found.summary is None:
        return result | {"stopped": found.stopped}
    seconds = round(sum(row["seconds"] for row in found.rows), 1)
    return result | {"members": len(found.rows), "seconds": seconds, "trained": found.trained}
