"""What an attack raises, and when it has succeeded, read from the outputs of the model.

B examples, K classes, logits z, labels y.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from deeplab.core.errors import UserError
from deeplab.robust.inputs import classes_within

Batch = dict[str, Any]


class Objective(NamedTuple):
    """What an attack raises.

    Attributes:
      value: Function `value(outputs, batch)` to one number for each example, [B].
      fooled: Function `fooled(outputs, batch)`: whether the attack on an example has succeeded, [B].

    Example:
      >>> from deeplab.robust.attacks import CROSS_ENTROPY
      >>> CROSS_ENTROPY.fooled(jnp.array([[2.0, 0.0], [0.0, 2.0]]), {"label": jnp.array([0, 0])}).tolist()
      [False, True]
    """

    value: Callable[[Any, Batch], Float[Array, " B"]]
    fooled: Callable[[Any, Batch], Bool[Array, " B"]]


class Scores(Protocol):
    """A task with a score of each example, such as those of `deeplab.tasks`."""

    def score(self, outputs: Any, batch: Batch, target: Any = None) -> jax.Array: ...


def classes(outputs: Any, batch: Batch) -> tuple[Float[Array, "B K"], Int[Array, " B"]]:
    """Logits and labels.

    Raises:
      UserError: the outputs are no logits of two classes or more, there is no label of each example, or it is no
        class of the model.
    """
    shape = getattr(outputs, "shape", ())
    if len(shape) != 2 or shape[1] < 2 or not jnp.issubdtype(outputs.dtype, jnp.floating):
        told = f"one array {list(shape)}" if shape else f"a {type(outputs).__name__}"
        raise UserError(
            f"the model returns {told}, which gives no probability of a class; expected logits [B, K] of K >= 2 "
            "classes; for another task give objective=attacks.lowered(task)"
        )
    label = batch.get("label")
    if label is None or np.ndim(label) not in (1, 2) or len(label) != shape[0]:
        raise UserError(
            f"the batch has the fields {sorted(batch)}, and no 'label' of each of its {shape[0]} examples; give one, "
            "or objective=attacks.lowered(task)"
        )
    return outputs, jnp.argmax(label, axis=-1) if np.ndim(label) == 2 else classes_within(jnp.asarray(label), shape[1])


def misclassified(outputs: Any, batch: Batch) -> Bool[Array, " B"]:
    """Whether the largest logit is not the label's; of NaN, which is no success, it is not told.

    Example:
      >>> misclassified(jnp.array([[2.0, 0.0], [0.0, 2.0]]), {"label": jnp.array([0, 0])}).tolist()
      [False, True]
    """
    logits, label = classes(outputs, batch)
    return (jnp.argmax(logits, axis=-1) != label) & ~undefined(logits)


def undefined(outputs: Any) -> Bool[Array, " B"]:
    """Whether there is a NaN among the outputs of an example, which is then not right before an attack either.

    Example:
      >>> undefined(jnp.array([[0.0, -jnp.inf], [0.0, jnp.nan]])).tolist()
      [False, True]
    """
    found = [jnp.any(jnp.isnan(x.reshape(len(x), -1)), axis=1) for x in jax.tree.leaves(outputs)]
    return jnp.any(jnp.stack(found), axis=0)


def cross_entropy_of(logits: Float[Array, "B K"], label: Int[Array, " B"]) -> Float[Array, " B"]:
    """-log softmax(z)_y."""
    return jax.nn.logsumexp(logits, axis=-1) - _at(logits, label)


def margin_of(logits: Float[Array, "B K"], label: Int[Array, " B"]) -> Float[Array, " B"]:
    """max_{k != y} z_k - z_y: positive if and only if another class is larger."""
    own = jnp.arange(logits.shape[-1])[None] == label[:, None]
    return jnp.max(jnp.where(own, -jnp.inf, logits), axis=-1) - _at(logits, label)


def dlr_of(logits: Float[Array, "B K"], label: Int[Array, " B"]) -> Float[Array, " B"]:
    """-(z_y - max_{k != y} z_k) / (z_(1) - z_(3)), with the logits in descending order z_(1), z_(2), ...

    The difference of logits ratio (Croce and Hein 2020, https://arxiv.org/abs/2003.01690) changes neither with a shift
    nor with a scale of the logits.

    Example:
      >>> dlr_of(jnp.array([[4.0, 3.0, 2.0, 0.0]]), jnp.array([0])).tolist()
      [-0.5]
    """
    top = jax.lax.top_k(logits, _needed(logits, 3, "DLR"))[0]
    return margin_of(logits, label) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr_of(
    logits: Float[Array, "B K"], label: Int[Array, " B"], target: Int[Array, " B"]
) -> Float[Array, " B"]:
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), towards the class t.

    Example:
      >>> targeted_dlr_of(jnp.array([[4.0, 3.0, 2.0, 2.0]]), jnp.array([0]), jnp.array([1])).tolist()
      [-0.5]
    """
    top = jax.lax.top_k(logits, _needed(logits, 4, "targeted DLR"))[0]
    return (_at(logits, target) - _at(logits, label)) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12)


