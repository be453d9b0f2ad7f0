"""`plan`: memory and cost of a training step on a mesh, without its devices."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.verbs.plan import plan


@dataclasses.dataclass(frozen=True)
class PlanFlags(CommonFlags):
    """Flags of plan.

    Args:
      accelerator: Kind of each device: h100, h200, a100, l4, v4, v5e, v5p or v6e.
    """

    accelerator: str = "h100"


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Prints memory, time and communication of a step on a mesh, such as --mesh data=8, whose devices need not be here.

    Returns:
      num_params, memory by part and its total, fits, flops, seconds, mfu, collectives by kind, warnings, advice.
    """
    found = plan(call.recipe, accelerator_name=call.flags.accelerator)
    console.print(found, highlight=False, soft_wrap=True)
    return dict(found.values)
