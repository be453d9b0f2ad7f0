"""Multi-label classification: each of several labels is present or absent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core.blocks import Block, rows, section
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean, Metrics, defined
from deeplab.metrics.labels import F1
from deeplab.metrics.of_split import OfSplit, auc, f1
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained


@dataclasses.dataclass(frozen=True)
class MultiLabel(Task):
    """Binary cross-entropy of each label, -y log sigmoid(z) - (1 - y) log sigmoid(-z), the mean over K labels.

    `batch["label"]` is [B, K], truth values or 0 and 1 (others are refused), and the model's logits z are [B, K]. A
    label is predicted where its probability is at least 1/2. Metrics are `loss`, `micro_f1`, `macro_f1`, and of a whole
    split `auc`, the mean over the labels that are both present and absent.

    Args:
      label_names: Names of the K labels, for the report; numbers when empty.
      fields: Names of the batch's fields that the model reads.
      extra_metrics: Further metrics of a whole split, such as `dl.metrics.average_precision`.

    Example:
      >>> batch = {"image": jnp.array([[0.0, 0.0]]), "label": jnp.array([[1, 0]]), "weight": jnp.ones(1)}
      >>> round(MultiLabel(("fever", "cough")).loss(lambda x, **_: (x, {}), batch, None).loss.compute(), 4)  # log 2
      0.6931
    """

    headline: ClassVar[tuple[str, ...]] = ("macro_f1", "auc")
    label_names: Sequence[str] = ()
    fields: tuple[str, ...] = ("image",)
    extra_metrics: Sequence[OfSplit] = ()

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        metrics = _metrics(logits, batch)
        return Loss(metrics.pop("loss"), metrics, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        return _metrics(apply(*self.inputs(batch))[0], batch)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`label`, `prediction` and `probability` [B, K], `loss` [B], and the example's `weight` [B]."""
        logits, _ = apply(*self.inputs(batch))
        return {
            "label": batch["label"],
            "prediction": logits >= 0,
            "probability": jax.nn.sigmoid(logits),
            "loss": _losses(logits, batch["label"]),
            "weight": batch["weight"],
        }

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        """`auc` and `extra_metrics` of the split; one that is undefined is left out."""
        given = predictions["probability"], predictions["label"], predictions["weight"]
        told = {metric.__name__: metric(*given) for metric in (auc, *self.extra_metrics)}
        return {name: value for name, value in told.items() if np.isfinite(value)}

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        return {"label": Labels(2, present=True)}

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """A table of the labels: how frequent they are, and how well each is predicted."""
        made = trained.predictions
        p, label = made["probability"], made["label"] > 0
        names = [*self.label_names, *map(str, range(len(self.label_names), p.shape[1]))]
        body = [
            [name, f"{label[:, k].sum():,}", *(f"{m(p[:, k], label[:, k], made['weight']):.3f}" for m in (f1, auc))]
            for k, name in enumerate(names)
        ]
        table = rows(["label", "present", "F1", "AUC"], body, numeric=True)
        return {"labels": [section(f"Labels of {len(p):,} {trained.split} examples", table)]}

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Sum of the logits of each example's labels, or logit of the labels `target`, [B] or a number."""
        if target is None:
            return jnp.sum(outputs * (batch["label"] > 0), axis=-1)
        chosen = jnp.broadcast_to(jnp.asarray(target), (len(outputs),))
        return jnp.take_along_axis(outputs, chosen[:, None], axis=-1)[:, 0]


def _metrics(logits: Float[Array, "B K"], batch: Batch) -> Metrics:
    label, weight = batch["label"], batch["weight"]
    counted = jnp.where(weight != 0, defined(weight, logits), 0)  # a comparison would hide a NaN
    chosen = ~(logits < 0)
    return {
        "loss": Mean.of(_losses(logits, label), weight),
        "micro_f1": F1.of(label, chosen, "micro", counted),
        "macro_f1": F1.of(label, chosen, "macro", counted),
    }


def _losses(logits: Float[Array, "B K"], label: Array) -> Float[Array, " B"]:
    """Mean over labels of softplus(z) - y z, which is the cross-entropy.

    Raises:
      UserError: logits and labels are not both [B, K].
    """
    if logits.ndim != 2 or logits.shape != label.shape:
        raise UserError(
            f"the model's logits are {list(logits.shape)} and labels {list(label.shape)}, expected [B, K] of both, K "
            "labels; one class an example is a Classification"
        )
    return jnp.mean(jax.nn.softplus(logits) - label.astype(logits.dtype) * logits, axis=-1)
