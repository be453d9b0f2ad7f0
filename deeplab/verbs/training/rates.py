"""A range test: the loss while a float argument, such as the learning rate, grows from step to step."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deeplab.core import ranges
from deeplab.core.errors import UserError, nearest
from deeplab.core.precision import Scaled
from deeplab.core.printable import Printable
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment, traced_arguments
from deeplab.report import figures
from deeplab.train.initialize import init, with_weights
from deeplab.train.state import State
from deeplab.train.step import make_step
from deeplab.verbs.recipe import Recipe

_PROBED = 65  # positions of a schedule at which its size is looked at
_ROWS = 9


@dataclasses.dataclass(frozen=True, eq=False)
class RateRange(Printable):
    """The loss of each step of a range test.

    Attributes:
      argument: Name of the argument.
      values: Value of the argument at each step, [N], growing by a constant factor.
      losses: Loss of each step, [N]; the test ends where it is no longer finite, or far above the first one.
      smoothed: Losses, each averaged with its neighbors, [N].
      suggested: Value at which the smoothed loss falls fastest; None where it never falls.
    """

    argument: str
    values: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggested: float | None

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        table = Table(self.argument, "loss", box=None)
        for i in np.unique(np.linspace(0, len(self.values) - 1, _ROWS).astype(int)):
            table.add_row(f"{self.values[i]:.2g}", f"{self.smoothed[i]:.4g}")
        told = "the loss never falls in this range; begin lower, or look at the data"
        if self.suggested is not None:
            told = f"suggested {self.argument}: {self.suggested:.2g}, where the loss falls fastest"
        return Group(table, told)

    def _repr_html_(self) -> str:
        lines = [
            figures.Line("", self.values, self.losses, figures.TRAIN, faint=True),
            figures.Line("", self.values, self.smoothed, figures.SERIES[0]),
        ]
        svg = figures.curves(lines, log=False, span="all", x_label=self.argument, log_x=True, counts=False)
        return super()._repr_html_() + svg[svg.index("<svg") :]


@ranges.checked(low=ranges.Range(above=0), high=ranges.Range(above=0), num_steps=ranges.Range(at_least=10, whole=True))
def rate_range(
    experiment: Any,
    low: float = 1e-6,
    high: float = 1.0,
    num_steps: int = 100,
    *,
    argument: str = "learning_rate",
    state: State | None = None,
    seed: int | None = None,
    runtime: Runtime | None = None,
    data_dir: str | Path | None = None,
    smoke: bool | None = None,
) -> RateRange:
    """Trains for a few steps with a growing learning rate, and suggests one; nothing is written, and no state changed.

    Schedules stand still where they are largest, so that the rate that is found is that of the argument: the peak of a
    warm-up and decay. All steps are one compiled program.

    Args:
      experiment: Function of hyper-parameters, or a `functools.partial` of it.
      low: First value.
      high: Last value.
      num_steps: Number of steps.
      argument: Name of the float argument that grows.
      state: State to start from, which stays as it is; the first one of the seed when None.
      seed: Seeds parameter initialization and data order.
      runtime: Precision and accumulation.
      data_dir: Folder with the original files of the data set.
      smoke: Whether to use synthetic data of the right shape.

    Raises:
      UserError: The experiment has no such float argument, or the range is empty.

    Example:
      >>> from experiments.image_digits import experiment
      >>> found = rate_range(experiment, num_steps=20, smoke=True)
      >>> len(found.values) == len(found.losses), found.argument
      (True, 'learning_rate')

    Source: Smith 2017, Cyclical learning rates for training neural networks, https://arxiv.org/abs/1506.01186
    """
    if high <= low:
        raise UserError(f"the range is {low} to {high}, expected a last value above the first one")
    folder = None if data_dir is None else Path(data_dir)
    recipe = Recipe.of(experiment, seed=seed, runtime=runtime, data_dir=folder, smoke=smoke)
    floats = traced_arguments(recipe.function)
    if argument not in floats:
        raise UserError(f"the experiment has no float argument {argument!r}; {nearest(argument, floats)}")
    value, runtime = recipe.experiment(), recipe.runtime
    first = state
    if first is None:
        made = jax.jit(lambda key: init(value, key, runtime))(jax.random.key(recipe.seed))
        first = with_weights(made, value.weights)
    position = _peak(value, first)

    def step(state: State, batch: Any, rate: jax.Array) -> tuple[State, Any]:
        grown = recipe.build(**{**recipe.arguments, argument: rate})
        held = dataclasses.replace(state, opt_state=_at(state.opt_state, position))
        return make_step(grown, runtime)(held, batch)

    program, source = jax.jit(step), value.data.open("train", recipe.data_dir)
    values, losses, now = np.geomspace(low, high, num_steps), [], first
    for i, rate in enumerate(values):
        batch = value.data.train_batch(source, i % value.data.num_steps, recipe.seed)
        now, metrics = program(now, batch, np.float32(rate))
        losses.append(float(jax.device_get(metrics)["loss"].compute()))
        if not losses[-1] <= losses[0] + 3 * abs(losses[0]):  # NaN, too
            break
    return _result(argument, values[: len(losses)], np.array(losses))


def _result(argument: str, values: np.ndarray, losses: np.ndarray) -> RateRange:
    """Suggests the value at which the smoothed loss falls fastest, before its minimum."""
    smoothed = _smoothed(np.where(np.isfinite(losses), losses, np.nanmax(losses[np.isfinite(losses)], initial=0.0)))
    end = int(np.argmin(smoothed))
    slopes = np.gradient(smoothed, np.log(values)) if len(values) > 1 else np.zeros(1)
    steepest = int(np.argmin(slopes[: end + 1]))
    suggested = float(values[steepest]) if end and slopes[steepest] < 0 else None
    return RateRange(argument, values, losses, smoothed, suggested)


def _smoothed(losses: np.ndarray) -> np.ndarray:
    """Means over a tenth of the steps around each; a mean over those before it alone would lag behind."""
    half = max(1, len(losses) // 20)
    padded = np.pad(losses, half, mode="edge")
    return np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")


def _is_schedule(node: Any) -> bool:
    return isinstance(node, optax.ScaleByScheduleState)


def _at(opt_state: Any, position: jax.Array) -> Any:
    """The state of the optimizer with all schedules at a position."""

    def held(node: Any) -> Any:
        return node._replace(count=position.astype(node.count.dtype)) if _is_schedule(node) else node

    return jax.tree.map(held, opt_state, is_leaf=_is_schedule)


def _peak(experiment: Experiment, state: State) -> jax.Array:
    """The step at which the schedules make the largest updates of the same gradient; 0 without schedules."""
    opt_state = state.opt_state.inner if isinstance(state.opt_state, Scaled) else state.opt_state
    if not any(map(_is_schedule, jax.tree.leaves(opt_state, is_leaf=_is_schedule))):
        return jnp.int32(0)
    optimizer = optax.with_extra_args_support(experiment.optimizer)
    grads = jax.tree.map(jnp.ones_like, state.params)
    zero = jnp.float32(0)

    def size(position: jax.Array) -> jax.Array:
        held = _at(opt_state, position)
        updates, _ = optimizer.update(grads, held, state.params, value=zero, grad=grads, value_fn=lambda params: zero)
        return optax.tree.norm(updates)

    positions = np.unique(np.linspace(0, experiment.num_steps - 1, _PROBED).astype(np.int32))
    sizes = jax.jit(lambda x: jax.lax.map(size, x))(positions)
    return jnp.asarray(positions[int(jnp.argmax(sizes))])
