"""What devices send each other, from the text of a compiled program.

The program is the one that XLA's partitioner made for a mesh, so that its shapes are one device's. The CPU's compiler
partitions as those of GPUs and TPUs do, with two differences that are mended here: it leaves an all-reduce of which
each device keeps a slice, where theirs make a reduce-scatter; and what is in 16 bits it sends in 32.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|[\w\[\],]+(?:\{[^}]*\})?) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]\w*?\d*)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_NOISE = re.compile(
    r"(jit|jvp|transpose|vmap)\(.*|while|body|closed_call|cond|branch_\d+_fun|checkpoint|\w+\._\w+|rematted_.*"
)
_OPCODES_OF_COPIES = {"convert", "bitcast", "copy"}
_BITS = {"pred": 8, "s4": 4, "u4": 4, "f8e4m3fn": 8, "f8e5m2": 8, "c64": 64, "c128": 128}


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


class _Instruction(NamedTuple):
    name: str
    shape: str
    opcode: str
    rest: str  # operands and attributes
    operands: list[str]


def collectives(text: str, num_devices: int) -> tuple[list[Collective], list[str]]:
    """The collectives of a compiled program, loops counted by their length; and the loops whose length is not known.

    Args:
      text: from `compiled.as_text()`.
      num_devices: of the mesh: a collective that names no group has all of them.
    """
    computations, entry = _parse(text)
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
                    unknown.append(_where(instruction.rest))
            for inner in _called(instruction):
                walk(inner, times * trips)

    walk(entry, 1)
    return found, unknown


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    computations: dict[str, list[_Instruction]] = {}
    entry, current = "", []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head.group(2), [])
            entry = head.group(2) if head.group(1) else entry
        elif found := _INSTRUCTION.match(line):
            name, shape, opcode, rest = found.groups()
            current.append(_Instruction(name, shape, opcode, rest, _NAME.findall(_inside(rest))))
    return computations, entry


def _inside(rest: str) -> str:
    """The operands: up to the bracket that closes them."""
    depth = 1
    for i, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return rest[:i]
    return rest


def _called(instruction: _Instruction) -> list[str]:
    """Computations that an instruction runs, a reduction's function apart."""
    names = {"while": "(?:body|condition)", "call": "to_apply", "fusion": "calls", "async-start": "calls"}
    if instruction.opcode == "conditional":
        branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.rest)
        pair = re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", instruction.rest)
        return _NAME.findall(branches.group(1)) if branches else pair
    if instruction.opcode not in names:
        return []
    return re.findall(rf"\b{names[instruction.opcode]}=%?([\w.\-]+)", instruction.rest)


def _collectives(
    instruction: _Instruction,
    computations: dict[str, list[_Instruction]],
    body: list[_Instruction],
    times: int,
    num_devices: int,
) -> Iterator[Collective]:
    kind = instruction.opcode.removesuffix("-start")
    group, where = _group(instruction.rest, num_devices), _where(instruction.rest)
    arrays = _ARRAY.findall(instruction.shape)
    if instruction.opcode.endswith("-start"):
        arrays = arrays[len(arrays) // 2 :]  # (operands, results)
    sizes = [_nbytes(a) // (2 if _widened(instruction, i, a, computations, body) else 1) for i, a in enumerate(arrays)]
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
    instruction: _Instruction,
    place: int,
    arrays: list[tuple[str, str]],
    group: int,
    computations: dict[str, list[_Instruction]],
    body: list[_Instruction],
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
        and sum(map(_elements, _ARRAY.findall(i.shape))) * group == _elements(arrays[place])
        for i in readers
    )


def _opcodes(instruction: _Instruction, computations: dict[str, list[_Instruction]]) -> set[str]:
    inner = [i.opcode for name in _called(instruction) for i in computations[name] if i.opcode != "parameter"]
    return set(inner or [instruction.opcode])


def _widened(
    instruction: _Instruction,
    place: int,
    array: tuple[str, str],
    computations: dict[str, list[_Instruction]],
    body: list[_Instruction],
) -> bool:
    """Whether 32 bits are sent that were 16: by the name of the sum, or because what is sent was just converted."""
    if array[0] != "f32":
        return False
    if "promoted" in "".join(re.findall(r"to_apply=%?([\w.\-]+)", instruction.rest)):
        return True
    sent = next((i for i in body if place < len(instruction.operands) and i.name == instruction.operands[place]), None)
    if sent is None or sent.opcode not in ("fusion", "convert"):
        return False
    inside = [i.shape for name in _called(sent) for i in computations[name]]
    inside += [i.shape for i in body if sent.opcode == "convert" and i.name in sent.operands]
    count = _elements(_ARRAY.findall(sent.shape)[0])
    return any(a[0] in ("bf16", "f16") and _elements(a) == count for shape in inside for a in _ARRAY.findall(shape))


def _elements(array: tuple[str, str]) -> int:
    return math.prod(int(d) for d in array[1].split(",") if d)


def _nbytes(array: tuple[str, str]) -> int:
    bits = _BITS.get(array[0]) or int(re.sub(r"\D", "", array[0]) or 0)
    return _elements(array) * bits // 8


def _where(rest: str) -> str:
    """The layer of the model, out of an operation's name; of several that were joined, the first."""
    found = re.search(r'op_name="([^":]*)', rest)
    parts = [part.lstrip("(") for part in found.group(1).split("/")] if found else []
    return "/".join(part for part in parts if part and not _NOISE.fullmatch(part))


def _group(rest: str, num_devices: int) -> tuple[int, ...]:
    """The devices of the first group, in any of the notations that XLA prints.

    `{{0,1},{2,3}}`; `[2,2]<=[4]` and `[2,2]<=[2,2]T(1,0)`, groups by rows; `mesh['a'=2,'b'=2] {'b'}`, and so with
    `device_ids=([2,2]T(1,0))`, groups along axes.
    """
    if found := re.search(r"(?:replica_groups|source_target_pairs)=\{\{([\d,]+)\}", rest):
        return tuple(int(i) for i in found.group(1).split(","))
    if found := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest):
        rows, dims, order = (_ints(x) for x in found.groups())
        return tuple(_devices(dims, order).reshape(rows)[0].tolist())
    pattern = r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}"
    if found := re.search(pattern, rest):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found.group(1)))
        shape = [int(size) for size in sizes.values()]
        dims, order = _ints(found.group(2)) or shape, _ints(found.group(3))
        axes = re.findall(r"'(\w+)'", found.group(4))
        grid = _devices(dims, order).reshape(shape)
        return tuple(grid[tuple(slice(None) if axis in axes else 0 for axis in sizes)].ravel().tolist())
    return tuple(range(num_devices))


def _devices(dims: list[int], order: list[int]) -> np.ndarray:
    grid = np.arange(math.prod(dims)).reshape(dims)
    return grid.transpose(order) if order else grid


def _ints(text: str | None) -> list[int]:
    return [int(i) for i in text.split(",")] if text else []
