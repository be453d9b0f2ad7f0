"""Classifications that hold for all inputs of a ball: lower bounds of the margins between the label and all else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.core.precision import PRECISIONS, exact
from deeplab.robust.certify.balls import Limits, ball
from deeplab.robust.certify.binomial import interval
from deeplab.robust.certify.linear import taped
from deeplab.robust.certify.tape import Node, least
from deeplab.robust.inputs import classes_within, refuse_labels, refuse_missing, refuse_unbound
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array

Method = Literal["interval", "crown-ibp", "crown"]


@exact
def margins(
    f: Callable[..., Any],
    x: Float[Array, "B ..."],
    label: Int[Array, " B"],
    radius: float | jax.Array,
    *,
    method: Method = "interval",
    limits: Limits = (0.0, 1.0),
    args: Sequence[Any] = (),
) -> Float[Array, "B K"]:
    """Lower bounds of logit_label - logit_k over the ball around each example; 0 at the label itself.

    Where all others are above 0, no input of the ball has another class. The differences are folded into the last
    affine layers, so that what two logits share is kept. It is differentiable, and may be jitted. Products of float32
    are of float32 on every device; see `fast_margins`.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to logits [B, K], that treats each example by itself.
      x: Inputs.
      label: Numbers of classes.
      radius: Radius in units of the input (l-infinity).
      method: "interval"; "crown-ibp", which hands the margins back to the input by lines; or "crown", which does so
        with what goes into every curved function, too, and takes a pass back for each of these numbers.
      limits: Least and greatest value of an input; None without any.
      args: Further inputs of f with a leading axis of examples.

    Raises:
      UserError: The radius is negative, an input is outside of its limits, the model gives no logits [B, K], or the
        labels are no numbers of classes.
      NotImplementedError: A primitive of the model has no bounds.

    Example:
      >>> f = lambda x: x @ jnp.array([[1.0, 0.0], [0.0, 2.0]])
      >>> margins(f, jnp.array([[0.75, 0.25]]), jnp.array([0]), 0.0625).tolist()
      [[0.0, 0.0625]]

    Source: Gowal et al. 2018, https://arxiv.org/abs/1810.12715; Zhang et al. 2020, https://arxiv.org/abs/1906.06316.
    """
    return fast_margins(f, x, label, radius, method=method, limits=limits, args=args)


@ranges.checked(method=ranges.OneOf(Method))
def fast_margins(
    f: Callable[..., Any],
    x: Float[Array, "B ..."],
    label: Int[Array, " B"],
    radius: float | jax.Array,
    *,
    method: Method = "interval",
    limits: Limits = (0.0, 1.0),
    args: Sequence[Any] = (),
) -> Float[Array, "B K"]:
    """`margins` in the products of the device, for training: on a GPU or TPU they prove nothing of what is near 0.

    Example:
      >>> fast_margins(lambda x: x @ jnp.eye(2), jnp.array([[0.75, 0.25]]), jnp.array([0]), 0.125).tolist()
      [[0.0, 0.25]]
    """
    if jnp.shape(label) != (len(x),) or not jnp.issubdtype(jnp.result_type(label), jnp.integer):
        raise UserError(
            f"the labels are {jnp.result_type(label)}{list(jnp.shape(label))} for {len(x)} examples; expected the "
            "number of a class for each: labels that are mixed, or several, are not certified"
        )
    ends, labels = ball(x, radius, limits), label

    def of_one(lower: jax.Array, upper: jax.Array, label: jax.Array, args: Any) -> jax.Array:
        def logits(x: jax.Array) -> jax.Array:
            return one_array(f(x[None], *(arg[None] for arg in args)), 1, "K")[0]

        (out,), _ = taped(logits, lower, upper, tight=method == "crown")
        one = jnp.eye(len(out.lower if isinstance(out, Node) else out))
        classes_within(labels, len(one))
        differences = (one[label][None] - one).astype(jnp.result_type(lower))  # [K, K]
        if not isinstance(out, Node):
            return differences @ out
        found = least(out, differences, lambda node: node.affine)
        return found if method == "interval" else jnp.maximum(found, least(out, differences, lambda _: True))

    return jax.vmap(of_one)(*ends, label, tuple(args))


@dataclasses.dataclass(frozen=True)
class Verified:
    """Errors of a data set.

    Attributes:
      radius: Radius (l-infinity).
      method: Method of the bounds.
      count: Number of examples.
      error: Share of examples that are classified wrongly.
      verified_error: Share of examples that are not proved to be right in their whole ball.
      low: Least share that is likely, of the population of which these examples are a sample, at 95 % confidence.
      high: Greatest likely share.

    Example:
      >>> print(Verified(radius=0.1, method="interval", count=100, error=0.02, verified_error=0.1, low=0.05, high=0.18))
      error 2.00 %, verified error 10.00 % (5.00 to 18.00) at radius 0.1, 100 examples, by interval
    """

    radius: float
    method: str
    count: int
    error: float
    verified_error: float
    low: float
    high: float

    def __str__(self) -> str:
        shares = [f"{100 * share:.2f}" for share in (self.error, self.verified_error, self.low, self.high)]
        return (
            f"error {shares[0]} %, verified error {shares[1]} % ({shares[2]} to {shares[3]}) at radius "
            f"{self.radius:g}, {self.count:,} examples, by {self.method}"
        )


def verified(
    apply: Apply,
    batches: Iterable[Any],
    radius: float,
    *,
    method: Method = "interval",
    fields: Sequence[str] = ("image",),
    limits: Limits = (0.0, 1.0),
) -> Verified:
    """The share of examples that are proved to be classified rightly in their whole ball.

    Args:
      apply: Model with its parameters bound. It computes in float32, whatever it was trained in.
      batches: Batches of inputs before their normalization, with "label" and "weight"; examples of weight 0 do not
        count.
      radius: Radius in units of the input (l-infinity).
      method: Method of the bounds; see `margins`.
      fields: Names of the fields that the model reads, of which the first is in a ball.
      limits: Least and greatest value of an input; None without any.

    Raises:
      UserError: As `margins`, or there is no example.

    Example:
      >>> import deeplab as dl
      >>> from deeplab.train.bind import BoundApply
      >>> model, head = dl.models.MLP(2, ()), {"kernel": jnp.array([[-1.0, 1.0]]), "bias": jnp.array([0.5, -0.5])}
      >>> apply = BoundApply(model, {"head": head}, {}, jnp.arange(2), dl.Runtime().precision)  # or run.bound(2)
      >>> x, ids = jnp.array([[0.9], [0.6]]), jnp.arange(2)
      >>> batch = {"image": x, "label": jnp.array([1, 1]), "id": ids, "weight": jnp.ones(2)}
      >>> found = verified(apply, [batch], radius=0.2)
      >>> found.error, found.verified_error
      (0.0, 0.5)
    """

    @jax.jit
    @exact  # the right answers, too, so that they are those of the network that is bounded
    def count(params: Any, batch: Any) -> jax.Array:
        def f(*inputs: Any) -> Any:
            return wide(*inputs, params=params)[0]

        x, *args = (batch[name] for name in fields)
        label = batch["label"]
        found = margins(f, x, label, radius, method=method, limits=limits, args=args)
        right = jnp.argmax(f(x, *args), axis=-1) == label
        proved = right & jnp.all((found > 0) | (jnp.arange(found.shape[1])[None] == label[:, None]), axis=1)
        counts = batch["weight"] != 0
        return jnp.stack([jnp.sum(counts), jnp.sum(counts & ~right), jnp.sum(counts & ~proved)])

    refuse_unbound(apply)
    wide = apply.rebound(precision=PRECISIONS["f32"])
    ball(np.zeros(0), radius, limits)  # an error of the radius is told before anything is compiled
    found = np.zeros(3, int)
    for batch in batches:
        refuse_missing(batch, (*fields, "label", "weight"))
        ball(batch[fields[0]], radius, limits)
        refuse_labels([batch], jax.eval_shape(lambda inputs: apply(*inputs)[0], [batch[name] for name in fields]))
        found += np.asarray(count(apply.params, {name: batch[name] for name in (*fields, "label", "weight")}))
    total, wrong, unproved = map(int, found)
    if not total:
        raise UserError("there is no example to verify: every batch is empty, or all weights are 0")
    low, high = interval(unproved, total)
    return Verified(float(radius), method, total, wrong / total, unproved / total, float(low), float(high))
