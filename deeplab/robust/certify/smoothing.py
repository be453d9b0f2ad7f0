"""Randomized smoothing: the class that a model says most often under Gaussian noise, and how far that is certain.

Cohen, Rosenfeld and Kolter 2019, "Certified adversarial robustness via randomized smoothing",
https://arxiv.org/abs/1902.02918.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.certify.binomial import lower_bound
from deeplab.robust.certify.curves import Smoothed, joined, record_of
from deeplab.robust.inputs import refuse_missing, refuse_unbound
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array

_SETTINGS = {
    "deviation": ranges.POSITIVE, "draws": ranges.COUNT, "selection": ranges.COUNT, "chunk": ranges.COUNT,
    "alpha": ranges.Range(above=0, below=1),
}  # fmt: skip
_DROWNED = 4  # deviations of 1 are the largest in use for images in [0, 1]


@ranges.checked(**{name: _SETTINGS[name] for name in ("deviation", "draws", "chunk")})
def votes(
    f: Callable[..., Any],
    x: Float[Array, "B ..."],
    ids: Int[Array, " B"],
    key: jax.Array,
    *,
    deviation: float | jax.Array,
    draws: int,
    chunk: int = 32,
    args: Sequence[Any] = (),
) -> Int[Array, "B K"]:
    """How often a model says each class under Gaussian noise; a scan, in the memory of one chunk.

    Noise is keyed by example and draw, so neither the batch nor the chunk changes it.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to logits [B, K].
      x: Inputs.
      ids: Numbers of the examples.
      key: Key of the noise.
      deviation: Standard deviation of the noise, in units of the input.
      draws: Number of noisy copies of each example.
      chunk: Number of copies at a time.
      args: Further inputs of f with a leading axis of examples.

    Raises:
      UserError: A number is out of its range, the input is not floating-point, or the model gives no logits [B, K].

    Example:
      >>> sign = lambda x: jnp.concatenate([0.5 - x, x - 0.5], axis=1)
      >>> votes(sign, jnp.array([[0.9]]), jnp.arange(1), jax.random.key(0), deviation=0.1, draws=10).tolist()
      [[0, 10]]
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise UserError(f"the input is of {x.dtype}, which noise does not fit; smooth a model of real numbers")
    keys, B, chunk = jax.vmap(jax.random.fold_in, (None, 0))(key, ids), len(x), min(chunk, draws)

    def one(key: jax.Array, x: jax.Array, draw: jax.Array) -> jax.Array:
        return x + deviation * jax.random.normal(jax.random.fold_in(key, draw), x.shape, x.dtype)

    def some(first: jax.Array) -> jax.Array:
        places = first + jnp.arange(chunk)
        noisy = jax.vmap(jax.vmap(one, (0, 0, None)), (None, None, 0))(keys, x, places)  # [chunk, B, ...]
        copies = [jnp.tile(arg, (chunk, *[1] * (arg.ndim - 1))) for arg in args]
        logits = one_array(f(noisy.reshape(-1, *x.shape[1:]), *copies), chunk * B, "K")
        if logits.shape[-1] < 2:
            raise UserError(
                "the model gives one output, expected a logit for each of two classes or more: without probabilities "
                "of classes there is nothing to vote for"
            )
        voted = jnp.where(jnp.any(jnp.isnan(logits), axis=-1), -1, jnp.argmax(logits, axis=-1))  # NaN says no class
        said = jax.nn.one_hot(voted, logits.shape[-1], dtype=jnp.int32)
        return jnp.sum(said.reshape(chunk, B, -1) * (places < draws)[:, None, None].astype(jnp.int32), axis=0)

    zeros = jax.eval_shape(some, jnp.zeros((), jnp.int32))
    firsts = jnp.arange(0, draws, chunk, dtype=jnp.int32)
    return jax.lax.scan(lambda sums, i: (sums + some(i), None), jnp.zeros(zeros.shape, jnp.int32), firsts)[0]


