"""`verify`: checks that a run which is killed and resumed equals an uninterrupted one, bit for bit."""

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
      kills: Number of kills of the second run; every third one while a checkpoint is being written.
    """

    kills: int = 3


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Trains twice, kills one of the runs repeatedly, and compares the results.

    Returns:
      kills, kills_during_save, steps, leaves, differing_leaves, rows, differing_rows; and exit_code 3 on a difference.
    """
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    found = verify(call.recipe, kills=call.flags.kills, run_dir=call.flags.run_dir, say=say)
    say(found)
    return dataclasses.asdict(found) | {"exit_code": 0 if found.equal else CheckpointError.exit_code}
