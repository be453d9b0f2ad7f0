"""Evaluation weights: optimizers whose evaluations use other parameters than the gradient does."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from deeplab.core import ranges
from deeplab.optim.groups import merge
from deeplab.optim.schedules import Scalar


class EmaState(NamedTuple):
    """State of `with_ema`.

    Attributes:
      count: Number of updates, int32 scalar.
      average: Moving average of the parameters.
      inner: State of the inner optimizer.

    Example:
      >>> import optax
      >>> state = with_ema(optax.sgd(0.1), 0.99).init({"w": jnp.ones(2)})
      >>> state.average["w"].tolist()
      [1.0, 1.0]
    """

    count: jax.Array
    average: Any
    inner: Any


@ranges.checked(decay=ranges.RATE)
def with_ema(optimizer: optax.GradientTransformation, decay: Scalar = 0.999) -> optax.GradientTransformationExtraArgs:
    """Adds an exponential moving average of the parameters, which evaluations and `predict` use.

    After update t = 1, 2, ... to w_t: a_t = d a_(t-1) + (1 - d) w_t with d = min(decay, t / (t + 9)), so that the
    random initial parameters are soon forgotten.

    Args:
      optimizer: Optimizer whose updates are applied.
      decay: Decay of the average.

    Example:
      >>> tx = with_ema(optax.sgd(1.0), decay=0.5)
      >>> state = tx.init({"w": jnp.zeros(())})
      >>> update, state = tx.update({"w": jnp.ones(())}, state, {"w": jnp.zeros(())})
      >>> float(update["w"]), round(float(eval_params(state, update)["w"]), 2)
      (-1.0, -0.9)

    Source: Polyak and Juditsky 1992, https://doi.org/10.1137/0330046; the warmup of the decay is TensorFlow's
      (`tf.train.ExponentialMovingAverage`).
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> EmaState:
        return EmaState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params), optimizer.init(params))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, EmaState]:
        updates, inner = optimizer.update(updates, state.inner, params, **extra_args)
        count = state.count + 1
        d = jnp.minimum(decay, count / (count + 9))
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, w: (d * a + (1 - d) * w).astype(w.dtype), state.average, new)
        return updates, EmaState(count, average, inner)

    return optax.GradientTransformationExtraArgs(init, update)


class SlowState(NamedTuple):
    """State of `lookahead`.

    Attributes:
      average: Slow parameters.
      inner: State of `optax.lookahead`.

    Example:
      >>> import optax
      >>> state = lookahead(optax.sgd(0.1), 5, 0.5).init({"w": jnp.ones(2)})
      >>> state.average["w"].tolist()
      [1.0, 1.0]
    """

    average: Any
    inner: Any


@ranges.checked(sync_period=ranges.COUNT, slow_step_size=ranges.FRACTION)
def lookahead(
    fast_optimizer: optax.GradientTransformation,
    sync_period: int,
    slow_step_size: Scalar,
    reset_state: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """`optax.lookahead` with the slow parameters in the optimizer's state, so that the model's are the fast ones.

    Evaluations use the slow parameters.

    Args:
      fast_optimizer: Optimizer of the fast parameters.
      sync_period: Number of steps between synchronizations of the fast and the slow parameters.
      slow_step_size: Step size of the slow parameters, in [0, 1].
      reset_state: Whether the fast optimizer's state starts anew after each synchronization.

    Example:
      >>> tx = lookahead(optax.sgd(1.0), sync_period=2, slow_step_size=0.5)
      >>> params = jnp.zeros(())
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     update, state = tx.update(jnp.ones(()), state, params)
      ...     params = params + update
      >>> float(params), float(eval_params(state, params))
      (-2.0, -1.0)

    Source: Zhang et al. 2019, https://arxiv.org/abs/1907.08610.
    """
    fast_optimizer = optax.with_extra_args_support(fast_optimizer)

    def both(**extra_args: Any) -> optax.GradientTransformation:
        update = functools.partial(fast_optimizer.update, **extra_args)
        fast = optax.GradientTransformation(fast_optimizer.init, update)
        return optax.lookahead(fast, sync_period, slow_step_size, reset_state)

    def init(params: Any) -> SlowState:
        slow = jax.tree.map(jnp.copy, params)
        return SlowState(slow, both().init(optax.LookaheadParams(params, slow)))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, SlowState]:
        pair = optax.LookaheadParams(params, state.average)
        updates, inner = both(**extra_args).update(updates, state.inner, pair)
        return updates.fast, SlowState(optax.apply_updates(state.average, updates.slow), inner)

    return optax.GradientTransformationExtraArgs(init, update)


NAMES: dict[type, str] = {
    EmaState: "dl.optim.with_ema",
    SlowState: "dl.optim.lookahead",
    optax.contrib.ScheduleFreeState: "optax.contrib.schedule_free",
    optax.contrib.SAMState: "optax.contrib.sam",
}
"""The states that hold evaluation weights, and the transformation of each."""


def eval_params(opt_state: Any, params: Any) -> Any:
    """The parameters that evaluations use: the optimizer's evaluation weights, where it has any.

    These are the average of `with_ema`, the slow parameters of `lookahead`, the x sequence of
    `optax.contrib.schedule_free` and the unperturbed parameters of `optax.contrib.sam`. In `groups` and `optax.masked`
    each holds for its group; the other parameters are returned as they are.

    Args:
      opt_state: State of an optimizer that `check_optimizer` accepts.
      params: Current parameters.

    Example:
      >>> tx = optax.contrib.schedule_free_sgd(1.0)
      >>> params = jnp.ones(())
      >>> update, state = tx.update(params, tx.init(params), params)
      >>> float(eval_params(state, params + update))
      0.0
    """

    def is_evaluated(x: Any) -> bool:
        return isinstance(x, tuple(NAMES))

    for state in filter(is_evaluated, jax.tree.leaves(opt_state, is_leaf=is_evaluated)):
        params = _overlaid(state, params)
    return params


def _overlaid(state: Any, params: Any) -> Any:
    """The parameters, with the evaluation weights of one transformation in place of those that it updates."""
    if isinstance(state, EmaState | SlowState):
        return merge(state.average, params)
    if isinstance(state, optax.contrib.SAMState):
        if state.cache is None:  # the opaque mode: parameters are never perturbed between steps
            return params
        return merge(state.cache, params, lambda c, p: jnp.where(state.steps_since_sync == 0, p, c))
    b1 = state.b1
    return merge(state.z, params, lambda z, y: ((y - (1 - b1) * z) / b1).astype(y.dtype))
