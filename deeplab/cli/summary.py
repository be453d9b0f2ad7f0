"""`summary`: the layers of a model, their shapes, parameters and FLOPs; and on a mesh, who holds what."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from deeplab.cli.arguments import Invocation
from deeplab.verbs.summary import summary


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Prints the table of layers, for one batch; nothing is trained, and no data are read.

    With `--mesh` also what each device would hold: the devices need not be there.

    Returns:
      num_params, flops (of a forward pass of one example), and with a mesh bytes_per_device.
    """
    found = summary(call.recipe)
    console.print(found, highlight=False, soft_wrap=True)
    held = {} if found.bytes_per_device is None else {"bytes_per_device": sum(found.bytes_per_device.values())}
    return {"num_params": found.num_params, "flops": found.flops, **held}
