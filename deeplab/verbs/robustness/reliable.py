"""How far probabilities can be believed: their calibration, and conformal sets with their coverage by class."""

from __future__ import annotations

import dataclasses

import numpy as np

from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
from deeplab.robust import calibration, conformal
from deeplab.robust.resampling import Interval
from deeplab.verbs.robustness.examined import Examined


@dataclasses.dataclass(frozen=True)
class Reliable:
    """Calibration and coverage.

    Attributes:
      probability: Largest probability of each example.
      right: Whether its class is the label.
      ece: Calibration error without the bias of few examples, and its interval: as it is, and after temperature scaling
        that was fitted on other examples.
      temperature: Temperature.
      brier: Brier score.
      nll: Negative log-likelihood, in nats.
      coverage: Coverage of conformal sets by method, each of all examples and by class.
      alpha: Share of misses that the sets allow.
      sizes: Numbers of examples that calibrated the sets, and that they were measured on.
    """

    probability: np.ndarray
    right: np.ndarray
    ece: tuple[Interval, Interval]
    temperature: float
    brier: float
    nll: float
    coverage: dict[str, conformal.Coverage]
    alpha: float
    sizes: tuple[int, int]

    @property
    def lead(self) -> str:
        """A sentence."""
        found = next(iter(self.coverage.values()))
        return (
            f"calibration error {_told(self.ece[0])}, {_told(self.ece[1])} after temperature scaling; sets of "
            f"{found.size[0]:.2f} classes cover {found.coverage[0]:.1%} (asked for {1 - self.alpha:.0%})"
        )

    @property
    def block(self) -> Block:
        """A reliability diagram, figures, and coverage by class."""
        figures = [
            ["calibration error (ECE, 15 bins, without its bias)", _told(self.ece[0])],
            [f"after temperature scaling (T = {self.temperature:.3g})", _told(self.ece[1])],
            ["Brier score", f"{self.brier:.4f}"],
            ["negative log-likelihood", f"{self.nll:.4f} nats"],
        ]
        told = (
            f"Sets that hold the right class in {1 - self.alpha:.0%} of the cases, calibrated on {self.sizes[0]} "
            f"examples and measured on {self.sizes[1]} others."
        )
        tables = [
            blocks.section(
                name, blocks.rows(["class", "examples", "covered", "95 % interval", "mean size"], _rows(found), True)
            )
            for name, found in self.coverage.items()
        ]
        return blocks.section(
            "Calibrated",
            blocks.columns(
                blocks.reliability(self.probability, self.right), blocks.rows(["", "value"], figures, numeric=True)
            ),
            blocks.section("Conformal sets", *tables, note=told),
        )


def _told(error: Interval) -> str:
    return f"{max(error.value, 0):.2%} (95 %: {error.low:.2%} to {error.high:.2%})"


def _rows(found: conformal.Coverage) -> list[list[str]]:
    return [
        [str(name), f"{count}", f"{share:.1%}", f"{low:.1%} to {high:.1%}", f"{size:.2f}"]
        for name, count, share, low, high, size in zip(
            found.group, found.count, found.coverage, found.low, found.high, found.size, strict=True
        )
    ]


def reliable(what: Examined, alpha: float) -> Reliable:
    """Measures calibration on all examples, and conformal sets of which a half, drawn by lot, is the calibration set.

    Args:
      what: What is tested.
      alpha: Share of misses that sets allow.

    Raises:
      UserError: The model gives no probability of a class.
    """
    if not what.classifies:
        raise UserError("the model gives no probability of one class for each example")
    logits, label = logits_of(what)
    p = calibration.softmax(logits)

    def error(z: np.ndarray) -> Interval:
        each = calibration.softmax(z)
        return calibration.calibration_interval(each.max(axis=1), each.argmax(axis=1) == label)

    fit = np.random.default_rng(0).permutation(len(label)) % 2 == 0  # by lot: data may lie in the order of classes
    names = np.array(what.class_names or [str(k) for k in range(logits.shape[1])])[label]
    u = conformal.uniforms(np.concatenate([np.asarray(batch["id"]) for batch in what.batches]), what.key)
    scores = {"smallest sets (LAC)": conformal.lac(p), "adaptive sets (APS)": conformal.aps(p, u)}
    coverage = {}
    for name, score in scores.items():
        limit = conformal.threshold(conformal.true_scores(score, label)[fit], alpha)
        coverage[name] = conformal.set_coverage(score[~fit] <= limit, label[~fit], names[~fit])
    return Reliable(
        p.max(axis=1),
        p.argmax(axis=1) == label,
        (error(logits), error(calibration.cross_fitted(logits, label))),
        calibration.temperature(logits, label),
        calibration.brier(p, label),
        calibration.negative_log_likelihood(p, label),
        coverage,
        alpha,
        (int(fit.sum()), int((~fit).sum())),
    )


def logits_of(what: Examined) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of all examples."""
    logits = what.over(lambda apply, batch: apply(*what.experiment.task.inputs(batch))[0])
    return np.asarray(logits, np.float64), np.concatenate([np.asarray(batch["label"]) for batch in what.batches])
