"""What to change when a step does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deeplab.scale.memory import Memory


class Change(NamedTuple):
    """Something to change.

    Attributes:
      what: in a user's terms.
      saves: bytes of a device, at most.
    """

    what: str
    saves: int


def changes(memory: Memory, mesh: Mapping[str, int], batch_size: int) -> list[Change]:
    """What could be changed, the most bytes first; of equals, the cheapest.

    Example:
      >>> memory = Memory(10, 20, 0, 0, 10, 80, 5, 0)
      >>> [change.saves for change in changes(memory, {"data": 4, "fsdp": 1, "model": 1}, 8)]
      [80, 42, 40, 30, 10]
    """
    activations = memory.residuals + memory.temporaries
    state = memory.params + memory.moments + memory.gradients
    data, fsdp = mesh["data"], mesh["fsdp"]
    each = batch_size // (data * fsdp)
    found = [
        Change("compute activations again in the backward pass (rematerialisation)", memory.residuals),
        Change("compute in bfloat16, where it is float32 now", memory.residuals // 2),
    ]
    if each > 1:
        found.append(
            Change(
                f"accumulate gradients over 2 parts of the batch, or more (up to {each}), or make it smaller",
                activations // 2,
            )
        )
    if data > 1:
        found.append(
            Change(
                f"split parameters and moments further: data=1,fsdp={data * fsdp} instead of data={data},fsdp={fsdp}",
                state - state // data,
            )
        )
    found.append(Change("keep the moments in bfloat16, where they are float32 now", memory.moments // 2))
    return sorted(found, key=lambda change: -change.saves)
