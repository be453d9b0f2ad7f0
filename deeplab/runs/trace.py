"""The time of a training step by layer, from a profiler's trace.

A trace names the compiler's instructions ("fusion.3"). The compiled program gives for each the operation and the layer
that it came from ("jit(run)/transpose(jvp(GPT))/block1/up/dot_general").
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from deeplab.core.errors import UserError


class Cost(NamedTuple):
    """The time of one operation of one layer.

    Attributes:
      layer: Path of the layer in the model, such as "block1/feed_forward/up"; outside the model "loss", "input" or
        "optimizer".
      operation: JAX's name of the operation; of fused operations, the last one.
      forward: Milliseconds per step outside the backward pass.
      backward: Milliseconds per step in the backward pass.
    """

    layer: str
    operation: str
    forward: float
    backward: float

    @property
    def total(self) -> float:
        return self.forward + self.backward


_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = ")
_OP_NAME = re.compile(r'metadata=\{[^}]*?op_name="([^"]*)"')
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")


def op_names(program: str) -> dict[str, str]:
    """The full name of the operation that each instruction of a compiled program came from.

    Args:
      program: Text of the program, `compiled.as_text()`.

    Returns:
      Names by instruction. An instruction without a name of its own has that of the last operation it calls.

    Example:
      >>> op_names('  %fusion.3 = f32[] fusion(%p), calls=%f, metadata={op_name="jit(run)/jvp(CNN)/conv1/add"}')
      {'fusion.3': 'jit(run)/jvp(CNN)/conv1/add'}
    """
    names: dict[str, str] = {}
    called: dict[str, str] = {}
    last: dict[str, str] = {}  # Last named operation of each computation: its root, or one before it.
    computation = ""
    for line in program.splitlines():
        if begins := _COMPUTATION.match(line):
            computation = begins[1]
        if not (found := _INSTRUCTION.match(line)):
            continue
        if note := _OP_NAME.search(line):
            names[found[1]] = last[computation] = note[1]
        elif call := _CALLED.search(line):
            called[found[1]] = call[1]
    return names | {name: last[body] for name, body in called.items() if body in last}


_TRANSFORMED = re.compile(r"\b(?:jvp|transpose|vmap|remat|checkpoint)\(([^()]*)\)")
_COMPILED = re.compile(r"\bp?jit\([^()]*\)/?")
_CONTROL = re.compile(
    r"while|body|cond|scan|closed_call|branch_\d+_fun|(custom_(jvp|vjp)_call\w*)|rematted_computation|checkpoint|remat2?"
)


def locate(op_name: str, model: str) -> tuple[str, str, bool]:
    """The layer of an operation.

    Args:
      op_name: Full name of the operation, from `op_names`.
      model: Name of the model's class, which is removed from the path.

    Returns:
      The path of the layer, the name of the operation, and whether it belongs to the backward pass.

    Example:
      >>> locate("jit(run)/transpose(jvp(GPT))/block1/feed_forward/up/dot_general", "GPT")
      ('block1/feed_forward/up', 'dot_general', True)
      >>> locate("jit(run)/jvp()/jit(log_softmax)/exp", "GPT")
      ('loss', 'exp', False)
      >>> locate("jit(run)/optimizer/mul", "GPT")
      ('optimizer', 'mul', False)
    """
    differentiated, backward = "jvp(" in op_name, "transpose(" in op_name
    text, before = op_name, ""
    while text != before:
        text, before = _TRANSFORMED.sub(r"\1", _COMPILED.sub("", text)), text
    *path, operation = [part for part in text.split("/") if part and not _CONTROL.fullmatch(part)] or [op_name]
    if path and path[0] == model:
        path = path[1:] or [model]
    elif differentiated and not path:
        path = ["loss"]
    return "/".join(path) or "the rest", operation, backward


class Event(NamedTuple):
    """An executed instruction, with its start and end in nanoseconds."""

    name: str
    start: float
    end: float


def self_seconds(events: Iterable[Event]) -> dict[str, float]:
    """The seconds of each instruction on one thread, without those of instructions inside it, such as a loop's body.

    Args:
      events: Instructions that ran on the thread, in any order.

    Example:
      >>> self_seconds([Event("while", 0, 5e9), Event("dot", 1e9, 3e9)])
      {'while': 3.0, 'dot': 2.0}
    """
    spent: dict[str, float] = defaultdict(float)
    open_: list[Event] = []
    for event in sorted(events, key=lambda e: (e.start, -e.end)):
        while open_ and open_[-1].end <= event.start:
            open_.pop()
        seconds = (event.end - event.start) / 1e9
        spent[event.name] += seconds
        if open_:
            spent[open_[-1].name] -= seconds
        open_.append(event)
    return dict(spent)


def instruction_seconds(folder: Path, known: Mapping[str, str]) -> dict[str, float]:
    """The seconds of each instruction in a trace: on its devices, or on the host's threads where it has no devices.

    Args:
      folder: Folder that the profiler wrote to.
      known: Instructions of the program, from `op_names`.

    Raises:
      UserError: The folder holds no trace, or the trace no instruction of the program.
    """
    files = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
    if not files:
        raise UserError(f"{folder} holds no trace; check that the disk is not full")
    with warnings.catch_warnings():
        # JAX 0.12 makes its types in a way that Python 3.13 deprecates; as an error that ends the process.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _seconds(jax.profiler.ProfileData.from_file(str(files[-1])), folder, known)


def _seconds(data: Any, folder: Path, known: Mapping[str, str]) -> dict[str, float]:
    planes = list(data.planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:") and any(True for _ in plane.lines)]
    spent: dict[str, float] = defaultdict(float)
    for plane in devices or planes:
        for line in plane.lines:
            events = []
            for event in line.events:
                name = dict(event.stats).get("hlo_op", event.name if event.name in known else None)
                if name is not None:
                    events.append(Event(str(name), event.start_ns, event.end_ns))
            for name, seconds in self_seconds(events).items():
                spent[name] += seconds
    if not spent:
        raise UserError(f"the trace in {folder} holds no instruction of the program; this backend does not record them")
    return spent


def costs(spent: Mapping[str, float], names: Mapping[str, str], model: str, steps: int) -> list[Cost]:
    """The time of each operation of each layer, the largest first.

    Args:
      spent: Seconds by instruction, from `instruction_seconds`.
      names: Full names of operations by instruction, from `op_names`.
      model: Name of the model's class.
      steps: Number of steps in the trace.

    Example:
      >>> names = {"dot.1": "jit(run)/jvp(MLP)/head/dot", "dot.2": "jit(run)/transpose(jvp(MLP))/head/dot"}
      >>> costs({"dot.1": 0.002, "dot.2": 0.004, "copy.1": 0.001}, names, "MLP", steps=2)[0]
      Cost(layer='head', operation='dot', forward=1.0, backward=2.0)
    """
    both: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name, seconds in spent.items():
        if name in names:
            layer, operation, backward = locate(names[name], model)
        else:  # Added by the compiler: a copy, or a change of layout.
            layer, operation, backward = "added by the compiler", re.sub(r"[.\d]+$", "", name), False
        both[layer, operation][backward] += 1e3 * seconds / steps
    return sorted((Cost(*key, *pair) for key, pair in both.items()), key=lambda cost: -cost.total)


def totals(found: Sequence[Cost]) -> dict[str, float]:
    """Milliseconds per step of the forward pass, the backward pass, the optimizer, and everything else.

    Args:
      found: Times of operations, from `costs`.
    """
    outside = ("optimizer", "input", "the rest", "added by the compiler")
    optimizer = sum(c.total for c in found if c.layer.split("/")[0] == "optimizer")
    backward = sum(c.backward for c in found)
    forward = sum(c.forward for c in found if c.layer.split("/")[0] not in outside)
    everything = sum(c.total for c in found)
    return {
        "forward": forward,
        "backward": backward,
        "optimizer": optimizer,
        "other": everything - forward - backward - optimizer,
    }
