"""What to change when a step does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deeplab.scale.plan.memory import Memory


class Change(NamedTuple):
    """Something to change.

    Attributes:
      what: in a user's terms.
      saves: bytes of a device, at most.
    """

    what: str
    saves: int


def changes(memory: Memory, mesh: Mapping[str, int], batch_size: int, dtype: str, remat: bool) -> list[Change]:
    """What could be changed, the most bytes first; of equals, the cheapest.

    Args:
      memory: of a device.
      mesh: sizes by axis.
      batch_size: of a step, or of a microbatch.
      dtype: of the products.
      remat: whether blocks are computed again already.

    Example:
      >>> memory = Memory(10, 20, 0, 0, 10, 80, 4, 0)
      >>> [change.saves for change in changes(memory, {"data": 4, "fsdp": 1, "model": 1}, 8, "float32", False)]
      [80, 42, 42, 30, 10]
    """
    activations = memory.residuals + memory.temporaries
    state = memory.params + memory.moments + memory.gradients
    data, fsdp = mesh["data"], mesh["fsdp"]
    each = batch_size // (data * fsdp)
    found = []
    if not remat:
        found.append(Change("compute blocks again in the backward pass: the model's remat='full'", memory.residuals))
    if dtype == "float32":
        found.append(Change("compute in bfloat16: --precision bf16", activations // 2))
    if each > 1:
        found.append(Change(f"divide the batch: --accumulate 2, up to {each}, or a smaller one", activations // 2))
    if data > 1:
        further = f"--mesh data=1,fsdp={data * fsdp} instead of data={data},fsdp={fsdp}"
        found.append(Change(f"split parameters and moments further: {further}", state - state // data))
    found.append(Change("keep the moments in bfloat16, where they are float32", memory.moments // 2))
    return sorted(found, key=lambda change: -change.saves)
