"""A parser of compiled programs (XLA's HLO text): instructions, the computations they call, their device groups."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|[\w\[\],]+(?:\{[^}]*\})?) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]\w*?\d*)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_NOISE = re.compile(
    r"(jit|jvp|transpose|vmap)\(.*|while|body|closed_call|cond|branch_\d+_fun|checkpoint|\w+\._\w+|rematted_.*"
)
_BITS = {"pred": 8, "s4": 4, "u4": 4, "f8e4m3fn": 8, "f8e5m2": 8, "c64": 64, "c128": 128}


class Instruction(NamedTuple):
    """`%name = shape opcode(%operands), attributes`; `rest` is the text after the opcode."""

    name: str
    shape: str
    opcode: str
    rest: str
    operands: list[str]


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of each computation, by its name, and the name of the entry computation."""
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", []
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head.group(2), [])
            entry = head.group(2) if head.group(1) else entry
        elif found := _INSTRUCTION.match(line):
            name, shape, opcode, rest = found.groups()
            current.append(Instruction(name, shape, opcode, rest, _NAME.findall(_inside(rest))))
    return computations, entry


def _inside(rest: str) -> str:
    """The operands: the text up to the closing bracket."""
    depth = 1
    for i, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return rest[:i]
    return rest


def called_computations(instruction: Instruction) -> list[str]:
    """Names of the computations that an instruction runs, except the function of a reduction."""
    names = {"while": "(?:body|condition)", "call": "to_apply", "fusion": "calls", "async-start": "calls"}
    if instruction.opcode == "conditional":
        branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.rest)
        pair = re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", instruction.rest)
        return _NAME.findall(branches.group(1)) if branches else pair
    if instruction.opcode not in names:
        return []
    return re.findall(rf"\b{names[instruction.opcode]}=%?([\w.\-]+)", instruction.rest)


def arrays(shape: str) -> list[tuple[str, str]]:
    """The (dtype, dimensions) of a shape, or of a tuple of shapes.

    Example:
      >>> arrays("(f32[2,3]{1,0}, bf16[])")
      [('f32', '2,3'), ('bf16', '')]
    """
    return _ARRAY.findall(shape)


def elements(array: tuple[str, str]) -> int:
    """Number of elements of an array, one of `arrays`."""
    return math.prod(int(d) for d in array[1].split(",") if d)


def nbytes(array: tuple[str, str]) -> int:
    """Bytes of an array, one of `arrays`."""
    bits = _BITS.get(array[0]) or int(re.sub(r"\D", "", array[0]) or 0)
    return elements(array) * bits // 8


def scope(rest: str) -> str:
    """The layer and primitive in an instruction's `op_name`, without transformations; the first of fused ones."""
    found = re.search(r'op_name="([^":]*)', rest)
    parts = [part.lstrip("(") for part in found.group(1).split("/")] if found else []
    return "/".join(part for part in parts if part and not _NOISE.fullmatch(part))


def replica_group(rest: str, num_devices: int) -> tuple[int, ...]:
    """The devices of the first replica group, in any of XLA's notations; all devices where none is given.

    The notations are `{{0,1},{2,3}}`; `[2,2]<=[4]` and `[2,2]<=[2,2]T(1,0)`, whose rows are groups; and
    `mesh['a'=2,'b'=2] {'b'}`, with or without `device_ids=([2,2]T(1,0))`, whose groups run along the axes.
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
