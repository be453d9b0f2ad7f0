"""`summary`: layers of a model, shapes, parameters and FLOPs; and on a mesh, the sharding of each parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen import summary as linen_summary

from deeplab import scale
from deeplab.core.printable import Printable
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.scale.table import sentence, sharding_table
from deeplab.train.bind import bind
from deeplab.train.contracts.checked import checked
from deeplab.verbs.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Summary(Printable):
    """Sizes and cost of a model.

    Attributes:
      layers: Table of the layers, as text.
      num_params: Number of parameters.
      flops: FLOPs of the forward pass of one example.
      sharding: Table of the sharding of each parameter; None without a mesh.
      bytes_per_device: Bytes on one device by kind; None without a mesh.
      notes: Description of the sharding, and rules that do not apply.
    """

    layers: str
    num_params: int
    flops: float
    sharding: Any = None
    bytes_per_device: Mapping[str, int] | None = None
    notes: Sequence[str] = ()

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        line = f"{self.num_params:,} parameters; {self.flops:,.0f} FLOPs for the forward pass of one example"
        parts = [Text(self.layers, no_wrap=True), line, *([self.sharding] if self.sharding else ())]
        return Group(*parts, *(Text(note) for note in self.notes))


def summary(experiment: Any, *, runtime: Runtime | None = None) -> Summary:
    """Summarizes the layers of an experiment's model for one example, without training and without reading data.

    Args:
      experiment: Function of hyper-parameters, a `functools.partial` of it, or a `dl.Experiment`.
      runtime: Precision, and the mesh over which parameters are sharded; its devices need not exist.

    Example:
      >>> from experiments.image_digits import experiment
      >>> summary(experiment).num_params > 0
      True
    """
    recipe = Recipe.of(experiment, runtime=runtime)
    value, runtime = recipe.experiment(), recipe.runtime
    state = checked(value, runtime).state
    batch = {name: jnp.zeros((1, *s.shape[1:]), s.dtype) for name, s in value.data.spec().items()}
    table = linen_summary.tabulate(
        value.model, jax.random.key(0), compute_flops=True, console_kwargs={"width": 140, "force_terminal": False}
    )

    def forward(state: Any) -> Any:
        return bind(value, state, batch, runtime)(*value.task.inputs(batch), key=state.key)[0]

    costs = jax.jit(forward).lower(state).cost_analysis() or {}
    made = Summary(
        table(*value.task.inputs(batch)), sum(x.size for x in jax.tree.leaves(state.params)), costs.get("flops", 0.0)
    )
    return made if runtime.mesh == "auto" else _sharded(made, value, state, runtime.mesh)


def _sharded(made: Summary, experiment: Experiment, state: Any, shape: str) -> Summary:
    mesh = scale.abstract_mesh(shape)
    table, held = sharding_table(state, scale.state_shardings(state, experiment.sharding_rules, mesh))
    given = experiment.rules is not None
    unapplied = scale.unapplied_rules(state.params, experiment.sharding_rules, mesh, given=given)
    notes = [sentence(mesh, held, state), *(f"warning: {text}" for text in unapplied)]
    return dataclasses.replace(made, sharding=table, bytes_per_device=held, notes=notes)