def towards(target: int | Int[Array, " B"]) -> Objective:
    """Attacks that want one class rather than any wrong one.

    Args:
      target: Class that the model should predict, or one for each example.

    Example:
      >>> objective = towards(7)
      >>> objective.fooled(9.0 * jnp.eye(10)[jnp.array([7, 3])], {"label": jnp.array([1, 1])}).tolist()
      [True, False]
    """

    def wanted(logits: Array) -> Array:
        # An array of NumPy is looked at under a trace, too; one of JAX made there would be a tracer.
        given = target if isinstance(target, jax.Array) else np.asarray(target)
        return jnp.broadcast_to(classes_within(given, logits.shape[-1], "target"), (len(logits),))

    def value(outputs: Any, batch: Batch) -> Array:
        logits, _ = classes(outputs, batch)
        return -cross_entropy_of(logits, wanted(logits))

    def fooled(outputs: Any, batch: Batch) -> Array:
        logits, _ = classes(outputs, batch)
        return jnp.argmax(logits, axis=-1) == wanted(logits)

    return Objective(value, fooled)


def lowered(task: Scores, below: float | None = None) -> Objective:
    """Attacks that lower the score that a task gives to what is right, of any task that has one.

    Args:
      task: Task with a score.
      below: Score under which an attack has succeeded; none ever has when None.

    Example:
      >>> from deeplab.tasks import Classification
      >>> objective = lowered(Classification(), below=0.0)
      >>> batch = {"label": jnp.array([0, 1])}
      >>> objective.fooled(jnp.array([[2.0, -1.0], [2.0, -1.0]]), batch).tolist()
      [False, True]
    """

    def fooled(outputs: Any, batch: Batch) -> Array:
        score = task.score(outputs, batch)
        return jnp.zeros(score.shape, bool) if below is None else score < below

    return Objective(lambda outputs, batch: -task.score(outputs, batch), fooled)


def _at(logits: Array, label: Array) -> Array:
    return jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]


def _needed(logits: Array, count: int, name: str) -> int:
    if logits.shape[-1] < count:
        raise UserError(
            f"the {name} objective needs {count} classes or more, and the model has {logits.shape[-1]}; give "
            "objective=attacks.CROSS_ENTROPY or attacks.MARGIN"
        )
    return count


def _of_logits(value: Callable[[Array, Array], Array]) -> Objective:
    return Objective(lambda outputs, batch: value(*classes(outputs, batch)), misclassified)


CROSS_ENTROPY = _of_logits(cross_entropy_of)
"""The cross-entropy of the label."""

MARGIN = _of_logits(margin_of)
"""How much larger the best other class is."""

DLR = _of_logits(dlr_of)
"""The difference of logits ratio, whatever the scale of the logits."""
