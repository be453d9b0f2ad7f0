"""What the tasks of diffusion and flow share: images in [-1, 1], classes that are told or not, a network of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from deeplab.core.errors import UserError
from deeplab.generate.paths.processes import Field, Network, Process
from deeplab.generate.paths.samplers import guided
from deeplab.generate.record import keys_of, like, normals, refuse_normalized
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.pixels import in_units
from deeplab.tasks.contract.task import Batch, Labels


def centered(image: jax.Array) -> jax.Array:
    """From [0, 1] to [-1, 1]."""
    return 2 * image - 1


def displayed(x: jax.Array) -> jax.Array:
    """From [-1, 1] to [0, 1]."""
    return (x + 1) / 2


def classes_told(
    batch: Batch, keys: jax.Array, num_classes: int | None, untold: float | jax.Array
) -> tuple[Int[Array, " B"], ...]:
    """What a network is told besides the time: the classes, some of which are replaced by K, "not told".

    Args:
      batch: Batch with `label` [B].
      keys: Key of each example.
      num_classes: K; nothing is told when None.
      untold: Probability of telling nothing.
    """
    if num_classes is None:
        return ()
    silent = jax.vmap(lambda k: jax.random.bernoulli(k, untold))(keys)
    return (jnp.where(silent, num_classes, batch["label"]),)


def checked(task: Any, apply: Apply, image: jax.Array) -> jax.Array:
    """The images of a training batch, if they are what the task says.

    Raises:
      UserError: They are no floats, have not the task's shape, or the data normalize them.
    """
    refuse_normalized(apply, task)
    return in_units(image, type(task).__name__, task.shape, slack=None)


def masked(task: Any, known: jax.Array, mask: jax.Array) -> jax.Array:
    """What is known of images in [0, 1], in [-1, 1] and 0 elsewhere, if images and mask are as they should be.

    Raises:
      UserError: The images are not of the task's shape, no floats, or outside [0, 1] where they are known; or the mask
        does not broadcast to them.
    """
    name = type(task).__name__
    try:
        fits = jnp.broadcast_shapes(jnp.shape(mask), jnp.shape(known)) == jnp.shape(known)
    except ValueError:
        fits = False
    if not fits:
        raise UserError(
            f"a mask {list(jnp.shape(mask))} of images {list(jnp.shape(known))} is given to {name}, expected a shape "
            "that broadcasts to theirs: [B, H, W, 1] or theirs, 1 where they are known"
        )
    in_units(known, name, task.shape, slack=None)  # what is not known is not read
    return centered(in_units(jnp.where(jnp.asarray(mask) > 0, known, 0.5), name))


def with_little_noise(task: Any, process: Process, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """What a network reads of an example outside training, as under a probe: (scaled x_t, label of t), as in training.

    A tenth of the times of training are smaller than t, and the noise is the example's own.
    """
    image, ids = in_units(batch["image"], type(task).__name__, slack=None), batch["id"]
    times = jax.vmap(process.draw)(keys_of(jax.random.key(0), jnp.arange(1000)))
    t = jnp.full(len(image), jnp.quantile(times, 0.1))
    noise = normals(keys_of(jax.random.key(0), ids), image.shape[1:], image.dtype)
    noisy, frame = process.noised(centered(image), noise, t), process.frame(t)
    return like(frame.scale, noisy) * noisy, frame.label


def class_labels(num_classes: int | None) -> Mapping[str, Labels]:
    """The labels that a task with so many classes reads."""
    return {} if num_classes is None else {"label": Labels(num_classes, "num_classes of the task")}


def told(condition: Any, count: int, num_classes: int | None) -> tuple[jax.Array, ...]:
    """The classes of a sample as a network reads them; K where None are asked for.

    Raises:
      UserError: Classes are asked for that the task has not, or not one for each example.
    """
    if condition is None:
        return () if num_classes is None else (jnp.full(count, num_classes),)
    if num_classes is None:
        raise UserError("classes are asked for, and the task was told of none; train it with num_classes=")
    condition = condition if hasattr(condition, "dtype") else np.asarray(condition)
    if not jnp.issubdtype(condition.dtype, jnp.integer):
        raise UserError(f"classes are {condition.dtype}, expected [{count}] integers of 0 to {num_classes - 1}")
    known = isinstance(condition, Tracer) or np.isin(condition, np.arange(num_classes)).all()
    if jnp.shape(condition) != (count,) or not known:
        given = f"of shape {list(jnp.shape(condition))}" if known else np.asarray(condition).tolist()
        raise UserError(f"classes {given} are asked for, expected [{count}] of 0 to {num_classes - 1}")
    return (jnp.asarray(condition),)


def network(apply: Apply, *classes: jax.Array) -> Network:
    """The model as a function of (x, time), where the time is that of each example, or one for all."""
    return lambda x, time: apply(x, jnp.broadcast_to(time, (len(x),)), *classes)[0]


def with_guidance(
    field: Callable[[Network], Field],
    apply: Apply,
    count: int,
    condition: Any,
    num_classes: int | None,
    scale: float | jax.Array,
) -> Field:
    """A field of the model, guided towards the classes where they are asked for.

    Args:
      field: Function from a `Network` to a denoiser or a velocity.
      apply: Model.
      count: Number of examples.
      condition: Classes [count], or None.
      num_classes: K, or None.
      scale: Guidance; see `deeplab.generate.guided`.
    """
    asked = field(network(apply, *told(condition, count, num_classes)))
    if condition is None or num_classes is None or (isinstance(scale, float | int) and scale == 1):
        return asked  # with a guidance of 1, the other half of the evaluations would be in vain
    return guided(asked, field(network(apply, *told(None, count, num_classes))), scale)
