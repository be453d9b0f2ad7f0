"""Schedules, masks and parameter groups: what experiments add to Optax.

A schedule is *peak x unit shape*: the shape is a function of the step alone, so that the peak, and every other
float here, may be a tracer. Optax's own `warmup_cosine_decay_schedule` branches on the value of its peak, which a
sweep by `vmap` cannot trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deeplab.core.errors import UserError

Scalar = float | jax.Array
"""A Python float, or a tracer in its place."""

_UNDECAYED = ("bias", "scale")  # Linen's names for offsets and for the gains of normalisations


def constant(peak: Scalar, warmup_steps: Scalar = 0) -> optax.Schedule:
    """Linear warm-up, then `peak` for ever.

    With W the warm-up, the rate at step t is peak * min(1, (t + 1) / (W + 1)). Step 0 already learns: a rate of
    0 there would waste a batch.

    Example:
      >>> rate = constant(1e-3, warmup_steps=3)
      >>> [round(float(rate(t)) * 1e3, 2) for t in (0, 1, 2, 3, 4)]
      [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return lambda step: peak * _warmup(step, warmup_steps)


def warmup_cosine(
    peak: Scalar,
    num_steps: int,
    *,
    warmup_steps: Scalar | None = None,
    warmup_fraction: Scalar = 0.05,
    end: Scalar = 0.0,
) -> optax.Schedule:
    """Linear warm-up, then half a cosine down to `end * peak`.

    With W the warm-up, N the number of steps and p = clip((t - W) / (N - W), 0, 1), the rate at step t is
    peak * min(1, (t + 1) / (W + 1)) * (end + (1 - end) * (1 + cos(pi p)) / 2).

    Args:
      peak: the largest rate, reached after the warm-up.
      num_steps: N; the rate stays at its end value from there on.
      warmup_steps: W; `warmup_fraction * num_steps` when None.
      warmup_fraction: the warm-up as a part of the whole run.
      end: the last rate, as a fraction of the peak.

    Example:
      >>> rate = warmup_cosine(1.0, num_steps=100, warmup_steps=0, end=0.1)
      >>> [round(float(rate(t)), 3) for t in (0, 50, 100, 200)]
      [1.0, 0.55, 0.1, 0.1]

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983; warm-up: Goyal et al. 2017,
      https://arxiv.org/abs/1706.02677.
    """
    warmup = warmup_fraction * num_steps if warmup_steps is None else warmup_steps

    def schedule(step: Any) -> jax.Array:
        cosine = (1 + jnp.cos(jnp.pi * _progress(step, warmup, num_steps))) / 2
        return peak * _warmup(step, warmup) * (end + (1 - end) * cosine)

    return schedule


def warmup_linear(
    peak: Scalar,
    num_steps: int,
    *,
    warmup_steps: Scalar | None = None,
    warmup_fraction: Scalar = 0.05,
    end: Scalar = 0.0,
) -> optax.Schedule:
    """Linear warm-up, then a straight line down to `end * peak`; arguments as for `warmup_cosine`.

    A long warm-up (`warmup_fraction=0.3`) makes it the one-cycle schedule of Smith and Topin 2017,
    https://arxiv.org/abs/1708.07120.

    Example:
      >>> rate = warmup_linear(1.0, num_steps=100, warmup_steps=0)
      >>> [round(float(rate(t)), 3) for t in (0, 50, 75, 100)]
      [1.0, 0.5, 0.25, 0.0]
    """
    warmup = warmup_fraction * num_steps if warmup_steps is None else warmup_steps

    def schedule(step: Any) -> jax.Array:
        line = 1 - _progress(step, warmup, num_steps)
        return peak * _warmup(step, warmup) * (end + (1 - end) * line)

    return schedule


def _warmup(step: Any, warmup: Scalar) -> jax.Array:
    return jnp.minimum(1.0, (step + 1) / (warmup + 1.0))


def _progress(step: Any, warmup: Scalar, num_steps: int) -> jax.Array:
    """The part of the decay that is done, in [0, 1]."""
    return jnp.clip((step - warmup) / jnp.maximum(num_steps - warmup, 1e-6), 0.0, 1.0)


def clip(max_norm: Scalar) -> optax.GradientTransformation:
    """Scales the gradient so that its global norm is at most `max_norm`.

    g <- g * max_norm / max(max_norm, |g|): one product a leaf, in the leaf's own dtype, where
    `optax.clip_by_global_norm` selects, divides and multiplies, and rejects bfloat16 leaves when the norm is traced.

    Example:
      >>> update, _ = clip(1.0).update({"w": jnp.array([3.0, 4.0])}, optax.EmptyState())
      >>> [round(float(x), 2) for x in update["w"]]
      [0.6, 0.8]

    Source: Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factor = max_norm / jnp.maximum(max_norm, optax.tree.norm(updates))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


class Averaged(NamedTuple):
    """State of `averaged`: updates made, the moving average of the parameters, and the inner optimizer's state."""

    count: jax.Array
    average: Any
    inner: Any


def averaged(optimizer: optax.GradientTransformation, decay: Scalar = 0.999) -> optax.GradientTransformation:
    """An optimizer that also keeps a moving average of the parameters: evaluations and `predict` then use that.

    After update t = 1, 2, ... to w_t: a_t = d a_(t-1) + (1 - d) w_t with d = min(decay, t / (t + 9)), so that the
    random beginning is soon forgotten.

    Example:
      >>> tx = averaged(optax.sgd(1.0), decay=0.5)
      >>> state = tx.init({"w": jnp.zeros(())})
      >>> _, state = tx.update({"w": jnp.ones(())}, state, {"w": jnp.zeros(())})
      >>> round(float(average_of(state)["w"]), 2)
      -0.9

    Source: Polyak and Juditsky 1992, https://doi.org/10.1137/0330046; the warm-up is TensorFlow's
      (`tf.train.ExponentialMovingAverage`).
    """

    def init(params: Any) -> Averaged:
        return Averaged(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params), optimizer.init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Averaged]:
        updates, inner = optimizer.update(updates, state.inner, params)
        count = state.count + 1
        kept = jnp.minimum(decay, count / (count + 9))
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, w: (kept * a + (1 - kept) * w).astype(w.dtype), state.average, new)
        return updates, Averaged(count, average, inner)

    return optax.GradientTransformation(init, update)


