"""Fine-tuning of EfficientNet-lite for semantic segmentation of driving scenes (CamVid), with a light decoder.

Run:     python -m experiments.driving_finetune --weights DIR     (a folder, or a name at the hub; --data-dir FOLDER)
Result:  233 test frames at full label size, from half the size, two sizes and mirror images averaged: mean IoU 59.2 %,
         pixel accuracy 88.6 % (lite0, seed 0, 6,240 s of CPU time, commit 083a5ad); from scratch 45.5; ENet 51.3
Source:  EfficientNet, arxiv.org/abs/1905.11946; LinkNet, arxiv.org/abs/1707.03718; ENet, arxiv.org/abs/1606.02147
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.data.sets.image.camvid import CAMVID
from deeplab.models.vision.convolutional import efficientnet

_CLOSER = 1.4  # frames have half their size, and the features for ImageNet are coarse


def experiment(
    weights: str = "timm/tf_efficientnet_lite0.in1k",
    variant: Literal["test", "lite0", "lite1", "lite2", "lite3", "lite4"] = "lite0",
    epochs: int = 64,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    trunk_rate: float = 0.25,
    weight_decay: float = 2e-2,
    average: float = 0.998,
    dice: float = 0.5,
    degrees: float = 5.0,
    zoom: float = 0.3,
    color: float = 0.5,
    eval_split: Literal["validation", "test"] = "test",
) -> dl.Experiment:
    """CamVid: 367 training, 101 validation and 233 test frames; void pixels are excluded from loss and metrics.

    Args:
      weights: Folder of the EfficientNet, or its name at the hub.
      variant: Size of the EfficientNet, a key of `efficientnet.VARIANTS`.
      epochs: Number of passes over the training frames.
      batch_size: Number of frames per step.
      learning_rate: Peak learning rate of the decoder.
      trunk_rate: Learning rate of the EfficientNet, as a multiple of the decoder's.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      average: Decay of the moving average of the parameters, which is evaluated.
      dice: Weight of the Dice loss relative to the cross-entropy.
      degrees: Largest rotation, in degrees.
      zoom: Largest change of scale, as a logarithm.
      color: Largest change of gamma, as a logarithm, and of saturation.
      eval_split: Split to evaluate on; recipes are chosen on "validation".
    """
    closer = augment.chain(lambda _, place: place / _CLOSER, augment.pose(degrees, zoom, 0.5), augment.anywhere(50, 68))
    move = augment.together(closer, 180, 240, void=CAMVID.void)
    recolor = augment.chain(augment.gamma(color), augment.saturation(color), augment.contrast(0.3))

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        # Each frame is normalized by its own mean and spread: most test frames are of a drive outside the training set.
        image = example["image"].astype(jnp.float32) / 255
        image = image if key is None else recolor(jax.random.fold_in(key, 1), image)
        mean, spread = jnp.mean(image, (0, 1), keepdims=True), jnp.std(image, (0, 1), keepdims=True)
        example = example | {"image": (image - mean) / (spread + 1 / 255)}
        return example if key is None else move(key, example)  # labels are resampled to the size of the images

    data = dl.data.Examples(CAMVID, batch_size, epochs, prepare=prepare, eval_split=eval_split)
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)

    def adam(factor: float) -> optax.GradientTransformation:
        return optax.adamw(lambda step: factor * rate(step), weight_decay=weight_decay, mask=dl.optim.matrices_only)

    trunk = efficientnet.EfficientNet(**efficientnet.VARIANTS[variant]).trunk
    # The class weights of ENet: rare classes weigh more, and the weight is bounded.
    rare = [1 / math.log(1.02 + share) for share in CAMVID.shares]
    parts = ("params", "variables/batch_stats")
    return dl.Experiment(
        data=data,
        model=dl.models.FeatureDecoder(trunk.clone(taps=(1, *trunk.taps)), data.num_classes),  # stride 2, too
        task=dl.tasks.Segmentation(data.class_names, rare, dice, CAMVID.void, mirror=True, scales=(1.25, 1.75)),
        optimizer=dl.optim.with_ema(dl.optim.groups({"^trunk/": adam(trunk_rate), ".*": adam(1.0)}), average),
        weights=[dl.hub.weights(weights, path=part, skip=["^(?!trunk/)"]) for part in parts],
        eval_every=16 * data.steps_per_epoch,
        show=dl.report.masks.mask_cards(CAMVID.palette, CAMVID.void),
    )


if __name__ == "__main__":
    dl.main(experiment)
