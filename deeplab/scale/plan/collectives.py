"""The collective operations of a compiled program, from its text.

The program is the one that XLA's partitioner made for a mesh, so its shapes are those of one device. The CPU compiler
partitions as those of GPUs and TPUs do, with two differences that are corrected here: it leaves an all-reduce of which
each device keeps a slice, where the others emit a reduce-scatter; and it sends 16-bit arrays in 32 bits.
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
    """A collective operation of a step.

    Attributes:
      kind: Kind of the operation, such as "all-gather".
      nbytes: Bytes per run of the whole array on one device: the gathered array, or the array that is reduced.
      group: Devices of the first group that takes part together.
      times: Number of runs.
      scope: Layer and primitive that it serves, as the program names them.
    """

    kind: str
    nbytes: int
    group: tuple[int, ...]
    times: int
    scope: str

    @property
    def received_bytes(self) -> float:
        """Bytes that each device receives in a step around a ring of g: (g - 1) / g of the array, twice for a sum.

        Source: Chan et al. 2007, "Collective communication: theory, practice, and experience",
          https://doi.org/10.1002/cpe.1206.
        """
        g = len(self.group)
        if g < 2:
            return 0.0
        share = {"all-reduce": 2 * (g - 1) / g, "collective-permute": 1.0, "collective-broadcast": 1.0}
        return self.times * self.nbytes * share.get(self.kind, (g - 1) / g)


def find_collectives(text: str, num_devices: int) -> tuple[list[Collective], list[str]]:
    """The collectives of a compiled program, those in loops counted by the loop's length.

    Args:
      text: Text of the program, from `compiled.as_text()`.
      num_devices: Number of devices of the mesh, which a collective without a group joins.

    Returns:
      The collectives, and the scopes of the loops whose length is not known; these count as one run.
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
                    unknown.append(hlo.scope(instruction.rest))
            for inner in hlo.called_computations(instruction):
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
    group, scope = hlo.replica_group(instruction.rest, num_devices), hlo.scope(instruction.rest)
    arrays = hlo.arrays(instruction.shape)
    if instruction.opcode.endswith("-start"):
        arrays = arrays[len(arrays) // 2 :]  # (operands, results)
    widened = [_widened(instruction, i, array, computations, body) for i, array in enumerate(arrays)]
    sizes = [hlo.nbytes(array) // (2 if wide else 1) for array, wide in zip(arrays, widened, strict=True)]
    if kind == "all-to-all":
        yield Collective(kind, sum(sizes), group, times, scope)
        return
    for i, size in enumerate(sizes):
        if kind == "all-reduce" and _sliced(instruction, i, arrays, len(group), computations, body):
            yield Collective("reduce-scatter", size, group, times, scope)
        else:
            # The result of a reduce-scatter is one device's part.
            yield Collective(kind, size * len(group) if kind == "reduce-scatter" else size, group, times, scope)


def _sliced(
    instruction: Instruction,
    index: int,
    arrays: list[tuple[str, str]],
    group: int,
    computations: dict[str, list[Instruction]],
    body: list[Instruction],
) -> bool:
    """Whether every reader of an all-reduce's result keeps one device's part of it, converted or not."""
    readers = [i for i in body if instruction.name in i.operands]
    if len(arrays) > 1:
        taken = {i.name for i in readers if i.opcode == "get-tuple-element" and f"index={index}" in i.rest.split(", ")}
        readers = [i for i in body if taken & set(i.operands)]
    copies = {i.name for i in readers if _OPCODES_OF_COPIES.issuperset(_opcodes(i, computations))}
    readers = [i for i in body if copies & set(i.operands) or (i in readers and i.name not in copies)]
    return bool(readers) and all(
        i.opcode in ("fusion", "dynamic-slice")
        and sum(map(hlo.elements, hlo.arrays(i.shape))) * group == hlo.elements(arrays[index])
        for i in readers
    )


def _opcodes(instruction: Instruction, computations: dict[str, list[Instruction]]) -> set[str]:
    inner = [
        i.opcode for name in hlo.called_computations(instruction) for i in computations[name] if i.opcode != "parameter"
    ]
    return set(inner or [instruction.opcode])


def _widened(
    instruction: Instruction,
    index: int,
    array: tuple[str, str],
    computations: dict[str, list[Instruction]],
    body: list[Instruction],
) -> bool:
    """Whether a 16-bit array is sent as 32 bits: the sum is named so, or the operand has just been converted."""
    if array[0] != "f32":
        return False
    if "promoted" in "".join(re.findall(r"to_apply=%?([\w.\-]+)", instruction.rest)):
        return True
    sent = next((i for i in body if index < len(instruction.operands) and i.name == instruction.operands[index]), None)
    if sent is None or sent.opcode not in ("fusion", "convert"):
        return False
    inside = [i.shape for name in hlo.called_computations(sent) for i in computations[name]]
    inside += [i.shape for i in body if sent.opcode == "convert" and i.name in sent.operands]
    count = hlo.elements(hlo.arrays(sent.shape)[0])
    return any(a[0] in ("bf16", "f16") and hlo.elements(a) == count for shape in inside for a in hlo.arrays(shape))
