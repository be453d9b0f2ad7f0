"""`summary`: the layers of a model, their shapes, parameters and FLOPs."""

from __future__ import annotations

from typing import Any

import jax
from flax.linen.summary import tabulate
from rich.console import Console

from deeplab.cli.arguments import Invocation


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Prints the table of layers, for one batch; nothing is trained, and no data are read.

    Returns:
      num_params, flops (of a forward pass of one example).
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
    return {"num_params": num_params, "flops": flops}
