"""`plan`: what a step needs of a mesh, and what it would cost there, without the devices."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shlex
import subprocess
import sys
from typing import Any

import jax
from jax.sharding import Mesh
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deeplab import scale
from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.scale.activations import with_examples
from deeplab.scale.plan.accelerators import accelerator
from deeplab.scale.plan.estimate import Plan, make_plan
from deeplab.train.bind import bind
from deeplab.train.initialize import init
from deeplab.train.state import State
from deeplab.train.step import Step, make_step

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


@dataclasses.dataclass(frozen=True)
class PlanFlags(CommonFlags):
    """Flags of plan.

    Args:
      accelerator: What each device is: h100, h200, a100, l4, v4, v5e, v5p or v6e.
    """

    accelerator: str = "h100"


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Prints the plan; in a process of its own, where there are as many virtual devices as the mesh has.

    Returns:
      num_params, memory by part and its total, fits, flops, seconds, mfu, collectives by kind, warnings, advice.
    """
    flags: PlanFlags = call.flags
    accelerator(flags.accelerator)
    size = scale.abstract_mesh(flags.mesh).size
    # Virtual devices must be there before JAX is first used, and a plan must not wake the real ones.
    if jax.config.jax_num_cpu_devices < size:  # pyright: ignore[reportAttributeAccessIssue]  # JAX adds it at run time
        return _elsewhere(call, size, console)
    plan = plan_experiment(call.experiment(), call.runtime, flags.accelerator)
    _print(plan, console)
    return as_result(plan)


def plan_experiment(experiment: Experiment, runtime: Runtime, name: str) -> Plan:
    """The plan of an experiment on a mesh of as many (virtual) devices as this process has, or fewer.

    The batch is that which the host sends; a set that fits the device and is kept there comes on top. Moments that
    `offload` keeps in the host's memory are counted: they are on the device while they are updated.

    Raises:
      UserError: a wrong mesh, more devices than there are, an unknown accelerator, a batch that does not divide.
    """
    grid = scale.make_mesh(runtime.mesh)
    scale.check_batch(experiment.data.batch_size, grid, runtime.accumulate)
    step, state, batch = abstract_step(experiment, grid, runtime)

    def objective(params: Any, state: State, batch: Any) -> tuple[jax.Array, Any]:
        batch = experiment.data.transform(batch, state.key)
        batch = with_examples(batch, len(batch["weight"]))
        out = experiment.task.loss(bind(experiment, state, batch, runtime, params), batch, state.key)
        return out.loss.total / out.loss.count, (out.metrics, out.variables)

    plan = make_plan(step, objective, state, batch, grid, accelerator(name), runtime.accumulate)
    return dataclasses.replace(
        plan, notes=[*plan.notes, *scale.unapplied_rules(state.params, experiment.sharding_rules, grid)]
    )


def abstract_step(experiment: Experiment, mesh: Mesh, runtime: Runtime = Runtime()) -> tuple[Step, State, Any]:
    """The step of an experiment, and what it is called with: abstract arrays with their places on a mesh."""
    shapes = jax.eval_shape(lambda key: init(experiment, key, runtime), jax.random.key(0))
    state = _placed(shapes, scale.state_shardings(shapes, experiment.sharding_rules, mesh))
    batch = _raw_batch(experiment)
    batch = _placed(batch, jax.tree.map(lambda _: scale.batch_sharding(mesh), batch))
    return make_step(experiment, runtime), state, batch


def _raw_batch(experiment: Experiment) -> Any:
    """Shapes of what the host sends, from the data's synthetic twin: nothing is read."""
    data, twin = experiment.data, experiment.data.synthetic()
    few = jax.eval_shape(lambda: twin.fetch(twin.open("train"), twin.train_ids(0, 0)[0]))
    return {name: jax.ShapeDtypeStruct((data.batch_size, *s.shape[1:]), s.dtype) for name, s in few.items()}


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)


