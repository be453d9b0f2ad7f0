"""Augmentations of audio: pure, keyed functions of one example, for use in `prepare`.

On waveforms, `(key, x, length) -> (x, length)`: x is [T] floats, 0 from `length` on. On features,
`(key, x, frames) -> x`: x is [F, M], standardized, so that 0 is its mean. Strengths are floats that may be tracers.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from deeplab.core import ranges

Float = float | jax.Array
OfWaveform = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
OfFeatures = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def chain(*augments: OfWaveform) -> OfWaveform:
    """Applies augmentations one after another, each with a key of its own.

    Example:
      >>> x, length = chain(speed(0.1), noise(10.0, 30.0))(jax.random.key(0), jnp.ones(80), jnp.int32(60))
      >>> x.shape
      (80,)
    """

    def augment(key: jax.Array, x: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        for number, each in enumerate(augments):
            x, length = each(jax.random.fold_in(key, number), x, length)
        return x, length

    return augment


@ranges.checked(decibels=ranges.NATURAL)
def gain(decibels: Float) -> OfWaveform:
    """Changes the volume by u dB, u uniform in [-decibels, decibels]: x 10^(u / 20).

    Example:
      >>> x, length = gain(6.0)(jax.random.key(0), jnp.ones(4), jnp.int32(4))
      >>> bool(0.5 < x[0] < 2), int(length)
      (True, 4)
    """

    def augment(key: jax.Array, x: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        return x * 10 ** (decibels * jax.random.uniform(key, minval=-1.0) / 20), length

    return augment


@ranges.checked(share=ranges.FRACTION)
def shift(share: Float = 1.0) -> OfWaveform:
    """Delays the sound by a uniform share, at most `share`, of the silence after it; `length` grows by the delay.

    Example:
      >>> x, length = shift()(jax.random.key(0), jnp.zeros(8).at[0].set(1.0), jnp.int32(1))
      >>> int(jnp.argmax(x)) == int(length) - 1
      True
    """

    def augment(key: jax.Array, x: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        room = x.shape[0] - length
        start = jnp.round(share * room * jax.random.uniform(key)).astype(jnp.int32)
        position = jnp.arange(x.shape[0]) - start
        return jnp.where(position >= 0, x[jnp.maximum(position, 0)], 0), length + start

    return augment


@ranges.checked(strength=ranges.NATURAL)
def speed(strength: Float) -> OfWaveform:
    """Changes speed and pitch by a factor exp(u), u uniform in [-strength, strength]; linear interpolation.

    y(t) = x(t exp(u)), with a new length of `length` exp(-u), cut at T.

    Source: Ko et al. 2015, https://www.isca-archive.org/interspeech_2015/ko15_interspeech.html.

    Example:
      >>> x, length = speed(0.1)(jax.random.key(0), jnp.ones(80), jnp.int32(60))
      >>> x.shape, bool(54 <= length <= 67)
      ((80,), True)
    """

    def augment(key: jax.Array, x: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        size = x.shape[0]
        factor = jnp.exp(strength * jax.random.uniform(key, minval=-1.0))
        new = jnp.clip(jnp.ceil(length / factor).astype(jnp.int32), 1, size)
        y = interpolate(x, jnp.arange(size) * factor)
        return jnp.where(jnp.arange(size) < new, y, 0), new

    return augment


def noise(low: Float, high: Float) -> OfWaveform:
    """Adds white noise within `length`, at a signal-to-noise ratio uniform in [low, high] dB.

    The noise is uniform, not normal: its spectrum is the same, and it needs no inverse error function.

    Example:
      >>> x, length = noise(20.0, 20.0)(jax.random.key(0), jnp.ones(1000), jnp.int32(1000))
      >>> round(float(jnp.var(x)), 2)  # 20 dB below a power of 1
      0.01
    """

    def augment(key: jax.Array, x: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        ratio_key, noise_key = jax.random.split(key)
        decibels = low + (high - low) * jax.random.uniform(ratio_key)
        power = jnp.sum(x**2) / jnp.maximum(length, 1) * 10 ** (-decibels / 10)
        white = jax.random.uniform(noise_key, x.shape, minval=-1.0) * jnp.sqrt(3 * power)
        return jnp.where(jnp.arange(x.shape[0]) < length, x + white, 0), length

    return augment


def interpolate(x: jax.Array, position: jax.Array) -> jax.Array:
    """x [T, ...] at fractional positions [P], linearly; the last value continues beyond the end.

    Example:
      >>> interpolate(jnp.array([1.0, 3.0]), jnp.array([0.25, 1.5])).tolist()
      [1.5, 3.0]
    """
    low = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, x.shape[0] - 1)
    part = (position - low).reshape(-1, *[1] * (x.ndim - 1))
    return x[low] * (1 - jnp.clip(part, 0, 1)) + x[jnp.minimum(low + 1, x.shape[0] - 1)] * jnp.clip(part, 0, 1)


@ranges.checked(
    bands=ranges.NATURAL,
    time=ranges.NATURAL,
    num_bands=ranges.NATURAL,
    num_times=ranges.NATURAL,
    share=ranges.FRACTION,
    warp=ranges.NATURAL,
)
def spec_augment(
    bands: Float = 8.0,
    time: Float = 20.0,
    *,
    num_bands: int = 2,
    num_times: int = 2,
    share: Float = 0.2,
    warp: Float = 0.0,
) -> OfFeatures:
    """SpecAugment: warps time, and masks stretches of bands and of frames with 0.

    The width of a mask is uniform in [0, width], its position uniform where it fits.

    Args:
      bands: Largest width of a mask of bands, F in the paper.
      time: Largest width of a mask of frames, T in the paper.
      num_bands: Number of masks of bands.
      num_times: Number of masks of frames.
      share: Largest share of the frames that one mask covers, p in the paper.
      warp: Largest displacement of a point in time, in frames, W in the paper, which finds that it matters least.

    Source: Park et al. 2019, https://arxiv.org/abs/1904.08779; its table 1 has, for 80 bands, bands 27, time 100,
      num_bands and num_times 2, share 1 ("LD").

    Example:
      >>> spec_augment(bands=4.0, time=5.0)(jax.random.key(0), jnp.ones((50, 16)), jnp.int32(40)).shape
      (50, 16)
    """

    def augment(key: jax.Array, x: jax.Array, frames: jax.Array) -> jax.Array:
        warp_key, *keys = jax.random.split(key, 1 + num_bands + num_times)
        x = warp_time(warp_key, x, frames, warp)
        band, frame = jnp.arange(x.shape[1])[None, :], jnp.arange(x.shape[0])[:, None]
        for each in keys[:num_bands]:
            x = jnp.where(_stretch(each, band, bands, x.shape[1]), 0, x)
        for each in keys[num_bands:]:
            x = jnp.where(_stretch(each, frame, jnp.minimum(time, share * frames), frames), 0, x)
        return x

    return augment


def _stretch(key: jax.Array, index: jax.Array, widest: Float, size: Float | int) -> jax.Array:
    """True at the indices of a random stretch of up to `widest`, within [0, size)."""
    width_share, start_share = jax.random.uniform(key, (2,))
    width = jnp.floor(width_share * (jnp.minimum(widest, size) + 1))
    start = jnp.floor(start_share * (size - width + 1))
    return (index >= start) & (index < start + width)


def warp_time(key: jax.Array, x: jax.Array, frames: jax.Array, most: Float) -> jax.Array:
    """Moves one point in time by up to `most` frames, and stretches both sides linearly.

    Example:
      >>> x = warp_time(jax.random.key(0), jnp.arange(20.0)[:, None], jnp.int32(20), 3.0)
      >>> float(x[0, 0]), float(x[-1, 0])  # the ends stay
      (0.0, 19.0)
    """
    center_share, move_share = jax.random.uniform(key, (2,))
    most = jnp.minimum(most, (frames - 1) / 4)
    center = most + (frames - 1 - 2 * most) * center_share
    target = center + most * (2 * move_share - 1)
    frame, end = jnp.arange(x.shape[0]), frames - 1
    before = frame * (center / jnp.maximum(target, 1e-3))
    after = end - (end - frame) * ((end - center) / jnp.maximum(end - target, 1e-3))
    warped = interpolate(x, jnp.where(frame < target, before, after))
    return jnp.where((frame < frames)[:, None], warped, 0)
