"""`plan`: memory and cost of a training step on a mesh, without its devices."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import cloudpickle
import jax
from jax.sharding import Mesh

from deeplab import scale
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.core.runtime import Runtime
from deeplab.core.text import dumps, loads
from deeplab.data.base import raw_spec
from deeplab.experiment import Experiment
from deeplab.scale.activations import with_examples
from deeplab.scale.plan.accelerators import accelerator
from deeplab.scale.plan.plan import Plan, make_plan
from deeplab.train.bind import bind
from deeplab.train.contracts.checked import checked
from deeplab.train.state import State
from deeplab.train.step import Step, make_step
from deeplab.verbs.recipe import Recipe

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


@dataclasses.dataclass(frozen=True)
class StepPlan(Printable):
    """Memory and cost of a step on a mesh, as plain values: bytes and seconds of one device, FLOPs of all devices.

    Attributes:
      values: JSON values by name, see `StepPlan.of`.
    """

    values: Mapping[str, Any]

    @classmethod
    def of(cls, plan: Plan) -> StepPlan:
        """A plan as plain values."""
        largest = {
            kind: max((c for c in plan.collectives if c.kind == kind), key=lambda c: c.nbytes * c.times)
            for kind in plan.received_bytes
        }
        names = ("num_params", "batch_size", "fits", "flops", "model_flops", "dtype", "received_bytes")
        names += ("compute_seconds", "network_seconds", "seconds", "mfu", "warnings")
        return cls(
            {name: getattr(plan, name) for name in names}
            | {
                "mesh": dict(plan.mesh),
                "accelerator": plan.accelerator.name,
                "capacity": plan.accelerator.memory,
                "memory": dataclasses.asdict(plan.memory)
                | {"arguments": plan.memory.arguments, "total": plan.memory.total},
                "largest": {kind: {"bytes": c.nbytes * c.times, "scope": c.scope} for kind, c in largest.items()},
                "advice": [suggestion._asdict() for suggestion in plan.advice],
                "notes": list(plan.notes),
            }
        )

    def __getattr__(self, name: str) -> Any:
        if name != "values" and name in self.values:
            return self.values[name]
        raise AttributeError(f"a plan has no {name!r}; it has {', '.join(self.values)}")

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        v = self.values
        shape = ",".join(f"{axis}={size}" for axis, size in v["mesh"].items() if size > 1) or "one device"
        parts: list[Any] = [
            f"{v['num_params']:,} parameters, {v['batch_size']:,} examples a step, on "
            f"{math.prod(v['mesh'].values())} x {v['accelerator']} ({shape})",
            _memory_table(v),
            *([_traffic_table(v)] if v["received_bytes"] else ()),
            f"{v['flops']:.4g} FLOPs a step, {v['model_flops']:.4g} of them the model's; products in {v['dtype']}",
            f"{v['compute_seconds']:.3g} s to compute + {v['network_seconds']:.3g} s to send = {v['seconds']:.3g} s a "
            f"step at best, MFU {v['mfu']:.1%}",
        ]
        parts += [Text.assemble(("warning:", "yellow"), f" {text}") for text in (*v["warnings"], *v["notes"])]
        for i, suggestion in enumerate(v["advice"]):
            lead = Text.assemble(("does not fit.", "bold red"), " First") if i == 0 else Text("then")
            parts.append(lead + f": {suggestion['change']}: up to {size_of(suggestion['saved_bytes'])} less")
        return Group(*parts)


def _memory_table(values: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table("a device holds", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    memory = {name: size for name, size in values["memory"].items() if name not in ("arguments", "total")}
    for name, size in (memory | {"peak": values["memory"]["total"], "of": values["capacity"]}).items():
        table.add_row(name.replace("_", " "), size_of(size))
    return table


def _traffic_table(values: Mapping[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("a device receives, a step", "", "largest", "for", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for kind, received in sorted(values["received_bytes"].items(), key=lambda item: -item[1]):
        largest = values["largest"][kind]
        table.add_row(kind, size_of(received), size_of(largest["bytes"]), Text(largest["scope"]))
    return table


def plan(experiment: Any, *, runtime: Runtime | None = None, accelerator_name: str = "h100") -> StepPlan:
    """Estimates memory and cost of a training step on a mesh, without allocating or running anything.

    Args:
      experiment: Function of hyper-parameters, a `functools.partial` of it, or a `dl.Experiment`.
      runtime: Mesh, precision and accumulation.
      accelerator_name: Kind of each device: h100, h200, a100, l4, v4, v5e, v5p or v6e.

    Raises:
      UserError: The mesh or the accelerator is unknown, the batch does not divide, or this process has fewer (virtual)
        devices than the mesh and the experiment cannot be sent to another one.

    Example:
      >>> from experiments.image_digits import experiment
      >>> plan(experiment).num_params > 0
      True
    """
    recipe = Recipe.of(experiment, runtime=runtime)
    accelerator(accelerator_name)
    size = scale.abstract_mesh(recipe.runtime.mesh).size
    # Virtual devices must exist before JAX is first used, and a plan must not initialize the real ones.
    if jax.config.jax_num_cpu_devices < size:  # pyright: ignore[reportAttributeAccessIssue]  # JAX adds it at run time
        return _elsewhere(recipe, size, accelerator_name)
    return StepPlan.of(plan_experiment(recipe.experiment(), recipe.runtime, accelerator_name))


def plan_experiment(experiment: Experiment, runtime: Runtime, name: str) -> Plan:
    """Plans a step of an experiment on a mesh of at most as many (virtual) devices as this process has.

    Inputs are a batch from the host; a data set that is resident on the devices needs additional memory. Optimizer
    state that `offload` keeps in the host's memory is included, because it is on the device during the update.

    Raises:
      UserError: The mesh or the accelerator is unknown, the mesh is too large, or the batch does not divide.
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
    given = experiment.rules is not None
    unapplied = scale.unapplied_rules(state.params, experiment.sharding_rules, grid, given=given)
    return dataclasses.replace(plan, notes=[*plan.notes, *unapplied])


