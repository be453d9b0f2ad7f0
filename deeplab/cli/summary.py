"""`summary`: layers of a model, shapes, parameters and FLOPs; and on a mesh, the sharding of each parameter."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from deeplab.cli.arguments import Invocation
from deeplab.verbs.summary import summary


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Prints the table of layers, without training and without reading data.

    With `--mesh` it also prints the memory of each device; the devices need not exist.

    Returns:
      num_params, flops (of a forward pass of one example), and with a mesh bytes_per_device.
    """
    found = summary(call.recipe)
    console.print(found, highlight=False, soft_wrap=True)
    held = {} if found.bytes_per_device is None else {"bytes_per_device": sum(found.bytes_per_device.values())}
    return {"num_params": found.num_params, "flops": found.flops, **held}
