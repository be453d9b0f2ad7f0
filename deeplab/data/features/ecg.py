"""Heartbeats: cut from an ECG lead, with the rhythm around them, and features that compare a beat with its record.

An ectopic beat comes early and looks unlike the usual beat of the same heart. Comparing a beat with its own record
shows both, needs no label, and generalizes to other patients, which the waveform alone does not.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

RATE = 360
BEFORE, AFTER = 90, 90
"""Samples of a beat before its R peak and from it on: a quarter of a second each."""

# ms from the R peak: before and in the P wave, P to QRS, QRS, QRS with its onset and end, ST, T.
_SEGMENTS = ((-194, -117), (-117, -33), (-33, 39), (-56, 56), (39, 111), (111, 250))
_NAMES = ("P", "P to QRS", "QRS", "QRS and ends", "ST", "T")
FEATURES: tuple[str, ...] = (
    *(f"RR {what}, {of}" for of in ("near", "all") for what in ("before", "after", "spread")),
    *(f"{name}: {what}" for name in _NAMES for what in ("like", "energy", "apart")),
    *(f"QRS {what}" for what in ("wider", "higher", "deeper", "steeper")),
    *("usual QRS width", "height", "usual height"),
)
"""Names of the numbers of `features`."""
_AROUND = 20  # beats on either side that make the rhythm around a beat
_LEAST_DEVIATION = 0.02  # of log intervals: 2 %, about the resolution of a P wave's position
_LIMIT = 5.0
_SHORTEST = 0.1  # s; no interval between heartbeats is shorter


def windows(
    signal: Float[ndarray, " S"], peaks: Int[ndarray, " N"]
) -> tuple[Float[ndarray, "M T"], Bool[ndarray, " N"]]:
    """The samples around each peak, and whether all of a peak's samples lie inside the signal.

    Example:
      >>> waves, inside = windows(np.arange(1000.0), np.array([10, 500]))
      >>> waves.shape, waves[0, BEFORE], inside.tolist()
      ((1, 180), np.float64(500.0), [False, True])
    """
    inside = (peaks >= BEFORE) & (peaks + AFTER <= len(signal))
    return signal[peaks[inside][:, None] + np.arange(-BEFORE, AFTER)[None, :]], inside


def intervals_of(peaks: Int[ndarray, " N"]) -> tuple[Int[ndarray, " N"], Int[ndarray, " N"]]:
    """Samples to the previous and to the next peak, -1 where there is none.

    Example:
      >>> [x.tolist() for x in intervals_of(np.array([100, 400, 650]))]
      [[-1, 300, 250], [300, 250, -1]]
    """
    gaps = np.diff(peaks)
    return np.concatenate([[-1], gaps])[: len(peaks)], np.concatenate([gaps, [-1]])[: len(peaks)]


def with_context(
    waves: Float[ndarray, "N T"], before: Int[ndarray, " N"], after: Int[ndarray, " N"]
) -> dict[str, Float[ndarray, "N ..."]]:
    """The successive beats of one record with their context; all float32.

    Args:
      waves: Beats in mV.
      before: Samples to the previous beat; negative at the beginning, where the record's mean is used.
      after: Samples to the next beat; negative at the end.

    Returns:
      beat: [N, T], the waves minus their medians, which removes baseline wander.
      average: [N, T], the record's median beat.
      intervals: [N, 2] in seconds, the interval that ends at the beat and the one that begins there.
      usual: [N, 4], the mean in seconds and the median deviation of the logarithms of the record's intervals, then both
        of the 41 intervals around the beat.

    Example:
      >>> waves = np.tile(np.arange(5.0), (3, 1))
      >>> fields = with_context(waves, before=np.array([-1, 360, 180]), after=np.array([360, 180, -1]))
      >>> fields["beat"][0].tolist(), fields["intervals"].tolist()
      ([-2.0, -1.0, 0.0, 1.0, 2.0], [[0.75, 1.0], [1.0, 0.5], [0.5, 0.75]])
    """
    sequence = np.append(before, after[-1:]) / RATE  # [N + 1]: number i ends at beat i
    known = sequence > 0
    sequence = np.where(known, sequence, sequence[known].mean() if known.any() else 1.0)
    size = len(waves)
    indices = np.arange(size)[:, None] + np.arange(-_AROUND, _AROUND + 1)[None, :]
    around = sequence[np.clip(indices, 0, size)]  # [N, 41]
    beat = waves - np.median(waves, axis=1, keepdims=True)
    fields = {
        "beat": beat,
        "average": np.broadcast_to(np.median(beat, axis=0), waves.shape),
        "intervals": np.stack([sequence[:-1], sequence[1:]], axis=1),
        "usual": np.concatenate([np.broadcast_to(_usual(sequence[None]), (size, 2)), _usual(around)], axis=1),
    }
    return {name: np.asarray(array, np.float32) for name, array in fields.items()}


def _usual(intervals: Float[ndarray, "N W"]) -> Float[ndarray, "N 2"]:
    """The mean of each row, and the median distance of its logarithms from their median."""
    log = np.log(intervals)
    deviation = np.median(np.abs(log - np.median(log, axis=1, keepdims=True)), axis=1)
    return np.stack([intervals.mean(axis=1), deviation], axis=1)


def features(example: dict[str, Any]) -> Float[Array, " F"]:
    """31 features of a beat: `rhythm`, then `shape`, clipped to [-5, 5].

    Example:
      >>> import jax
      >>> beat = {"beat": np.zeros(180), "average": np.zeros(180), "intervals": np.ones(2), "usual": np.ones(4)}
      >>> jax.eval_shape(features, beat).shape, len(FEATURES)
      ((31,), 31)
    """
    numbers = [rhythm(example["intervals"], example["usual"]), shape(example["beat"], example["average"])]
    return jnp.clip(jnp.concatenate(numbers), -_LIMIT, _LIMIT)


def rhythm(intervals: Float[Array, " 2"], usual: Float[Array, " 4"]) -> Float[Array, " 6"]:
    """Prematurity of a beat and of the next, relative to the rhythm around it and to the whole record.

    log(interval / mean) / deviation for the intervals before and after the beat, with the mean and deviation of the 41
    intervals around it and of the record; and the logarithms of the two deviations, because prematurity means little in
    an irregular rhythm. The reference is the mean, not the median: where most beats are ectopic, as in long runs, their
    interval is the median. The intervals are those of de Chazal et al. 2004, https://doi.org/10.1109/TBME.2004.827359.

    Example:
      >>> [round(float(x), 1) for x in rhythm(jnp.array([0.6, 1.0]), jnp.array([1.0, 0.08, 1.0, 0.08]))]
      [-5.1, 0.0, -2.3, -5.1, 0.0, -2.3]
    """
    mean, deviation, mean_around, deviation_around = usual
    numbers = []
    for center, spread in ((mean_around, deviation_around), (mean, deviation)):
        spread = jnp.maximum(spread, 0) + _LEAST_DEVIATION
        early = jnp.log(jnp.maximum(intervals, _SHORTEST) / jnp.maximum(center, _SHORTEST))
        numbers += [*(early / spread), jnp.log(spread)]
    return jnp.stack(numbers)


def shape(beat: Float[Array, " T"], average: Float[Array, " T"]) -> Float[Array, " 25"]:
    """Difference of a beat from its record's average beat, in units of the average's height.

    For each of six segments: the correlation, the log ratio of energies, and the log energy of the difference. For the
    QRS complex: how much wider (in 10 ms), higher, deeper and steeper it is. Then the average's width, the log ratio of
    heights, and the log height of the average.

    Example:
      >>> wave = jnp.sin(jnp.arange(180) / 5.0)
      >>> [round(float(x), 2) for x in shape(wave, wave)][:2]  # equal beats: correlation 1, ratio 1
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
