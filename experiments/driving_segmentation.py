"""Semantic segmentation of driving scenes (CamVid) with a light encoder-decoder (LinkNet) or a U-Net.

Run:     python -m experiments.driving_segmentation       (downloads the frames, or: --data-dir FOLDER)
Result:  233 test frames at full label size, from images of half the size: mean IoU 45.5 %, pixel accuracy 81.1 %, seed
         0 (of the image alone 43.5 %, with its mirror image 44.5 %; at three quarters of its size, too, 45.5 %: the
         sizes were chosen on validation). 100 epochs in 63 minutes of two cores that other work shared (4,170 s of CPU
         time; trained at commit d8777e7). Validation, frames of drives in the training set: 60.3 %. At full size ENet
         has 51.3, SegNet 55.6
Source:  LinkNet: Chaurasia and Culurciello 2017, https://arxiv.org/abs/1707.03718; U-Net: Ronneberger et al. 2015,
         https://arxiv.org/abs/1505.04597; class weights: Paszke et al. 2016 (ENet), https://arxiv.org/abs/1606.02147
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

_ENLARGED = 1.4
_ROOM = (50, 68)  # rows and columns of a frame around the part that is seen enlarged
_CLOSER_SCALES = (1.25, 1.75)


def experiment(
    model: Literal["linknet", "unet", "lite"] = "linknet",
    weights: str = "timm/tf_efficientnet_lite0.in1k",
    variant: Literal["test", "lite0", "lite1", "lite2", "lite3", "lite4"] = "lite0",
    width: int = 32,
    depth: int = 4,
    epochs: int = 100,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    weight_decay: float = 2e-2,
    dice: float = 0.5,
    degrees: float = 5.0,
    zoom: float = 0.3,
    trunk_rate: float = 0.25,
    average: float = 0.998,
    eval_split: Literal["validation", "test"] = "test",
) -> dl.Experiment:
    """CamVid: 367 training, 101 validation and 233 test frames; void pixels are excluded from loss and metrics.

    Args:
      model: Network, a light encoder-decoder (LinkNet), a U-Net, or a light decoder of EfficientNet-lite.
      weights: Folder of the EfficientNet, or its name at the hub.
      variant: Size of the EfficientNet, a key of `efficientnet.VARIANTS`.
      width: Number of channels of the first stage of a LinkNet or U-Net.
      depth: Number of its stages, each with half the resolution and twice the channels of the one before.
      epochs: Number of passes over the training frames.
      batch_size: Number of frames per step.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      dice: Weight of the Dice loss relative to the cross-entropy.
      degrees: Largest rotation, in degrees.
      zoom: Largest change of scale, as a logarithm.
      trunk_rate: Learning rate of the EfficientNet, as a multiple of the decoder's.
      average: Decay of the moving average of the parameters of these two, which is evaluated.
      eval_split: Split to evaluate on; recipes are chosen on "validation".
    """
    lite = model == "lite"
    pose = augment.pose(degrees, zoom, mirror=0.5)
    field = augment.chain(_closer, pose, augment.anywhere(*_ROOM)) if lite else pose
    move = augment.together(field, 180, 240, void=CAMVID.void)
    color = augment.chain(augment.gamma(0.5), augment.saturation(0.5), augment.contrast(0.3))

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        # Each frame is normalized by its own mean and spread: most test frames are of a drive outside the training set.
        image = example["image"].astype(jnp.float32)
        if lite and key is not None:
            image = 255 * color(jax.random.fold_in(key, 1), image / 255)
        mean, spread = jnp.mean(image, (0, 1), keepdims=True), jnp.std(image, (0, 1), keepdims=True)
        example = example | {"image": (image - mean) / (spread + 1)}
        return example if key is None else move(key, example)  # labels are resampled to the size of the images

    data = dl.data.Examples(CAMVID, batch_size, epochs, prepare=prepare, eval_split=eval_split)
    trunk = efficientnet.EfficientNet(**efficientnet.VARIANTS[variant]).trunk
    nets = {
        "linknet": dl.models.LinkNet(data.num_classes, (1,) * depth, width),
        "unet": dl.models.UNet(data.num_classes, width, depth),
        "lite": dl.models.FeatureDecoder(trunk.clone(taps=(1, *trunk.taps)), data.num_classes),  # stride 2, too
    }
    # The class weights of ENet: rare classes weigh more, and the weight is bounded.
    rare = [1 / math.log(1.02 + share) for share in CAMVID.shares]
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)

    def adam(factor: float) -> optax.GradientTransformation:
        return optax.adamw(lambda step: factor * rate(step), weight_decay=weight_decay, mask=dl.optim.matrices_only)

    groups = dl.optim.groups({"^trunk/": adam(trunk_rate), ".*": adam(1.0)})
    return dl.Experiment(
        data=data,
        model=nets[model],
        task=dl.tasks.Segmentation(
            data.class_names, rare, dice, CAMVID.void, mirror=True, scales=_CLOSER_SCALES if lite else (0.75, 1.0)
        ),
        optimizer=dl.optim.with_ema(groups, average) if lite else adam(1.0),
        weights=[
            dl.hub.weights(weights, skip=["^(?!trunk/)"]),
            dl.hub.weights(weights, path="variables/batch_stats", skip=["^(?!trunk/)"]),
        ]
        if lite
        else [],
        eval_every=25 * data.steps_per_epoch,
        show=dl.report.masks.mask_cards(CAMVID.palette, CAMVID.void),
    )


def _closer(key: jax.Array, coordinates: jax.Array) -> jax.Array:
    """A part of the frame, enlarged: frames have half their size, and the features for ImageNet are coarse."""
    del key
    return coordinates / _ENLARGED


if __name__ == "__main__":
    dl.main(experiment)
