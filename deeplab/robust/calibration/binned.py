"""Calibration errors by bins of confidence: of the largest probability, of each class, without bias, with intervals.

N examples, K classes, M bins.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.robust.inputs import bins_of, labels_of, numbers_of, probabilities_of, truths_of
from deeplab.robust.resampling import Interval, bootstrap

Bins = Literal["width", "mass"]
"""Bins of equal width, or of about equally many examples."""


class Reliability(NamedTuple):
    """Reliability diagram: nonempty bins over confidence.

    Attributes:
      count: Number of examples.
      confidence: Mean confidence.
      accuracy: Fraction of correct predictions.

    Example:
      >>> diagram = Reliability(np.array([5, 5]), np.array([0.6, 0.9]), np.array([0.6, 0.8]))
      >>> round(float((diagram.count * abs(diagram.confidence - diagram.accuracy)).sum() / diagram.count.sum()), 6)
      0.05
    """

    count: Int[ndarray, " M"]
    confidence: Float[ndarray, " M"]
    accuracy: Float[ndarray, " M"]


@ranges.checked(num_bins=ranges.COUNT, bins=ranges.OneOf(Bins))
def reliability(
    confidence: Float[ndarray, " N"], correct: Bool[ndarray, " N"], num_bins: int = 15, bins: Bins = "width"
) -> Reliability:
    """Reliability diagram over the bins (m / M, (m + 1) / M], m = 0, ..., M - 1, without empty bins.

    Bins of equal mass have the quantiles m / M of the confidences as edges instead. Where a confidence is NaN, so is
    all of the one bin that is returned.

    Raises:
      UserError: a confidence is not in [0, 1], or they are not [N]; or `correct` holds anything but true and false,
        one for each.

    Example:
      >>> bins = reliability(np.array([0.55, 0.85, 0.95]), np.array([False, True, True]), num_bins=5)
      >>> bins.count.tolist(), bins.confidence.round(2).tolist(), bins.accuracy.tolist()
      ([1, 2], [0.55, 0.9], [0.0, 1.0])
    """
    numbers_of(confidence=confidence)
    confidence = np.asarray(confidence)
    correct = truths_of(correct, "correct", len(confidence))
    if (off := (confidence < -1e-3) | (confidence > 1 + 1e-3)).any():  # half precision is that far off
        raise UserError(f"a confidence is {confidence[off][0]:g}, expected 0 to 1; give softmax(logits).max(axis=1)")
    if np.isnan(confidence).any():
        return Reliability(np.array([len(confidence)]), *np.full((2, 1), np.nan))
    member = _members(confidence, num_bins, bins)
    count = np.bincount(member, minlength=num_bins)
    sums = [np.bincount(member, weights=x, minlength=num_bins)[count > 0] for x in (confidence, correct)]
    count = count[count > 0]
    return Reliability(count, sums[0] / count, sums[1] / count)


def _members(confidence: ndarray, num_bins: int, bins: Bins) -> ndarray:
    """The bin of each confidence."""
    if bins == "mass" and len(confidence):
        edges = np.quantile(confidence, np.arange(1, num_bins) / num_bins)
        return np.searchsorted(edges, confidence, side="left")
    return bins_of(confidence, num_bins)


def expected_calibration_error(
    confidence: Float[ndarray, " N"], correct: Bool[ndarray, " N"], num_bins: int = 15, bins: Bins = "width"
) -> float:
    """ECE = sum_m n_m / N |accuracy_m - confidence_m|; with bins of equal mass, the adaptive one.

    It is biased upward for small N, because the sampling error of each bin adds to it: see
    `debiased_calibration_error`. NaN without examples, or where a confidence is NaN.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3; of equal mass, Nguyen and O'Connor 2015,
    https://arxiv.org/abs/1508.05154.

    Example:
      >>> round(expected_calibration_error(np.array([0.6, 0.8]), np.array([True, True]), num_bins=5), 2)
      0.3
    """
    if not len(confidence):
        return float("nan")
    found = reliability(confidence, correct, num_bins, bins)
    return float(np.sum(found.count * np.abs(found.accuracy - found.confidence)) / np.sum(found.count))


def debiased_calibration_error(
    confidence: Float[ndarray, " N"], correct: Bool[ndarray, " N"], num_bins: int = 15, bins: Bins = "width"
) -> float:
    """ECE minus an estimate of its bias; it may be below 0 where the calibration is good.

    Were the accuracy of a bin a_m, the measured one would be about normal around it, with the variance
    s_m^2 = a_m (1 - a_m) / n_m. So the bias is sum_m n_m / N (E|d_m + s_m Z| - |d_m|), d_m = a_m - confidence_m, with Z
    standard normal. It is taken at the measured accuracies.

    Source: Kumar, Liang and Ma 2019, https://arxiv.org/abs/1909.10155, section 5 (who draw Z).

    Example:
      >>> confidence = np.full(400, 0.8)
      >>> correct = np.arange(400) % 100 < 82
      >>> [round(f(confidence, correct), 4) for f in (expected_calibration_error, debiased_calibration_error)]
      [0.02, 0.017]
    """
    from scipy.special import ndtr  # takes long to import

    if not len(confidence):
        return float("nan")
    found = reliability(confidence, correct, num_bins, bins)
    gap = np.abs(found.accuracy - found.confidence)
    spread = np.sqrt(found.accuracy * (1 - found.accuracy) / found.count)
    ratio = gap / np.where(spread > 0, spread, 1)
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + gap * (1 - 2 * ndtr(-ratio))
    return float(np.sum(found.count * (2 * gap - np.where(spread > 0, folded, gap))) / np.sum(found.count))


def classwise_calibration_error(
    probabilities: Float[ndarray, "N K"], label: Int[ndarray, " N"], num_bins: int = 15, bins: Bins = "width"
) -> float:
    """The mean over classes k of the ECE of p_k, as the probability that the label is k.

    Raises:
      UserError: a row of the probabilities does not sum to one, or a label is no class.

    Source: Kull et al. 2019, https://arxiv.org/abs/1910.12656, equation 2.

    Example:
      >>> p = np.array([[0.6, 0.4], [0.2, 0.8]])
      >>> round(classwise_calibration_error(p, np.array([0, 1])), 2)
      0.3
    """
    p = probabilities_of(probabilities)
    y = labels_of(label, p.shape[1], len(p))
    errors = [expected_calibration_error(p[:, k], y == k, num_bins, bins) for k in range(p.shape[1])]
    return float(np.mean(errors))


def calibration_interval(
    confidence: Float[ndarray, " N"],
    correct: Bool[ndarray, " N"],
    group: Shaped[ndarray, " N"] | None = None,
    *,
    num_bins: int = 15,
    bins: Bins = "width",
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The debiased ECE, and an interval of the ECE from resamples, 0 at least.

    Resamples have twice the bias: that of the examples, and that of drawing from them. The interval is the basic one,
    2 ECE - q for quantiles q of the resamples' ECE, from which most of the bias falls out. Near 0 it does not: the
    interval starts at 0 where the ECE is within that of perfectly calibrated predictions. Their labels are drawn from
    them; with groups, whose examples depend on each other, each group's residuals are multiplied by one random number
    of mean 0 and variance 1 (the wild bootstrap).

    Of 30 groups of 20 examples, perfectly calibrated, the interval is above 0 in 2 to 7 % of simulated data sets if
    confidences are 0.5 to 1, even where a group is right as a whole or wrong as a whole. If all are above 0.9 it is
    in 3 to 9 % at a correlation of 0.3, and in 13 to 29 % of data sets of such groups: too few groups are wrong to
    tell how they depend on each other. Of 10 groups these are up to 57 %.

    Args:
      confidence: Confidence of each prediction.
      correct: Whether each prediction is correct.
      group: Group of each example, such as its patient, that is drawn as a whole; each example is a group when None.
      num_bins: Number of bins.
      bins: Kind of the bins.
      resamples: Number of resamples.
      level: Confidence level.
      seed: Seed of the resamples.

    Source: of perfectly calibrated predictions, Broecker and Smith 2007, https://doi.org/10.1175/WAF993.1; of groups,
    Mammen 1993, https://doi.org/10.1214/aos/1176349025, and Cameron, Gelbach and Miller 2008,
    https://doi.org/10.1162/rest.90.3.414.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> p = rng.uniform(0.5, 1.0, 2000)
      >>> found = calibration_interval(p, rng.random(2000) < p - 0.1)
      >>> bool(found.low < 0.1 < found.high and found.high - found.low < 0.06)
      True
    """

    def error(confidence: ndarray, correct: ndarray) -> float:
        return expected_calibration_error(confidence, correct, num_bins, bins)

    confidence, correct = np.asarray(confidence), np.asarray(correct)
    once, low, high = bootstrap(
        error, [confidence, correct], group, kind="basic", resamples=resamples, level=level, seed=seed
    )
    if np.isnan(once):
        return Interval(once, low, high)
    rng = np.random.default_rng(seed)
    if group is None:
        perfect = [error(confidence, rng.random(len(confidence)) < confidence) for _ in range(resamples)]
    else:
        perfect = _wild(confidence, correct, group, _members(confidence, num_bins, bins), resamples, rng)
    low = 0.0 if once <= np.quantile(perfect, (1 + level) / 2) else low
    value = debiased_calibration_error(confidence, correct, num_bins, bins)
    return Interval(value, float(np.maximum(low, 0)), float(np.maximum(high, 0)))


def _wild(
    confidence: ndarray, correct: ndarray, group: ndarray, member: ndarray, draws: int, rng: np.random.Generator
) -> ndarray:
    """The ECE of predictions that err as much within each group, and in no direction: N ECE = sum_m |sum of residuals|.

    The factor of a group is (1 - sqrt 5) / 2 or (1 + sqrt 5) / 2: its third moment is 1, too, so that the residuals
    keep theirs, which are skewed where the confidence is high.
    """
    of_group, bins = (np.unique(x, return_inverse=True)[1] for x in (group, member))
    G, M = of_group.max() + 1, bins.max() + 1
    sums = np.bincount(of_group * M + bins, correct - confidence, G * M).reshape(G, M)
    root = 5**0.5
    factor = np.where(rng.random((draws, G)) < (root + 1) / (2 * root), (1 - root) / 2, (1 + root) / 2)
    return np.abs(factor @ sums).sum(axis=1) / len(confidence)
