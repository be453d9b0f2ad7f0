"""Heartbeats: cut from a lead, with the rhythm around them, and as numbers that compare a beat with its own record.

An ectopic beat comes early for this heart and looks unlike this heart's usual beat: both are told by comparing it with
its own record, which needs no label, and carries over to other patients where the wave itself does not.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

RATE = 360
BEFORE, AFTER = 90, 90
"""Samples of a beat before its R peak, and from it on: a quarter of a second each."""

RECENT = 10
"""Intervals kept of the rhythm before a beat, the last of them its own; one more begins at it."""

# ms from the R peak: before the P wave and P, P to QRS, QRS, QRS with its feet, ST, T.
_SEGMENTS = ((-194, -117), (-117, -33), (-33, 39), (-56, 56), (39, 111), (111, 250))
_AROUND = 20  # beats on either side, of which the rhythm around a beat is made
_LEAST_DEVIATION = 0.02  # of log intervals: 2 %, about the resolution of a P wave's place
_LIMIT = 5.0


def windows(
    signal: Float[ndarray, " S"], peaks: Int[ndarray, " N"]
) -> tuple[Float[ndarray, "M T"], Bool[ndarray, " N"]]:
    """The samples around each peak, and which peaks have all of theirs inside the signal.

    Example:
      >>> waves, inside = windows(np.arange(1000.0), np.array([10, 500]))
      >>> waves.shape, waves[0, BEFORE], inside.tolist()
      ((1, 180), np.float64(500.0), [False, True])
    """
    inside = (peaks >= BEFORE) & (peaks + AFTER <= len(signal))
    return signal[peaks[inside][:, None] + np.arange(-BEFORE, AFTER)[None, :]], inside


def intervals_of(peaks: Int[ndarray, " N"]) -> tuple[Int[ndarray, " N"], Int[ndarray, " N"]]:
    """Samples to the peak before and to the one after, -1 where there is none.

    Example:
      >>> [x.tolist() for x in intervals_of(np.array([100, 400, 650]))]
      [[-1, 300, 250], [300, 250, -1]]
    """
    gaps = np.diff(peaks)
    return np.concatenate([[-1], gaps])[: len(peaks)], np.concatenate([gaps, [-1]])[: len(peaks)]


def with_context(
    waves: Float[ndarray, "N T"], before: Int[ndarray, " N"], after: Int[ndarray, " N"]
) -> dict[str, Float[ndarray, "N ..."]]:
    """The successive beats of one record, each with what tells it from them; all float32.

    Args:
      waves: in mV.
      before: samples to the beat before; less than 0 at the beginning, where the record's mean stands for it.
      after: likewise, to the beat after.

    Returns:
      beat: [N, T], the waves less their medians, which baseline wander moves.
      average: [N, T], the median beat.
      intervals: [N, RECENT + 1], in seconds; the last but one ends at the beat, the last begins there.
      usual: [N, 5], the record's mean interval in seconds, the median of the logarithms of its intervals and their
        median deviation from it, and these two of the 41 intervals around the beat.
    """
    sequence = np.append(before, after[-1:]) / RATE  # [N + 1]: number i ends at beat i
    known = sequence > 0
    sequence = np.where(known, sequence, sequence[known].mean() if known.any() else 1.0)
    log, size = np.log(sequence), len(waves)

    def near(array: np.ndarray, first: int, last: int) -> np.ndarray:
        places = np.arange(size)[:, None] + np.arange(first, last + 1)[None, :]
        return array[np.clip(places, 0, size)]

    usual = [np.full(size, sequence.mean()), *_middle(log[None, :]), *_middle(near(log, -_AROUND, _AROUND))]
    beat = waves - np.median(waves, axis=1, keepdims=True)
    fields = {
        "beat": beat,
        "average": np.broadcast_to(np.median(beat, axis=0), waves.shape),
        "intervals": near(sequence, 1 - RECENT, 1),
        "usual": np.stack([np.broadcast_to(x, (size,)) for x in usual], axis=1),
    }
    return {name: np.asarray(array, np.float32) for name, array in fields.items()}


def _middle(values: Float[ndarray, "N W"]) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"]]:
    """The median of each row, and the median deviation from it."""
    middle = np.median(values, axis=1)
    return middle, np.median(np.abs(values - middle[:, None]), axis=1)


def features(example: dict[str, Any]) -> Float[Array, " F"]:
    """A beat as 34 numbers: `rhythm`, then `shape`, each clipped to [-5, 5]."""
    numbers = [rhythm(example["intervals"], example["usual"]), shape(example["beat"], example["average"])]
    return jnp.clip(jnp.concatenate(numbers), -_LIMIT, _LIMIT)


def rhythm(intervals: Float[Array, " W"], usual: Float[Array, " 5"]) -> Float[Array, " 9"]:
    """How early a beat comes, and the next, for this heart and for this moment.

    The logarithms of the intervals before and after it over the record's mean and over the mean of the last ten (the
    intervals of de Chazal et al. 2004, https://doi.org/10.1109/TBME.2004.827359), in units of 20 %; how many median
    deviations they are from the median of the 41 intervals around, and the one before from that of the record; and the
    logarithms of these deviations: where the rhythm is irregular, early means little.

    Example:
      >>> early = jnp.ones(RECENT + 1).at[-2].set(0.6)
      >>> [round(float(x), 1) for x in rhythm(early, jnp.array([1.0, 0.0, 0.05, 0.0, 0.05]))][:4]
      [-2.6, 0.0, -2.3, 0.2]
    """
    mean, middle, deviation, middle_around, deviation_around = usual
    deviation, deviation_around = deviation + _LEAST_DEVIATION, deviation_around + _LEAST_DEVIATION
    own = jnp.log(intervals[-2:])  # of the interval that ends at the beat, and of the one that begins there
    return jnp.concatenate(
        [
            5 * (own - jnp.log(mean)),
            5 * (own - jnp.log(jnp.mean(intervals[:-1]))),
            (own - middle_around) / deviation_around,
            jnp.stack([jnp.log(deviation_around), (own[0] - middle) / deviation, jnp.log(deviation)]),
        ]
    )


def shape(beat: Float[Array, " T"], average: Float[Array, " T"]) -> Float[Array, " 25"]:
    """How unlike its record's average beat it looks, in units of the average's height.

    In each of six segments the correlation, the logarithm of the ratio of energies, and that of the energy of the
    difference; of the QRS how much wider (in 10 ms), higher, deeper and steeper it is; the average's width, the
    logarithm of the ratio of heights, and that of the average's height.

    Example:
      >>> wave = jnp.sin(jnp.arange(180) / 5.0)
      >>> [round(float(x), 2) for x in shape(wave, wave)][:2]  # the same: correlation 1, ratio 1
      [1.0, 0.0]
    """
    height = jnp.ptp(average) + 1e-3
    beat, average = beat / height, average / height
    numbers = []
    for start, stop in _SEGMENTS:
        part = slice(BEFORE + round(start * RATE / 1000), BEFORE + round(stop * RATE / 1000))
        a, b = beat[part] - jnp.mean(beat[part]), average[part] - jnp.mean(average[part])
        power, usual = jnp.mean(a**2), jnp.mean(b**2)
        floor = 1e-3 / a.shape[0]
        numbers += [
            jnp.mean(a * b) / jnp.sqrt((power + floor) * (usual + floor)),
            jnp.log(power + 1e-4) - jnp.log(usual + 1e-4),
            jnp.log(jnp.mean((a - b) ** 2) + 1e-4),
        ]
    a, b = (x[BEFORE - 30 : BEFORE + 30] for x in (beat, average))
    width, usual_width = (jnp.sum(jnp.abs(x) > 0.25) * (100 / RATE) for x in (a, b))
    steepest, usual_steepest = (jnp.max(jnp.abs(jnp.diff(x))) for x in (a, b))
    numbers += [width - usual_width, jnp.max(a) - jnp.max(b), jnp.min(a) - jnp.min(b), steepest - usual_steepest]
    return jnp.stack([*numbers, usual_width, jnp.log(jnp.ptp(beat) + 1e-3), jnp.log(height)])
