"""Semantic segmentation: a class for each pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks import views
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import each_class, named_outputs
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MeanIoU:
    """Mean intersection over union, from the confusion matrix [K, K] of all pixels: rows labels, columns predictions.

    IoU_k = c_kk / (sum_j c_kj + sum_j c_jk - c_kk); the mean is over classes that occur in labels or predictions.

    Example:
      >>> MeanIoU(np.array([[2, 1], [1, 0]])).compute()
      0.25
    """

    confusion: Any

    def __add__(self, other: MeanIoU) -> MeanIoU:
        return MeanIoU(self.confusion + other.confusion)

    def compute(self) -> float:
        """The value; NaN when nothing was counted."""
        each = ious(np.asarray(self.confusion))
        return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def ious(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, [..., K, K] -> [..., K]; NaN for a class that does not occur."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(-1) + confusion.sum(-2) - hits
    return np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)


@dataclasses.dataclass(frozen=True)
@ranges.checked(class_weights=ranges.NATURAL, dice=ranges.NATURAL, void=ranges.NATURAL, scales=ranges.POSITIVE)
class Segmentation(Task):
    """Cross-entropy over the pixels of an image, plus an optional Dice loss.

    With pixels p of label y_p, class weights w and logits z_p, an example's loss is
    sum_p w_(y_p) (-log softmax(z_p)_(y_p)) / sum_p w_(y_p) + dice * D. With q = softmax(z), g = onehot(y), and the
    mean over the classes in the label, D = 1 - mean_k 2 sum_p q_pk g_pk / (sum_p q_pk^2 + sum_p g_pk^2).

    `batch["mask"]` is [B, H, W], integers. An image without a pixel that counts, because all are void or of weight 0,
    has no loss, and no weight in the mean. Logits of another size are resized bilinearly, so that predictions have the
    full size of the label.

    Args:
      class_names: Names of the K classes.
      class_weights: Class weights w, [K]; all 1 when empty.
      dice: Weight of the Dice loss (Milletari et al. 2016, https://arxiv.org/abs/1606.04797); may be a tracer.
      void: Label of pixels that are ignored in training and metrics; None if there is no such label.
      mirror: Whether evaluations average the probabilities of an image and of its mirror image.
      scales: Scales of the image over which evaluations average the probabilities (Chen et al. 2017,
        https://arxiv.org/abs/1606.00915, take the maximum over 0.5, 0.75 and 1). The time of an evaluation is
        proportional to the sum of their squares.

    Example:
      >>> batch = {"image": jnp.zeros((1, 2, 2, 3)), "mask": jnp.array([[[0, 1], [1, 9]]]), "weight": jnp.ones(1)}
      >>> task = Segmentation(("road", "car"), void=9)
      >>> round(task.loss(lambda x, **_: (x[..., :2], {}), batch, None).loss.compute(), 4)  # log 2
      0.6931
    """

    headline: ClassVar[tuple[str, ...]] = ("miou",)
    class_names: Sequence[str]
    class_weights: Sequence[float] = ()
    dice: float | jax.Array = 0.0
    void: int | None = None
    mirror: bool = False
    scales: Sequence[float] = (1.0,)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        metrics = _metrics(self._pixels(logits, batch["mask"]), batch["weight"])
        return Loss(metrics.pop("loss"), metrics, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        return _metrics(self._pixels(self._logits(apply, batch), batch["mask"]), batch["weight"])

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`prediction` [B, H, W], `confusion` [B, K, K] and `loss` [B], NaN where no pixel counts.

        The prediction is uint8, and uint16 of more than 256 classes.
        """
        out = self._pixels(self._logits(apply, batch), batch["mask"])
        loss = jnp.where(out.pop("counts"), out["loss"], jnp.nan)
        kind = jnp.uint8 if len(self.class_names) <= 256 else jnp.uint16
        return out | {"prediction": out["prediction"].astype(kind), "loss": loss}

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        outputs = apply(*self.inputs(batch))[0].shape[-1]
        return {"mask": Labels(named_outputs(self.class_names, outputs), ignored=self.void)}

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Mean log-likelihood of each example's labeled pixels, or of the classes `target`, [B, H, W]."""
        mask = batch["mask"] if target is None else jnp.broadcast_to(jnp.asarray(target), batch["mask"].shape)
        plain = dataclasses.replace(self, class_weights=(), dice=0.0)
        return -plain._pixels(outputs, mask)["loss"]

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The IoU of each class over a split; a class that does not occur is left out."""
        each = ious(predictions["confusion"].astype(np.float64).sum(axis=0))
        return {f"iou_{name}": float(x) for name, x in zip(self.class_names, each, strict=True) if np.isfinite(x)}

    def _logits(self, apply: Apply, batch: Batch) -> Float[Array, "B h w K"]:
        """Logits of an image; with several views, the log of their mean probabilities, at the mask's size."""
        (image,) = self.inputs(batch)
        if self.scales == (1.0,) and not self.mirror:
            return apply(image)[0]
        size = batch["mask"].shape[1:3]
        seen = [logits for scale in self.scales for logits in _seen(apply, image, scale, self.mirror)]
        log_probs = [jax.nn.log_softmax(_resized(logits, size)) for logits in seen]
        return jax.nn.logsumexp(jnp.stack(log_probs), axis=0) - jnp.log(len(seen))

    def _pixels(self, logits: Float[Array, "B h w K"], mask: Int[Array, "B H W"]) -> dict[str, jax.Array]:
        size, num_classes = mask.shape[1:], len(self.class_names)
        logits = _resized(logits.astype(jnp.float32), size)
        target = jax.nn.one_hot(mask, num_classes)  # a label outside the K classes, such as `void`, is a row of zeros
        if self.void is not None:
            target = target * (mask != self.void)[..., None]
        log_probs = jax.nn.log_softmax(logits)
        given = self.class_weights if len(self.class_weights) else [1.0] * num_classes
        class_weights = each_class("class_weights", given, num_classes, jnp.float32)
        weighted = target * class_weights[None, None, None, :]
        total = jnp.sum(weighted, axis=(1, 2, 3))
        losses = -jnp.sum(weighted * log_probs, axis=(1, 2, 3)) / jnp.where(
            total > 0, total, 1.0
        )  # 0 where all is void
        prediction = jnp.argmax(logits, axis=-1)
        confusion = jnp.einsum("bhwk,bhwj->bkj", target, jax.nn.one_hot(prediction, num_classes))
        undefined = jnp.any(jnp.isnan(logits).any(axis=-1) & (target.sum(axis=-1) > 0), axis=(1, 2))
        return {
            "prediction": prediction,
            "confusion": jnp.where(undefined[:, None, None], jnp.nan, confusion),
            "counts": total > 0,
            "loss": losses + self.dice * _dice_loss(jnp.exp(log_probs), target),
        }


def _seen(apply: Apply, image: jax.Array, scale: float, mirror: bool) -> list[Float[Array, "B h w K"]]:
    """Logits of images at a scale, and of their mirror images, flipped back."""
    image = _resized(image, [round(n * scale) for n in image.shape[1:3]])
    if not mirror:
        return [apply(image)[0].astype(jnp.float32)]
    # One batch of adjacent pairs halves the program, and keeps both images on the same device of a mesh.
    pairs = jnp.stack([image, views.mirrored(image)], axis=1)
    logits = apply(pairs.reshape(-1, *image.shape[1:]))[0].astype(jnp.float32)
    logits = logits.reshape(len(image), 2, *logits.shape[1:])
    return [logits[:, 0], views.mirrored(logits[:, 1])]


def _resized(images: Float[Array, "B h w C"], size: Sequence[int]) -> Float[Array, "B H W C"]:
    if images.shape[1:3] == tuple(size):
        return images
    return jax.image.resize(images, (len(images), *size, images.shape[-1]), "bilinear")


def _dice_loss(probs: Float[Array, "B H W K"], target: Float[Array, "B H W K"]) -> Float[Array, " B"]:
    """One minus the mean soft Dice coefficient of the classes that occur; void pixels are ignored."""
    probs = probs * jnp.sum(target, axis=-1, keepdims=True)
    areas = jnp.sum(target, axis=(1, 2))  # [B, K]; the squares of ones are ones
    overlap = 2 * jnp.sum(probs * target, axis=(1, 2)) / jnp.maximum(jnp.sum(probs**2, axis=(1, 2)) + areas, 1e-6)
    there = areas > 0
    return 1 - jnp.sum(overlap * there, axis=1) / jnp.maximum(jnp.sum(there, axis=1), 1)


def _metrics(out: dict[str, jax.Array], weight: Float[Array, " B"]) -> Metrics:
    confusion, each = out["confusion"], weight[:, None, None]
    counts = jnp.sum(jnp.where(each != 0, confusion * each, 0), axis=0)
    pixels = jnp.sum(counts)
    loss = Mean.of(out["loss"], jnp.where(out["counts"], weight, 0))
    return {"loss": loss, "miou": MeanIoU(counts), "pixel_error": Mean(pixels - jnp.trace(counts), pixels)}
