"""Rotary wavelengths for contexts longer than those of the first training: records of one protocol."""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Length = int | jax.Array
"""Number of positions of a sequence, or of its cache."""


class Scaling(Protocol):
    """A change of the rates (radians per position) of d / 2 pairs, and a factor of cosines and sines.

    The number of positions that a sequence has, or that its cache can hold, is given beside the rates.

    Example:
      >>> from deeplab.nn.attention.rotary import Rotary
      >>> x, slow = jnp.arange(24.0).reshape(1, 1, 3, 8), LinearScaling(2.0)
      >>> bool((Rotary(8, scaling=slow)(x, jnp.array([0, 2, 4])) == Rotary(8)(x, jnp.arange(3))).all())
      True
    """

    @property
    def amplitude(self) -> float: ...

    def rates(self, rates: Float[Array, " d/2"], base: float, length: Length) -> Float[Array, " d/2"]: ...


@dataclasses.dataclass(frozen=True)
class LinearScaling:
    """All positions divided by `factor` (Chen et al. 2023, https://arxiv.org/abs/2306.15595).

    Example:
      >>> LinearScaling(4.0).rates(jnp.array([1.0, 0.5]), 10_000.0, 8).tolist()
      [0.25, 0.125]
    """

    factor: float
    amplitude: float = 1.0

    def rates(self, rates: Float[Array, " d/2"], base: float, length: Length) -> Float[Array, " d/2"]:
        del base, length
        return rates / self.factor


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
    """Long waves are made longer by `factor`, short ones stay, those between change smoothly.

    Args:
      factor: Factor of the long wavelengths.
      low: `original` / low is the length beyond which a wave is long.
      high: `original` / high is the length below which a wave is short.
      original: Context of the first training.

    Example:
      >>> scaling = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192)
      >>> scaling.rates(jnp.array([1.0, 1e-4]), 5e5, 8).tolist() == [1.0, jnp.float32(1e-4 / 8).item()]
      True

    Source: Llama Team 2024, https://arxiv.org/abs/2407.21783; the form is that of their code.
    """

    factor: float
    low: float
    high: float
    original: int
    amplitude: float = 1.0

    def rates(self, rates: Float[Array, " d/2"], base: float, length: Length) -> Float[Array, " d/2"]:
        del base, length
        waves = self.original * rates / (2 * math.pi)  # within the first context
        kept = jnp.clip((waves - self.low) / (self.high - self.low), 0.0, 1.0)
        return rates * (kept + (1 - kept) / self.factor)


@dataclasses.dataclass(frozen=True)
class YarnScaling:
    """Pairs that turn often within the first context keep their rates, those that hardly turn are slowed by `factor`.

    Args:
      factor: Divisor of the slow pairs' rates.
      original: Context of the first training.
      fast: Number of turns within it from which on a rate stays.
      slow: Number of turns within it up to which a rate is divided.
      amplitude: Factor of cosines and sines.
      whole: Whether the bounds between fast and slow pairs are rounded to whole pairs.

    Example:
      >>> YarnScaling(factor=4.0, original=64).rates(jnp.array([1.0, 0.01]), 10_000.0, 8).tolist()
      [1.0, 0.0024999999441206455]

    Source: Peng et al. 2023, https://arxiv.org/abs/2309.00071.
    """

    factor: float
    original: int
    fast: float = 32.0
    slow: float = 1.0
    amplitude: float = 1.0
    whole: bool = True

    def rates(self, rates: Float[Array, " d/2"], base: float, length: Length) -> Float[Array, " d/2"]:
        del length
        dim = 2 * len(rates)

        def pair_of(turns: float) -> float:
            return dim * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(base))

        low, high = pair_of(self.fast), pair_of(self.slow)
        if self.whole:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        slowed = jnp.clip((jnp.arange(len(rates)) - low) / max(high - low, 0.001), 0.0, 1.0)
        return rates / self.factor * slowed + rates * (1 - slowed)


@dataclasses.dataclass(frozen=True)
class LongScaling:
    """A divisor of each pair's rate: `short` within the context of the first training, `long` for longer sequences.

    The longest sequence of a batch decides. With a cache, its length does, so that the keys in it turn as all others.

    Args:
      short: Divisors [d / 2] of the rates of short sequences.
      long: Divisors [d / 2] of the rates of long ones.
      original: Context of the first training.
      amplitude: Factor of cosines and sines; see `long_amplitude`.

    Example:
      >>> scaling = LongScaling(short=(1.0, 2.0), long=(4.0, 8.0), original=64)
      >>> [scaling.rates(jnp.array([1.0, 0.5]), 10_000.0, length).tolist() for length in (64, 65)]
      [[1.0, 0.25], [0.25, 0.0625]]

    Source: Ding et al. 2024, "LongRoPE", https://arxiv.org/abs/2402.13753; the form is that of Phi 3's code.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int
    amplitude: float = 1.0

    def rates(self, rates: Float[Array, " d/2"], base: float, length: Length) -> Float[Array, " d/2"]:
        del base
        return rates / jnp.where(length > self.original, jnp.array(self.long), jnp.array(self.short))


def long_amplitude(factor: float, original: int) -> float:
    """sqrt(1 + ln(factor) / ln(original)), for contexts that are `factor` times as long (Abdin et al. 2024).

    Example:
      >>> long_amplitude(1.0, original=4096), long_amplitude(4096**2, original=4096) == 3**0.5
      (1.0, True)
    """
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))


def yarn_amplitude(factor: float, weight: float = 1.0) -> float:
    """0.1 w ln(factor) + 1, by which Peng et al. make scores larger where contexts become longer.

    Example:
      >>> yarn_amplitude(1.0), round(yarn_amplitude(32.0), 2), yarn_amplitude(32.0, weight=0.0)
      (1.0, 1.35, 1.0)
    """
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0
