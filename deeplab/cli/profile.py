"""`profile`: time of a training step by layer."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.verbs.profile import as_json, profile


@dataclasses.dataclass(frozen=True)
class ProfileFlags(CommonFlags):
    """Flags of profile.

    Args:
      trace_steps: Number of steps in the trace, after a few warm-up steps.
      top: Number of rows of the table.
    """

    trace_steps: int = 5
    top: int = 10


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Traces a few steps from the initial weights; an existing run in this directory is not changed.

    Returns:
      run_dir, steps, milliseconds (a step), split (forward, backward, optimizer, other), costliest, trace.
    """
    flags: ProfileFlags = call.flags
    found = profile(call.recipe, run_dir=call.directory, trace_steps=flags.trace_steps, top=flags.top)
    console.print(found, highlight=False, soft_wrap=True)
    return {"run_dir": call.directory.absolute(), **as_json(found)}
