"""What devices send each other, from the text of a compiled program.

The program is the one that XLA's partitioner made for a mesh, so that its shapes are one device's. The CPU's compiler
partitions as those of GPUs and TPUs do, with two differences that are mended here: it leaves an all-reduce of which
each device keeps a slice, where theirs make a reduce-scatter; and what is in 16 bits it sends in 32.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from deeplab.scale.plan import hlo
from deeplab.scale.plan.hlo import Instruction

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_OPCODES_OF_COPIES = {"convert", "bitcast", "copy"}


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation, and how often a step does it.

    Attributes:
      kind: such as "all-gather".
      nbytes: of the whole array on one device (what is gathered, or what is reduced), of one run.
      group: the devices that take part together, one group of them.
      times: how often it runs.
      where: the layer and primitive it serves, as the program names them.
    """

    kind: str
    nbytes: int
    group: tuple[int, ...]
    times: int
    where: str

    @property
    def moved(self) -> float:
        """Bytes that each device receives in a step, around a ring of g: (g - 1) / g of the array, twice to reduce it.

        Source: Chan et al. 2007, "Collective communication: theory, practice, and experience",
          https://doi.org/10.1002/cpe.1206.
        """
        g = len(self.group)
        if g < 2:
            return 0.0
        share = {"all-reduce": 2 * (g - 1) / g, "collective-permute": 1.0, "collective-broadcast": 1.0}
        return self.times * self.nbytes * share.get(self.kind, (g - 1) / g)


def collectives(text: str, num_devices: int) -> tuple[list[Collective], list[str]]:
    """The collectives of a compiled program, loops counted by their length; and the loops whose length is not known.

    Args:
      text: from `compiled.as_text()`.
      num_devices: of the mesh: a collective that names no group has all of them.
    """
    computations, entry = hlo.parse(text)
    found: list[Collective] = []
    unknown: list[str] = []

    def walk(name: str, times: int) -> None:
        body = computations[name]
        for instruction in body:
            if instruction.opcode.removesuffix("-start") in KINDS:
                found.extend(_collectives(instruction, computations, body, times, num_devices))
            trips = 1
            if instruction.opcode == "while":
                trip = re.search(r'known_trip_count":\{"n":"(\d+)"', instruction.rest)
                trips = int(trip.group(1)) if trip else 1
                if not trip:
                    unknown.append(hlo.where(instruction.rest))
            for inner in hlo.called(instruction):
                walk(inner, times * trips)

    walk(entry, 1)
    return found, unknown


def _collectives(
    instruction: Instruction,
    computations: dict[str, list[Instruction]],
    body: list[Instruction],
    times: int,
    num_devices: int,
) -> Iterator[Collective]:
    kind = instruction.opcode.removesuffix("-start")
    group, where = hlo.group(instruction.rest, num_devices), hlo.where(instruction.rest)
    arrays = hlo.arrays(instruction.shape)
    if instruction.opcode.endswith("-start"):
        arrays = arrays[len(arrays) // 2 :]  # (operands, results)
    widened = [_widened(instruction, i, array, computations, body) for i, array in enumerate(arrays)]
    sizes = [hlo.nbytes(array) // (2 if wide else 1) for array, wide in zip(arrays, widened, strict=True)]
    if kind == "all-to-all":
        yield Collective(kind, sum(sizes), group, times, where)
        return
    for i, size in enumerate(sizes):
        if kind == "all-reduce" and _sliced(instruction, i, arrays, len(group), computations, body):
            yield Collective("reduce-scatter", size, group, times, where)
        else:
            # A reduce-scatter gives a part of what it reduces.
            yield Collective(kind, size * len(group) if kind == "reduce-scatter" else size, group, times, where)


def _sliced(
    instruction: Instruction,
    place: int,
    arrays: list[tuple[str, str]],
    group: int,
    computations: dict[str, list[Instruction]],
    body: list[Instruction],
) -> bool:
    """Whether all that reads an all-reduce's result keeps but a device's part of it, whatever its dtype then is."""
    readers = [i for i in body if instruction.name in i.operands]
    if len(arrays) > 1:
        taken = {i.name for i in readers if i.opcode == "get-tuple-element" and f"index={place}" in i.rest.split(", ")}
        readers = [i for i in body if taken & set(i.operands)]
    copies = {i.name for i in readers if _OPCODES_OF_COPIES.issuperset(_opcodes(i, computations))}
    readers = [i for i in body if copies & set(i.operands) or (i in readers and i.name not in copies)]
    return bool(readers) and all(
        i.opcode in ("fusion", "dynamic-slice")
        and sum(map(hlo.elements, hlo.arrays(i.shape))) * group == hlo.elements(arrays[place])
        for i in readers
    )


def _opcodes(instruction: Instruction, computations: dict[str, list[Instruction]]) -> set[str]:
    inner = [i.opcode for name in hlo.called(instruction) for i in computations[name] if i.opcode != "parameter"]
    return set(inner or [instruction.opcode])


def _widened(
    instruction: Instruction,
    place: int,
    array: tuple[str, str],
    computations: dict[str, list[Instruction]],
    body: list[Instruction],
) -> bool:
    """Whether 32 bits are sent that were 16: by the name of the sum, or because what is sent was just converted."""
    if array[0] != "f32":
        return False
    if "promoted" in "".join(re.findall(r"to_apply=%?([\w.\-]+)", instruction.rest)):
        return True
    sent = next((i for i in body if place < len(instruction.operands) and i.name == instruction.operands[place]), None)
    if sent is None or sent.opcode not in ("fusion", "convert"):
        return False
    inside = [i.shape for name in hlo.called(sent) for i in computations[name]]
    inside += [i.shape for i in body if sent.opcode == "convert" and i.name in sent.operands]
    count = hlo.elements(hlo.arrays(sent.shape)[0])
    return any(a[0] in ("bf16", "f16") and hlo.elements(a) == count for shape in inside for a in hlo.arrays(shape))
