"""Diagnosis: rare classes, cost-sensitive decisions and calibrated probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.core.blocks import Block, classification
from deeplab.core.errors import UserError
from deeplab.metrics import roc
from deeplab.metrics.base import Mean, Metrics, defined, hits
from deeplab.metrics.confusion import Confusion, PredictiveValue, Sensitivity, macro_f1
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import each_class, named_outputs
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained

Summary = Callable[[np.ndarray, np.ndarray, np.ndarray | None], dict[str, float]]
"""`(logits [N, K], label [N], group [N] or None) -> metrics by name`, such as `deeplab.robust.calibration.summary`."""


@dataclasses.dataclass(frozen=True)
@ranges.checked(prior=ranges.NATURAL, adjustment=ranges.NATURAL, specificity=ranges.FRACTION)
class Clinical(Task):
    """Cross-entropy with prior-adjusted logits, and decisions with offsets.

    With the model's logits z, class frequencies pi and adjustment t, p = softmax(z + t log pi), and the loss is
    -log p_y (Menon et al. 2021, https://arxiv.org/abs/2007.07314, equation 10). So p is the probability under the class
    frequencies pi, and softmax(z) the probability under equal frequencies. The decision is argmax_k(z_k + o_k): offsets
    o of 0 minimize the balanced error, and o = t log pi the plain error. Offsets in between must be chosen on patients
    that are used neither for training nor for testing.

    Args:
      class_names: Names of the K classes, which are part of the names of metrics.
      prior: Class frequencies pi in the training split, in any unit; equal when empty, which is plain cross-entropy.
      adjustment: Adjustment t; may be a tracer.
      offsets: Offsets o of the decision, [K]; may be tracers; all 0 when empty.
      fields: Names of the batch's fields that the model reads.
      group: Name of the field that identifies the patient, for intervals and calibration; examples are independent if
        the batch has no such field.
      specificity: Specificity at which the sensitivity is reported.
      calibrate: Function that computes further metrics from log p of a whole split.

    Raises:
      UserError: No class has a frequency, or there are not as many frequencies or offsets as classes.

    Example:
      >>> batch = {"x": jnp.zeros((1, 2)), "label": jnp.array([1]), "weight": jnp.ones(1)}
      >>> task = Clinical(("healthy", "ill"), prior=(9.0, 1.0))
      >>> round(float(task.loss(lambda x, **_: (x, {}), batch, None).loss.compute()), 4)  # -log 0.1
      2.3026
    """

    class_names: tuple[str, ...]
    prior: Sequence[float] = ()
    adjustment: float | jax.Array = 1.0
    offsets: Sequence[float | jax.Array] = ()
    fields: tuple[str, ...] = ("x",)
    group: str = "record"
    specificity: float = 0.95
    calibrate: Summary | None = None

    def __post_init__(self) -> None:
        if len(self.prior) and not any(self.prior):
            raise UserError(
                f"prior is {self.prior}, expected class frequencies, of which one at least is above 0; leave it out "
                "for equal ones"
            )

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        losses = _of_label(-self._log_probs(logits), batch["label"])
        correct = hits(self._scores(logits), batch["label"])
        return Loss(Mean.of(losses, batch["weight"]), {"accuracy": Mean.of(correct, batch["weight"])}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        out = self.predict(apply, batch, key)
        correct = defined((out["prediction"] == out["label"]).astype(jnp.float32), out["log_probs"])
        weight = jnp.where(batch["weight"] != 0, defined(batch["weight"], out["log_probs"]), 0)
        metrics: Metrics = {
            name: Mean.of(x, batch["weight"]) for name, x in (("loss", out["loss"]), ("accuracy", correct))
        }
        statistics = {"macro_f1": macro_f1}
        for k, name in enumerate(self.class_names):
            statistics |= {f"{name}_sensitivity": Sensitivity(k), f"{name}_ppv": PredictiveValue(k)}
        for name, statistic in statistics.items():
            metrics[name] = Confusion.of(out["label"], out["prediction"], len(self.class_names), statistic, weight)
        return metrics

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Label and `prediction` [B], the `probability` of the prediction [B], and `log_probs` [B, K]."""
        logits, _ = apply(*self.inputs(batch))
        log_probs, prediction = self._log_probs(logits), jnp.argmax(self._scores(logits), axis=-1)
        patient = {self.group: batch[self.group]} if self.group in batch else {}
        return patient | {
            "label": batch["label"],
            "prediction": prediction,
            "probability": jnp.exp(_of_label(log_probs, prediction)),
            "log_probs": log_probs,
            "loss": _of_label(-log_probs, batch["label"]),
        }

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        outputs = apply(*self.inputs(batch))[0].shape[-1]
        return {"label": Labels(named_outputs(self.class_names, outputs))}

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """The confusion matrix, the reliability of the probabilities, and the worst mistakes."""
        return {"classification": classification(trained.predictions, trained.class_names, trained.split)}

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Logit of each example's label, or of the classes `target`, [B] or a number."""
        target = batch["label"] if target is None else jnp.broadcast_to(jnp.asarray(target), (len(outputs),))
        return _of_label(outputs, target)

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Areas under curves with 95 % intervals over patients, sensitivity at `specificity`, and calibration.

        Each class but the first is compared with all others. Metrics that are undefined, because a class does not
        occur, are left out.
        """
        label, log_probs = predictions["label"], predictions["log_probs"]
        group = predictions.get(self.group)
        told: dict[str, float] = {}
        for k, name in list(enumerate(self.class_names))[1:]:
            rest = np.delete(log_probs, k, axis=1)
            scores = roc.Scores(log_probs[:, k] - np.logaddexp.reduce(rest, axis=1), label == k)
            for area, statistic in (("auroc", roc.auroc), ("auprc", roc.average_precision)):
                low, high = roc.bootstrap(scores, statistic, group)
                value = statistic(scores.curve())
                told |= {f"{name}_{area}": value, f"{name}_{area}_low": low, f"{name}_{area}_high": high}
            at = f"{name}_sensitivity_at_{100 * self.specificity:g}"
            told[at] = roc.sensitivity_at(scores.curve(), self.specificity)
        if self.calibrate is not None:
            told |= self.calibrate(log_probs, label, group)
        return {name: value for name, value in told.items() if np.isfinite(value)}

    def _log_probs(self, logits: jax.Array) -> jax.Array:
        # A class that does not occur has log 0, which an adjustment of 0 takes no part of.
        moved = jnp.where(self.adjustment == 0, 0.0, self.adjustment * self._log_prior(logits))
        return jax.nn.log_softmax(logits + moved[None, :])

    def _log_prior(self, logits: jax.Array) -> jax.Array:
        if len(self.prior) not in (0, logits.shape[-1]):
            raise UserError(
                f"prior has {len(self.prior)} classes, and the model {logits.shape[-1]} outputs; give one for each"
            )
        prior = jnp.asarray(self.prior if len(self.prior) else (1.0,) * logits.shape[-1], jnp.float32)
        return jnp.log(prior / jnp.sum(prior))

    def _scores(self, logits: jax.Array) -> jax.Array:
        """Scores of the classes, of which the highest is the decision."""
        given = self.offsets if len(self.offsets) else (0.0,) * logits.shape[-1]
        return logits + each_class("offsets", given, logits.shape[-1], logits.dtype)[None, :]


def _of_label(values: jax.Array, label: jax.Array) -> jax.Array:
    """Selects values[b, label[b]], [B, K] and [B] -> [B]."""
    return jnp.take_along_axis(values, label[:, None], axis=-1)[:, 0]