def average_of(opt_state: Any, otherwise: Any = None) -> Any:
    """The average that `averaged` keeps somewhere in an optimizer's state, or `otherwise`."""
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, Averaged))
    return next((leaf.average for leaf in leaves if isinstance(leaf, Averaged)), otherwise)


def matrices_only(params: Any) -> Any:
    """The usual mask for weight decay: kernels and embeddings, neither biases nor the gains of normalisations.

    Decided by name as well as by rank, because layers stacked by `nn.scan` give biases a second axis.

    Example:
      >>> matrices_only({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3), "scale": jnp.ones((4, 3))})
      {'bias': False, 'kernel': True, 'scale': False}

    Source: Radford et al. 2019 (GPT-2), https://github.com/karpathy/nanoGPT/blob/master/model.py.
    """
    return jax.tree.map_with_path(
        lambda path, leaf: leaf.ndim >= 2 and _name(path).split("/")[-1] not in _UNDECAYED, params
    )


def groups(transforms: Mapping[str, optax.GradientTransformation]) -> optax.GradientTransformation:
    """A transformation per group of parameters: the first regular expression found in a parameter's path decides.

    Paths are written "block_0/attention/qkv/kernel". What is frozen gets `optax.set_to_zero()`.

    Args:
      transforms: pattern to transformation, in order; the last is usually ".*".

    Raises:
      UserError: when a parameter matches no pattern.

    Example:
      >>> tx = groups({"^head/": optax.sgd(1.0), ".*": optax.set_to_zero()})
      >>> params = {"body": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
      >>> update, _ = tx.update(params, tx.init(params), params)
      >>> update["body"]["kernel"].tolist(), update["head"]["kernel"].tolist()
      ([0.0, 0.0], [-1.0, -1.0])
    """

    def label(path: Any, _: Any) -> str:
        name = _name(path)
        for pattern in transforms:
            if re.search(pattern, name):
                return pattern
        raise UserError(f"no group holds the parameter {name}: patterns are {list(transforms)}; end with '.*'")

    return optax.partition({**transforms}, lambda tree: jax.tree.map_with_path(label, tree))


def mask(pattern: str) -> Callable[[Any], Any]:
    """True for parameters whose path holds the regular expression `pattern`: for `optax.masked` and the like.

    Example:
      >>> mask("^head/")({"body": {"bias": 0.0}, "head": {"bias": 0.0}})
      {'body': {'bias': False}, 'head': {'bias': True}}
    """
    return lambda tree: jax.tree.map_with_path(lambda path, _: bool(re.search(pattern, _name(path))), tree)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
