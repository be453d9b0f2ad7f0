"""Learning-rate schedules.

A schedule is *peak x unit shape*. The shape is a function of the step alone, so that the peak, and every other float
here, may be a tracer. Optax's own `warmup_cosine_decay_schedule` branches on the value of its peak, which a sweep by
`vmap` cannot trace.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from deeplab.core import ranges

Scalar = float | jax.Array
"""A Python float, or a tracer in its place."""


@ranges.checked(peak=ranges.NATURAL, warmup_steps=ranges.NATURAL)
def constant(peak: Scalar, warmup_steps: Scalar = 0) -> optax.Schedule:
    """Linear warmup, then constant.

    With W the warmup, the rate at step t is peak * min(1, (t + 1) / (W + 1)). The rate at step 0 is not 0, which would
    waste a batch.

    Args:
      peak: Learning rate after the warmup.
      warmup_steps: Number of warmup steps W.

    Example:
      >>> rate = constant(1e-3, warmup_steps=3)
      >>> [round(float(rate(t)) * 1e3, 2) for t in (0, 1, 2, 3, 4)]
      [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return lambda step: peak * _warmup(step, warmup_steps)


@ranges.checked(
    peak=ranges.NATURAL,
    num_steps=ranges.COUNT,
    warmup_steps=ranges.NATURAL,
    warmup_fraction=ranges.FRACTION,
    end=ranges.NATURAL,
)
def warmup_cosine(
    peak: Scalar,
    num_steps: int,
    *,
    warmup_steps: Scalar | None = None,
    warmup_fraction: Scalar = 0.05,
    end: Scalar = 0.0,
) -> optax.Schedule:
    """Linear warmup, then cosine decay to `end * peak`.

    With W the warmup, N the number of steps and p = clip((t - W) / (N - W), 0, 1), the rate at step t is
    peak * min(1, (t + 1) / (W + 1)) * (end + (1 - end) * (1 + cos(pi p)) / 2).

    Args:
      peak: Largest learning rate, reached after the warmup.
      num_steps: Number of steps N. The rate is constant afterwards.
      warmup_steps: Number of warmup steps W. None means `warmup_fraction * num_steps`.
      warmup_fraction: Length of the warmup as a fraction of the run.
      end: Final learning rate as a fraction of the peak.

    Example:
      >>> rate = warmup_cosine(1.0, num_steps=100, warmup_steps=0, end=0.1)
      >>> [round(float(rate(t)), 3) for t in (0, 50, 100, 200)]
      [1.0, 0.55, 0.1, 0.1]

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983; warmup: Goyal et al. 2017,
      https://arxiv.org/abs/1706.02677.
    """
    warmup = warmup_fraction * num_steps if warmup_steps is None else warmup_steps

    def schedule(step: Any) -> jax.Array:
        cosine = (1 + jnp.cos(jnp.pi * _progress(step, warmup, num_steps))) / 2
        return peak * _warmup(step, warmup) * (end + (1 - end) * cosine)

    return schedule


@ranges.checked(
    peak=ranges.NATURAL,
    num_steps=ranges.COUNT,
    warmup_steps=ranges.NATURAL,
    warmup_fraction=ranges.FRACTION,
    end=ranges.NATURAL,
)
def warmup_linear(
    peak: Scalar,
    num_steps: int,
    *,
    warmup_steps: Scalar | None = None,
    warmup_fraction: Scalar = 0.05,
    end: Scalar = 0.0,
) -> optax.Schedule:
    """Linear warmup, then linear decay to `end * peak`.

    A long warmup (`warmup_fraction=0.3`) gives the one-cycle schedule.

    Args:
      peak: Largest learning rate, reached after the warmup.
      num_steps: Number of steps. The rate is constant afterwards.
      warmup_steps: Number of warmup steps. None means `warmup_fraction * num_steps`.
      warmup_fraction: Length of the warmup as a fraction of the run.
      end: Final learning rate as a fraction of the peak.

    Example:
      >>> rate = warmup_linear(1.0, num_steps=100, warmup_steps=0)
      >>> [round(float(rate(t)), 3) for t in (0, 50, 75, 100)]
      [1.0, 0.5, 0.25, 0.0]

    Source: Smith and Topin 2017, https://arxiv.org/abs/1708.07120.
    """
    warmup = warmup_fraction * num_steps if warmup_steps is None else warmup_steps

    def schedule(step: Any) -> jax.Array:
        line = 1 - _progress(step, warmup, num_steps)
        return peak * _warmup(step, warmup) * (end + (1 - end) * line)

    return schedule


def _warmup(step: Any, warmup: Scalar) -> jax.Array:
    return jnp.minimum(1.0, (step + 1) / (warmup + 1.0))


def _progress(step: Any, warmup: Scalar, num_steps: int) -> jax.Array:
    """Completed fraction of the decay, in [0, 1]."""
    return jnp.clip((step - warmup) / jnp.maximum(num_steps - warmup, 1e-6), 0.0, 1.0)
