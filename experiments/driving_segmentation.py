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


def experiment(
    model: Literal["linknet", "unet"] = "linknet",
    width: int = 32,
    depth: int = 4,
    epochs: int = 100,
    batch_size: int = 8,
    learning_rate: float = 2e-3,
    weight_decay: float = 2e-2,
    dice: float = 0.5,
    degrees: float = 5.0,
    zoom: float = 0.3,
    eval_split: Literal["validation", "test"] = "test",
) -> dl.Experiment:
    """CamVid: 367 training, 101 validation and 233 test frames; void pixels are excluded from loss and metrics.

    Args:
      model: Network, a light encoder-decoder (LinkNet) or a U-Net.
      width: Number of channels of its first stage.
      depth: Number of stages, each with half the resolution and twice the channels of the one before.
      epochs: Number of passes over the training frames.
      batch_size: Number of frames per step.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      dice: Weight of the Dice loss relative to the cross-entropy.
      degrees: Largest rotation, in degrees.
      zoom: Largest change of scale, as a logarithm.
      eval_split: Split to evaluate on; recipes are chosen on "validation".
    """
    move = augment.together(augment.pose(degrees, zoom, mirror=0.5), 180, 240, void=CAMVID.void)

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        # Each frame is normalized by its own mean and spread: most test frames are of a drive outside the training set.
        image = example["image"].astype(jnp.float32)
        mean, spread = jnp.mean(image, (0, 1), keepdims=True), jnp.std(image, (0, 1), keepdims=True)
        example = example | {"image": (image - mean) / (spread + 1)}
        return example if key is None else move(key, example)  # labels are resampled to the size of the images

    data = dl.data.Examples(CAMVID, batch_size, epochs, prepare=prepare, eval_split=eval_split)
    nets = {
        "linknet": dl.models.LinkNet(data.num_classes, (1,) * depth, width),
        "unet": dl.models.UNet(data.num_classes, width, depth),
    }
    # The class weights of ENet: rare classes weigh more, and the weight is bounded.
    weights = [1 / math.log(1.02 + share) for share in CAMVID.shares]
    return dl.Experiment(
        data=data,
        model=nets[model],
        task=dl.tasks.Segmentation(data.class_names, weights, dice, CAMVID.void, mirror=True, scales=(0.75, 1.0)),
        optimizer=optax.adamw(
            dl.optim.warmup_cosine(learning_rate, data.num_steps),
            weight_decay=weight_decay,
            mask=dl.optim.matrices_only,
        ),
        eval_every=25 * data.steps_per_epoch,
        show=dl.report.masks.mask_cards(CAMVID.palette, CAMVID.void),
    )


if __name__ == "__main__":
    dl.main(experiment)
