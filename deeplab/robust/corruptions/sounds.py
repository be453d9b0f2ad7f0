"""Corruptions of waveforms: noise, reverberation, clipping and speed, each of a fixed strength.

`(key, x) -> x` of one waveform [T], floats; integers are a UserError. Zeros at its end are padding, which is no part of
it. Those of `deeplab.data.augment.audio` draw their strength.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.data.augment import audio
from deeplab.robust.corruptions.filters import Corruption, refuse_integers

SEVERITIES: dict[str, tuple[float, ...]] = {
    "noise": (30.0, 20.0, 10.0, 5.0, 0.0),
    "reverberation": (0.1, 0.2, 0.4, 0.8, 1.6),
    "clipping": (0.7, 0.5, 0.3, 0.2, 0.1),
    "speed": (1.05, 1.1, 1.2, 1.35, 1.5),
}
"""Signal-to-noise ratio in dB, seconds of reverberation, share of the peak, factor of speed: deeplab's own choice."""


def noise(decibels: float) -> Corruption:
    """Adds white noise at a signal-to-noise ratio; none to the padding.

    Example:
      >>> noisy = jax.jit(noise(0.0))(jax.random.key(0), jnp.append(jnp.ones(1000), jnp.zeros(3000))) - 1.0
      >>> abs(float(jnp.std(noisy[:1000])) - 1) < 0.05, float(noisy[1000:].max())
      (True, -1.0)
    """

    def corrupt(key: jax.Array, x: jax.Array) -> jax.Array:
        refuse_integers(x, "waveform")
        inside = jnp.cumsum(jnp.abs(x)[::-1])[::-1] > 0  # up to the last sample that is not 0
        power = jnp.sum(x**2) / jnp.maximum(jnp.sum(inside), 1) * 10 ** (-decibels / 10)
        return x + jnp.where(inside, jnp.sqrt(power) * jax.random.normal(key, x.shape), 0)

    return corrupt


@ranges.checked(seconds=ranges.POSITIVE, rate=ranges.POSITIVE, direct=ranges.FRACTION)
def reverberation(seconds: float, rate: float = 16000.0, direct: float = 0.5) -> Corruption:
    """Sound in a room: the direct sound, and echoes that are noise which decays by 60 dB in `seconds`.

    The power is unchanged.

    Args:
      seconds: Time of reverberation.
      rate: Sampling rate, in Hz.
      direct: Share of the impulse response's energy that arrives at once.

    Example:
      >>> clap = jnp.zeros(64).at[8].set(1.0)
      >>> heard = jax.jit(reverberation(seconds=0.5, rate=64.0))(jax.random.key(0), clap)
      >>> round(float(heard @ heard), 3), [round(abs(x), 3) for x in heard[:9].tolist()]  # sqrt(0.5) is direct
      (1.0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.707])
    """

    def corrupt(key: jax.Array, x: jax.Array) -> jax.Array:
        refuse_integers(x, "waveform")
        time = jnp.arange(x.shape[0]) / rate
        tail = jax.random.normal(key, x.shape) * 10 ** (-3 * time / seconds)
        tail = tail.at[0].set(0.0)
        response = jnp.sqrt(1 - direct) * tail * jax.lax.rsqrt(jnp.sum(tail**2))
        response = response.at[0].set(jnp.sqrt(direct))
        size = 2 * x.shape[0]
        y = jnp.fft.irfft(jnp.fft.rfft(x, size) * jnp.fft.rfft(response, size), size)[: x.shape[0]]
        return y * jnp.sqrt(jnp.sum(x**2) / jnp.maximum(jnp.sum(y**2), jnp.finfo(x.dtype).tiny))

    return corrupt


@ranges.checked(share=ranges.Range(above=0, at_most=1))
def clipping(share: float) -> Corruption:
    """Cuts the waveform at a share of its peak.

    Example:
      >>> clipping(0.5)(jax.random.key(0), jnp.array([1.0, -4.0, 3.0])).tolist()
      [1.0, -2.0, 2.0]
    """

    def corrupt(key: jax.Array, x: jax.Array) -> jax.Array:
        refuse_integers(x, "waveform")
        most = share * jnp.max(jnp.abs(x))
        return jnp.clip(x, -most, most)

    return corrupt


@ranges.checked(factor=ranges.POSITIVE)
def speed(factor: float) -> Corruption:
    """Plays the waveform faster by a factor, with a higher pitch; silence follows where it has ended.

    Example:
      >>> jax.jit(speed(2.0))(jax.random.key(0), jnp.array([1.0, 2.0, 3.0, 4.0])).tolist()
      [1.0, 3.0, 0.0, 0.0]
    """

    def corrupt(key: jax.Array, x: jax.Array) -> jax.Array:
        refuse_integers(x, "waveform")
        position = jnp.arange(x.shape[0]) * factor
        return jnp.where(position <= x.shape[0] - 1, audio.interpolate(x, position), 0)

    return corrupt


def audible(rate: float = 16000.0) -> dict[str, tuple[Corruption, ...]]:
    """All corruptions of sounds by name, each at severities 1 to 5.

    Args:
      rate: Sampling rate, in Hz.

    Example:
      >>> corruptions = audible(rate=8000.0)
      >>> sorted(corruptions), len(corruptions["noise"])
      (['clipping', 'noise', 'reverberation', 'speed'], 5)
      >>> corruptions["clipping"][-1](jax.random.key(0), jnp.array([10.0, 0.5])).tolist()  # at a tenth of the peak
      [1.0, 0.5]
    """
    made = {"noise": noise, "reverberation": lambda s: reverberation(s, rate), "clipping": clipping, "speed": speed}
    return {name: tuple(made[name](value) for value in values) for name, values in SEVERITIES.items()}
