"""Suggestions for a training step that does not fit a device's memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from deeplab.scale.mesh import BATCH
from deeplab.scale.plan.memory import Memory


class Suggestion(NamedTuple):
    """A change that saves memory.

    Attributes:
      change: What to change, by the names of flags and arguments.
      saved_bytes: Bytes saved on each device, at most.
    """

    change: str
    saved_bytes: int


def suggestions(memory: Memory, mesh: Mapping[str, int], batch_size: int, dtype: str, remat: bool) -> list[Suggestion]:
    """Changes that save memory, the largest saving first; of equal ones, the one that costs least.

    Args:
      memory: Memory of one device.
      mesh: Size of each mesh axis.
      batch_size: Examples of a step, or of a microbatch.
      dtype: Dtype of the products.
      remat: Whether blocks are rematerialized already.

    Example:
      >>> memory = Memory(10, 20, 0, 0, 10, 80, 4, 0)
      >>> [s.saved_bytes for s in suggestions(memory, {"data": 4, "fsdp": 1, "model": 1}, 8, "float32", False)]
      [80, 42, 42, 30, 10]
    """
    activations = memory.residuals + memory.temporaries
    state = memory.params + memory.optimizer_state + memory.gradients
    data, fsdp = mesh["data"], mesh["fsdp"]
    device_batch = batch_size // math.prod(mesh.get(axis, 1) for axis in BATCH)
    found = []
    if not remat:
        found.append(
            Suggestion("rematerialize blocks in the backward pass: the model's remat='full'", memory.residuals)
        )
    if dtype == "float32":
        found.append(Suggestion("compute in bfloat16: --precision bf16", activations // 2))
    if device_batch > 1:
        change = f"divide the batch: --accumulate 2, up to {device_batch}, or use a smaller batch"
        found.append(Suggestion(change, activations // 2))
    if data > 1:
        mesh_flag = f"--mesh data=1,fsdp={data * fsdp} instead of data={data},fsdp={fsdp}"
        found.append(Suggestion(f"shard parameters and optimizer state further: {mesh_flag}", state - state // data))
    found.append(Suggestion("keep float32 optimizer state in bfloat16", memory.optimizer_state // 2))
    return sorted(found, key=lambda suggestion: -suggestion.saved_bytes)