def abstract_step(experiment: Experiment, mesh: Mesh, runtime: Runtime = Runtime()) -> tuple[Step, State, Any]:
    """Step of an experiment, and its abstract state and batch with their shardings on a mesh."""
    shapes = checked(experiment, runtime).state
    state = _placed(shapes, scale.state_shardings(shapes, experiment.sharding_rules, mesh))
    batch = raw_spec(experiment.data)
    batch = _placed(batch, jax.tree.map(lambda _: scale.batch_sharding(mesh), batch))
    return make_step(experiment, runtime), state, batch


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), shapes, shardings)


def _elsewhere(recipe: Recipe, size: int, accelerator_name: str) -> StepPlan:
    """Plans in another process that has `size` virtual devices.

    The recipe goes there as a value, and not as a command line: a notebook's experiment has no name to import it by.
    """
    try:
        sent = cloudpickle.dumps((recipe, accelerator_name))
    except Exception as error:  # of whatever the experiment holds
        raise UserError(
            f"--mesh {recipe.runtime.mesh} needs {size} virtual devices in another process, and the experiment cannot "
            f'be sent ({error}); begin with `import os; os.environ["JAX_NUM_CPU_DEVICES"] = "{size}"` before JAX is '
            "imported (in a notebook: as its first cell, after a restart of the kernel)"
        ) from error
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    devices = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(size), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment = os.environ | paths | devices | {"PYTHONIOENCODING": "utf-8"}
    call = [sys.executable, "-c", "from deeplab.verbs.plan import answer; answer()"]
    done = subprocess.run(call, input=sent, env=environment, capture_output=True)
    if done.returncode:
        raise UserError(done.stderr.decode().strip() or f"plan ended with {done.returncode}")
    return StepPlan(loads(done.stdout.splitlines()[-1]))


def answer() -> None:
    """What the other process does: reads a recipe, and prints the values of its plan, or why there is none."""
    recipe, accelerator_name = cloudpickle.load(sys.stdin.buffer)
    try:
        print(dumps(plan(recipe, accelerator_name=accelerator_name).values))
    except UserError as error:
        sys.exit(str(error))


def size_of(nbytes: float) -> str:
    """Formats a number of bytes, in powers of 1000.

    Example:
      >>> size_of(5_053_860_888), size_of(12)
      ('5.05 GB', '12 B')
    """
    power = min(int(math.log10(max(nbytes, 1)) // 3), len(_UNITS) - 1)
    return f"{nbytes / 1000**power:.{2 if power else 0}f} {_UNITS[power]}"
