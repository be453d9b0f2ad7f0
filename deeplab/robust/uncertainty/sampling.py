"""Several predictions of one input: dropout that stays on, and members of an ensemble as one program."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.experiment import Experiment
from deeplab.robust.inputs import refuse_unbound
from deeplab.train.feed import make_feed
from deeplab.train.loop import fit
from deeplab.train.members import MemberExecution, Members, make_init, member_mesh
from deeplab.train.state import State


@ranges.checked(samples=ranges.COUNT)
def mc_dropout(apply: Any, *inputs: Any, key: jax.Array, samples: int = 30) -> Float[Array, "S B ..."]:
    """Outputs under several dropout masks, all else as in evaluation: batch norms keep their running statistics.

    The masks are drawn by example: what a batch holds besides an example does not change its outputs.

    Args:
      apply: Model with its parameters bound.
      *inputs: Arguments of the model.
      key: Key of the masks.
      samples: Number of masks.

    Raises:
      UserError: the model is not bound, calls no `nn.Dropout`, or the rate of each is 0.

    Source: Gal and Ghahramani 2016, https://arxiv.org/abs/1506.02142.

    Example:
      >>> from deeplab.core.runtime import Runtime
      >>> from deeplab.train.bind import BoundApply
      >>> class Net(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, x, train=False):
      ...         return nn.Dense(1)(nn.Dropout(0.5, deterministic=not train)(x))
      >>> x = jnp.ones((2, 3))
      >>> params = Net().init(jax.random.key(0), x)["params"]
      >>> apply = BoundApply(Net(), params, {}, jnp.arange(2), Runtime().precision)
      >>> mc_dropout(apply, x, key=jax.random.key(1), samples=5).shape
      (5, 2, 1)
    """
    refuse_unbound(apply)
    rates: list[Any] = []

    def on(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        layer = context.module
        if not isinstance(layer, nn.Dropout) or context.method_name != "__call__":
            return call(*args, **kwargs)
        rates.append(layer.rate)
        own = layer.deterministic
        object.__setattr__(layer, "deterministic", None)  # Flax refuses to be told twice
        try:
            return call(*args[:1], **(kwargs | {"deterministic": False}))
        finally:
            object.__setattr__(layer, "deterministic", own)

    def one(key: jax.Array) -> Any:
        with nn.intercept_methods(on):
            return apply(*inputs, key=key)[0]

    outputs = jax.vmap(one)(jax.random.split(key, samples))
    if not any(not isinstance(rate, (int, float)) or rate > 0 for rate in rates):
        raise UserError(
            f"{type(apply.module).__name__} has no nn.Dropout of a rate above 0, and all samples would be the same; "
            "train it with dropout, or take an ensemble"
        )
    return outputs


def stack(members: Sequence[PyTree]) -> PyTree:
    """States or parameters of runs, stacked along a new first axis [M, ...].

    Args:
      members: Trees of one structure, such as `[dl.load(folder).state for folder in folders]`.

    Raises:
      UserError: there are none, or their arrays differ in shape.

    Example:
      >>> stack([{"w": jnp.zeros(3)}, {"w": jnp.ones(3)}])["w"].shape
      (2, 3)
    """
    shapes = [jax.tree.map(jnp.shape, member) for member in members]
    if not members or any(shape != shapes[0] for shape in shapes):
        raise UserError(f"{len(members)} members, whose arrays must be of the same shapes; give runs of one experiment")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def ensemble(function: Callable[[PyTree], Any], members: PyTree) -> Any:
    """The outputs of all members, [M, ...], as one program.

    Args:
      function: Function of one member's state or parameters, such as
        `lambda state: bind(exp, state, batch, runtime)(batch["image"])[0]`.
      members: Tree of arrays [M, ...], from `stack` or `train_ensemble`.

    Source: Lakshminarayanan, Pritzel and Blundell 2017, https://arxiv.org/abs/1612.01474.

    Example:
      >>> ensemble(lambda w: w * 2, jnp.arange(3.0)).tolist()
      [0.0, 2.0, 4.0]
    """
    return jax.vmap(function)(members)


@ranges.checked(size=ranges.COUNT, seed=ranges.SEED)
def train_ensemble(experiment: Experiment, size: int, seed: int = 0, data_dir: Any = None) -> State:
    """Trains members that differ in their seeds, as one program: the states, [M, ...].

    Each equals the solo run of its seed, up to rounding: the same initial weights and the same order of the examples.

    Args:
      experiment: Experiment.
      size: Number M of members.
      seed: Seed of the first member; the others follow.
      data_dir: Folder with the original files of the data set.

    Raises:
      UserError: a member diverged.

    Example:
      >>> import optax
      >>> import deeplab as dl
      >>> data = dl.data.Images("digits", batch_size=32, num_steps=2)
      >>> exp = dl.Experiment(data, dl.models.MLP(10, ()), dl.tasks.Classification(), optax.sgd(0.1))
      >>> states = train_ensemble(exp, size=3)
      >>> states.step.tolist(), states.params["head"]["kernel"].shape
      ([2, 2, 2], (3, 64, 10))

    Source: Lakshminarayanan, Pritzel and Blundell 2017, https://arxiv.org/abs/1612.01474.
    """
    mesh = member_mesh(jax.devices()[:1], 1)
    seeds = np.arange(seed, seed + size, dtype=np.uint32)
    members = Members(lambda floats: experiment, {}, seeds, MemberExecution(size, mesh, "an ensemble"))
    feed = make_feed(experiment.data, experiment.data.open("train", data_dir), mesh)
    feed = dataclasses.replace(feed, axes=("member",))
    found = fit(experiment, make_init(members)(members), feed, members=members, start=0, log_every=experiment.num_steps)
    assert found.state is not None
    if (late := np.asarray(found.state.step) < found.step).any():
        raise UserError(f"the members of seeds {seeds[late].tolist()} diverged; lower the learning rate")
    return found.state
