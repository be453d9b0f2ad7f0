"""`verify`: proof that a killed run ends where an undisturbed one does, bit by bit."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.core.errors import CheckpointError
from deeplab.verbs.verify import verify


@dataclasses.dataclass(frozen=True)
class VerifyFlags(CommonFlags):
    """Flags of verify.

    Args:
      kills: How often the second run is killed; every third time while a checkpoint is being written.
    """

    kills: int = 3


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Trains twice, kills one, and compares.

    Returns:
      kills, kills_during_save, steps, leaves, differing_leaves, rows, differing_rows; and exit_code 3 on a difference.
    """
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    found = verify(call.recipe, kills=call.flags.kills, run_dir=call.flags.run_dir, say=say)
    say(found)
    return dataclasses.asdict(found) | {"exit_code": 0 if found.equal else CheckpointError.exit_code}