def _elsewhere(call: Invocation, size: int, console: Console) -> dict[str, Any]:
    """The same command in a process with `size` virtual devices, which prints to its standard error."""
    words = shlex.split(call.command("plan", accelerator=call.flags.accelerator, json=True))[1:]
    devices = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(size), "TF_CPP_MIN_LOG_LEVEL": "3"}
    words += [] if "--json" in words else ["--json"]
    done = subprocess.run([sys.executable, *words], env=os.environ | devices, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().removeprefix("error: ") or f"plan ended with {done.returncode}")
    console.print(done.stderr.rstrip(), highlight=False, markup=False, soft_wrap=True)
    return json.loads(done.stdout.splitlines()[-1])


def as_result(plan: Plan) -> dict[str, Any]:
    """A plan as plain values."""
    memory = dataclasses.asdict(plan.memory)
    return {
        "mesh": dict(plan.mesh),
        "accelerator": plan.accelerator.name,
        "num_params": plan.num_params,
        "memory": memory | {"arguments": plan.memory.arguments, "total": plan.memory.total},
        "fits": plan.fits,
        "flops": plan.flops,
        "model_flops": plan.model_flops,
        "moved": plan.moved,
        "compute_seconds": plan.compute_seconds,
        "network_seconds": plan.network_seconds,
        "seconds": plan.seconds,
        "mfu": plan.mfu,
        "warnings": plan.warnings,
        "advice": [change._asdict() for change in plan.advice],
        "notes": list(plan.notes),
    }


def _print(plan: Plan, console: Console) -> None:
    shape = ",".join(f"{axis}={size}" for axis, size in plan.mesh.items() if size > 1) or "one device"
    console.print(
        f"{plan.num_params:,} parameters, {plan.batch_size:,} examples a step, on {plan.num_devices} x "
        f"{plan.accelerator.name} ({shape})",
        highlight=False,
    )
    memory = Table("a device holds", "", box=None, pad_edge=False)
    memory.columns[1].justify = "right"
    rows = dataclasses.asdict(plan.memory) | {"peak": plan.memory.total, "of": plan.accelerator.memory}
    for name, value in rows.items():
        memory.add_row(name, size_of(value))
    console.print(memory, highlight=False)
    sent = Table("a device receives, a step", "", "largest", "for", box=None, pad_edge=False)
    sent.columns[1].justify = sent.columns[2].justify = "right"
    for kind, moved in sorted(plan.moved.items(), key=lambda item: -item[1]):
        largest = max((c for c in plan.collectives if c.kind == kind), key=lambda c: c.nbytes * c.times)
        sent.add_row(kind, size_of(moved), size_of(largest.nbytes * largest.times), escape(largest.where))
    if plan.moved:
        console.print(sent, highlight=False)
    console.print(
        f"{plan.flops:.4g} FLOPs a step, {plan.model_flops:.4g} of them the model's; products in {plan.dtype}\n"
        f"{plan.compute_seconds:.3g} s to compute + {plan.network_seconds:.3g} s to send = {plan.seconds:.3g} s a step "
        f"at best, MFU {plan.mfu:.1%}",
        highlight=False,
    )
    for text in (*plan.warnings, *plan.notes):
        console.print(f"[yellow]warning:[/] {escape(text)}", highlight=False, soft_wrap=True)
    for i, change in enumerate(plan.advice):
        lead = "[bold red]does not fit.[/] First" if i == 0 else "then"
        console.print(f"{lead}: {change.what}: up to {size_of(change.saves)} less", highlight=False, soft_wrap=True)


def size_of(nbytes: float) -> str:
    """Bytes for people, in powers of 1000.

    Example:
      >>> size_of(5_053_860_888), size_of(12)
      ('5.05 GB', '12 B')
    """
    power = min(int(math.log10(max(nbytes, 1)) // 3), len(_UNITS) - 1)
    return f"{nbytes / 1000**power:.{2 if power else 0}f} {_UNITS[power]}"
