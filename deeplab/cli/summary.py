"""`summary`: the layers of a model, their shapes, parameters and FLOPs; and on a mesh, its sharding."""

from __future__ import annotations

import functools
from typing import Any

import jax
from flax.linen.summary import tabulate
from rich.console import Console

from deeplab import scale
from deeplab.cli.arguments import Invocation
from deeplab.experiment import Experiment
from deeplab.scale.table import sentence, sharding_table
from deeplab.train.initialize import init


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Prints the table of layers, for one batch; nothing is trained, and no data are read.

    With `--mesh` also what each device would hold: the devices need not be there.

    Returns:
      num_params, flops (of a forward pass of one example), and with a mesh bytes_per_device.
    """
    experiment = call.experiment()
    data = experiment.data
    batch = {name: jax.numpy.zeros((1, *s.shape[1:]), s.dtype) for name, s in data.spec().items()}
    inputs = experiment.task.inputs(batch)
    table = tabulate(
        experiment.model, jax.random.key(0), compute_flops=True, console_kwargs={"width": 140, "force_terminal": False}
    )
    console.print(table(*inputs), highlight=False, markup=False, soft_wrap=True)
    shapes = jax.eval_shape(experiment.model.init, jax.random.key(0), *inputs)
    forward = jax.jit(experiment.model.apply).lower(shapes, *inputs).cost_analysis() or {}
    num_params = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    flops = forward.get("flops", 0.0)
    console.print(f"{num_params:,} parameters; {flops:,.0f} FLOPs for the forward pass of one example", highlight=False)
    held = {} if call.flags.mesh == "auto" else {"bytes_per_device": _held(experiment, call.flags.mesh, console)}
    return {"num_params": num_params, "flops": flops, **held}


def _held(experiment: Experiment, shape: str, console: Console) -> int:
    """Prints the parameters on a mesh, and what does not fit it; gives the bytes of one device."""
    mesh = scale.abstract_mesh(shape)
    state = jax.eval_shape(functools.partial(init, experiment), jax.random.key(0))
    table, held = sharding_table(state, scale.state_shardings(state, experiment.sharding_rules, mesh))
    console.print(table, highlight=False)
    console.print(sentence(mesh, held, state), highlight=False, soft_wrap=True)
    for misfit in scale.unapplied_rules(state.params, experiment.sharding_rules, mesh):
        console.print(f"[yellow]warning:[/] {misfit}", highlight=False, soft_wrap=True)
    return sum(held.values())
