"""Classification: one label for each example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.core.blocks import Block, classification
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean, Metrics, defined
from deeplab.metrics.of_split import OfSplit
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import each_class, one_array
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained


@dataclasses.dataclass(frozen=True)
@ranges.checked(label_smoothing=ranges.RATE, class_weights=ranges.NATURAL, gamma=ranges.NATURAL)
class Classification(Task):
    """Cross-entropy over classes.

    With classes K, labels y and smoothing s, the target is (1 - s) onehot(y) + s / K (Szegedy et al. 2016,
    https://arxiv.org/abs/1512.00567). `batch["label"]` is [B] int32, or [B, K] float32 where labels are mixed.

    Args:
      label_smoothing: Smoothing s, in [0, 1); may be a tracer.
      fields: Names of the batch's fields that the model reads.
      views: Functions of the input, such as a flip; an evaluation averages the probabilities of the input and of
        these views (Krizhevsky et al. 2012). Only the input is evaluated when empty.
      class_weights: Weights w of the classes in training, [K]: the loss is sum w_y loss / sum w_y. All 1 when empty.
      gamma: Exponent of the focal loss in training, -(1 - p_k)^gamma log p_k for each class k of the target (Lin et
        al. 2017, https://arxiv.org/abs/1708.02002); may be a tracer. Plain cross-entropy at 0.
      extra_metrics: Further metrics of a whole split, such as `dl.metrics.auc` and `dl.metrics.f1`.

    Example:
      >>> batch = {"image": jnp.array([[2.0, 0.0]]), "label": jnp.array([0]), "weight": jnp.ones(1)}
      >>> task = Classification(label_smoothing=0.1)
      >>> round(task.loss(lambda x, **_: (x, {}), batch, None).loss.compute(), 4)  # the logits are the input
      0.2269
    """

    headline: ClassVar[tuple[str, ...]] = ("accuracy",)
    label_smoothing: float | jax.Array = 0.0
    fields: tuple[str, ...] = ("image",)
    views: Sequence[Callable[[jax.Array], jax.Array]] = ()
    class_weights: Sequence[float] = ()
    gamma: float | jax.Array = 0.0
    extra_metrics: Sequence[OfSplit] = ()

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        logits = one_array(logits, len(batch["label"]), "K")
        target = _target(batch["label"], logits.shape[-1])
        target = target * (1 - self.label_smoothing) + self.label_smoothing / logits.shape[-1]
        # The sign is within the sum: XLA:CPU of jax 0.10 gives a negated sum wrong values beyond 256 members.
        losses = jnp.sum(-self._weighted(target, logits) * jax.nn.log_softmax(logits), axis=-1)  # [B, K] -> [B]
        correct = _correct(logits, batch["label"])
        loss = Mean.of(losses, batch["weight"])
        if len(self.class_weights):
            each = jnp.sum(_target(batch["label"], logits.shape[-1]) * self._class_weights(logits), axis=-1)
            loss = Mean(loss.total, Mean.of(each, batch["weight"]).total)
        return Loss(loss, {"accuracy": Mean.of(correct, batch["weight"])}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        out = self.predict(apply, batch, key)
        correct = defined((out["prediction"] == out["label"]).astype(jnp.float32), out["probability"][:, None])
        return {"loss": Mean.of(out["loss"], batch["weight"]), "accuracy": Mean.of(correct, batch["weight"])}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        log_probs = self._log_probs(apply, batch)
        return {
            "label": _hard(batch["label"]),
            "prediction": jnp.argmax(log_probs, axis=-1),
            "probability": jnp.exp(jnp.max(log_probs, axis=-1)),
            "loss": jnp.sum(-_target(batch["label"], log_probs.shape[-1]) * log_probs, axis=-1),
            **({"probabilities": jnp.exp(log_probs), "weight": batch["weight"]} if self.extra_metrics else {}),
        }

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        """`extra_metrics` of the split, by the names of their functions; one that is undefined is left out."""
        p, label, weight = (predictions.get(name) for name in ("probabilities", "label", "weight"))
        told = {metric.__name__: metric(p, label, weight) for metric in self.extra_metrics}
        return {name: value for name, value in told.items() if np.isfinite(value)}

    def _weighted(self, target: jax.Array, logits: jax.Array) -> jax.Array:
        """The target times the weight of each class, and the factor of the focal loss, [B, K]."""
        if len(self.class_weights):
            target = target * self._class_weights(logits)
        if isinstance(self.gamma, float | int) and self.gamma == 0:
            return target
        # Above 0, where a power below 1 has no gradient.
        return target * jnp.maximum(1 - jax.nn.softmax(logits), jnp.finfo(logits.dtype).tiny) ** self.gamma

    def _class_weights(self, logits: jax.Array) -> jax.Array:
        """Weights, [1, K]."""
        return each_class("class_weights", self.class_weights, logits.shape[-1], jnp.float32)[None]

    def _log_probs(self, apply: Apply, batch: Batch) -> jax.Array:
        """Log probabilities [B, K], averaged (as probabilities) over the views of the first input."""
        x, *others = self.inputs(batch)
        logits = [apply(view(x), *others)[0] for view in (lambda x: x, *self.views)]
        each = [jax.nn.log_softmax(one_array(one, len(batch["label"]), "K")) for one in logits]
        return jax.nn.logsumexp(jnp.stack(each), axis=0) - jnp.log(len(each)) if self.views else each[0]

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        needed = batch["label"].shape[-1] if batch["label"].ndim == 2 else None
        logits = one_array(apply(*self.inputs(batch))[0], len(batch["label"]), "K")
        return {"label": Labels(logits.shape[-1], needed=needed)}

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """The confusion matrix, the reliability of the probabilities, and the worst mistakes."""
        return {"classification": classification(trained.predictions, trained.class_names, trained.split)}

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Logit of each example's label, or of the classes `target`, [B] or a number."""
        target = _hard(batch["label"]) if target is None else jnp.broadcast_to(jnp.asarray(target), (len(outputs),))
        return jnp.take_along_axis(outputs, target[:, None], axis=-1)[:, 0]


def _target(label: jax.Array, num_classes: int) -> jax.Array:
    if label.ndim == 2 and label.shape[-1] != num_classes:
        raise UserError(
            f"'label' is {list(label.shape)} for {num_classes} outputs of the model, expected the numbers of classes "
            f"[{len(label)}], as by label[:, 0], or a share for each class, {[len(label), num_classes]}"
        )
    return label if label.ndim == 2 else jax.nn.one_hot(label, num_classes)


def _hard(label: jax.Array) -> jax.Array:
    return jnp.argmax(label, axis=-1) if label.ndim == 2 else label


def _correct(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Probability that the label assigns to the predicted class: 1 or 0, or its share of a mixed label."""
    prediction = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1])
    return defined(jnp.sum(_target(label, logits.shape[-1]) * prediction, axis=-1), logits)