@ranges.checked(**_SETTINGS)
def smoothed(
    apply: Apply,
    batches: Iterable[Any],
    key: jax.Array,
    *,
    deviation: float,
    selection: int = 100,
    draws: int = 10_000,
    alpha: float = 0.001,
    chunk: int = 32,
    fields: Sequence[str] = ("image",),
) -> Smoothed:
    """The smoothed classifier's classes with their radii: R = deviation Phi^-1(p), p a lower bound of the probability.

    A few draws choose the class, and others bound its probability (Clopper and Pearson); where that is not above 1/2,
    it abstains. Each radius is right with probability 1 - alpha.

    Args:
      apply: Model with its parameters bound; its first input is smoothed before the normalization.
      batches: Batches of inputs with "id" and "weight"; examples of weight 0 are left out.
      key: Key of the noise.
      deviation: Standard deviation of the noise, in units of the input.
      selection: Number of draws that choose the class.
      draws: Number of draws that bound its probability; no radius is above that of all of them saying the same.
      alpha: Probability that a radius is too large.
      chunk: Number of copies of a batch at a time.
      fields: Names of the fields that the model reads, of which the first is smoothed.

    Raises:
      UserError: A number is out of its range, the noise drowns the input, the input is not floating-point, or the model
        gives no logits [B, K].

    Example:
      >>> import deeplab as dl
      >>> from deeplab.train.bind import BoundApply
      >>> model, head = dl.models.MLP(2, ()), {"kernel": jnp.array([[-1.0, 1.0]]), "bias": jnp.array([0.5, -0.5])}
      >>> apply = BoundApply(model, {"head": head}, {}, jnp.arange(2), dl.Runtime().precision)  # or run.bound(2)
      >>> x, ids = jnp.array([[0.9], [0.6]]), jnp.arange(2)
      >>> batch = {"image": x, "label": jnp.array([1, 1]), "id": ids, "weight": jnp.ones(2)}
      >>> said = smoothed(apply, [batch], jax.random.key(0), deviation=0.1, draws=1000)
      >>> said.prediction.tolist(), said.radius.round(1).tolist()
      ([1, 1], [0.2, 0.1])
    """
    from scipy import special  # a part of what JAX needs, which takes long to import

    first, second = jax.random.split(key)
    count = _counter(apply, deviation, chunk, fields)
    found = []
    for batch in batches:
        chosen = np.argmax(count(batch, first, selection), axis=1)
        agree = np.take_along_axis(count(batch, second, draws), chosen[:, None], axis=1)[:, 0]
        p = lower_bound(agree, draws, alpha)
        radius = deviation * special.ndtri(np.maximum(p, 0.5))
        found.append(record_of(batch, chosen, p > 0.5, radius, p))
    return joined(found)


@ranges.checked(**{name: _SETTINGS[name] for name in ("deviation", "draws", "chunk", "alpha")})
def smoothed_predictions(
    apply: Apply,
    batches: Iterable[Any],
    key: jax.Array,
    *,
    deviation: float,
    draws: int = 1_000,
    alpha: float = 0.001,
    chunk: int = 32,
    fields: Sequence[str] = ("image",),
) -> Smoothed:
    """The smoothed classifier's classes without radii: it abstains where the two first classes may be equally likely.

    Args:
      apply: Model with its parameters bound; its first input is smoothed before the normalization.
      batches: Batches of inputs with "id" and "weight"; examples of weight 0 are left out.
      key: Key of the noise.
      deviation: Standard deviation of the noise, in units of the input.
      draws: Number of draws.
      alpha: Probability that a class is not that of the smoothed classifier, by a two-sided binomial test.
      chunk: Number of copies of a batch at a time.
      fields: Names of the fields that the model reads, of which the first is smoothed.

    Raises:
      UserError: A number is out of its range, the noise drowns the input, the input is not floating-point, or the model
        gives no logits [B, K].

    Example:
      >>> import deeplab as dl
      >>> from deeplab.train.bind import BoundApply
      >>> model, head = dl.models.MLP(2, ()), {"kernel": jnp.array([[-1.0, 1.0]]), "bias": jnp.array([0.5, -0.5])}
      >>> apply = BoundApply(model, {"head": head}, {}, jnp.arange(2), dl.Runtime().precision)  # or run.bound(2)
      >>> x, ids = jnp.array([[0.9], [0.6]]), jnp.arange(2)
      >>> batch = {"image": x, "label": jnp.array([1, 1]), "id": ids, "weight": jnp.ones(2)}
      >>> smoothed_predictions(apply, [batch], jax.random.key(0), deviation=0.1, draws=100).prediction.tolist()
      [1, 1]
    """
    from scipy import special  # a part of what JAX needs, which takes long to import

    count = _counter(apply, deviation, chunk, fields)
    found = []
    for batch in batches:
        counts = count(batch, key, draws)
        best, other = np.sort(counts, axis=1)[:, :-3:-1].T
        p = np.minimum(1, 2 * special.betainc(best, other + 1, 0.5))  # of as many heads or more, twice
        bound = lower_bound(np.max(counts, axis=1), draws, alpha)
        found.append(record_of(batch, np.argmax(counts, axis=1), p <= alpha, np.zeros(len(p)), bound))
    return joined(found)


def _counter(apply: Apply, deviation: float, chunk: int, fields: Sequence[str]) -> Callable[..., np.ndarray]:
    def count(params: Any, inputs: Sequence[Any], ids: Any, key: jax.Array, draws: int) -> jax.Array:
        def f(*inputs: Any) -> Any:
            return apply(*inputs, params=params)[0]

        x, *args = inputs
        return votes(f, jnp.asarray(x), ids, key, deviation=deviation, draws=draws, chunk=chunk, args=args)

    refuse_unbound(apply)
    run = jax.jit(count, static_argnums=4)

    def counts(batch: Any, key: jax.Array, draws: int) -> np.ndarray:
        refuse_missing(batch, (*fields, "id", "weight"))
        inputs = [batch[name] for name in fields]
        _refuse_bytes(deviation, inputs[0])
        return np.asarray(run(apply.params, inputs, batch["id"], key, draws))

    return counts


def _refuse_bytes(deviation: float, x: Any) -> None:
    """Refuses noise that drowns the inputs, as where its deviation counts bytes and they are in [0, 1]."""
    largest = float(np.max(np.abs(np.asarray(x, np.float64)), initial=0.0))
    if deviation > _DROWNED * largest > 0:
        raise UserError(
            f"deviation={deviation:g} drowns the inputs, which are up to {largest:.3g}; it is in their units: give "
            f"{deviation:g} / 255 where it counts bytes"
        )
