"""Driving scenes (CamVid), a class for each pixel, with a light encoder-decoder or a U-Net.

Run:     python -m experiments.driving_segmentation       (downloads the frames, or: --data-dir FOLDER)
Result:  233 test frames at full label size, from images of half the size: mean IoU 45.5 %, 81.1 % of the pixels, seed 0
         (of the image alone 43.5 %, with its mirror image 44.5 %; at three quarters of its size, too, 45.5 %: the sizes
         were chosen on validation). 100 epochs in 63 minutes of two cores that other work shared (4,170 s of CPU time;
         trained at commit d8777e7). Validation, frames of drives that are learnt from: 60.3 %. At full size ENet has
         51.3, SegNet 55.6
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
    """CamVid, 367 frames to learn from, 101 for validation and 233 for the test; void counts nowhere.

    Args:
      model: the light encoder-decoder, or the U-Net.
      width: channels of its first stage.
      depth: stages, of half the places and twice the channels each.
      epochs: passes over the training frames.
      batch_size: frames a step.
      learning_rate: peak of the cosine.
      weight_decay: of the kernels, times the learning rate.
      dice: weight of the Dice loss beside the cross-entropy.
      degrees: largest turn.
      zoom: largest change of size, as a logarithm.
      eval_split: the frames to evaluate on; choose recipes on "validation".
    """
    move = augment.together(augment.pose(degrees, zoom, mirror=0.5), 180, 240, void=CAMVID.void)

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        # Each frame by its own light: most of the test's are of a drive that is not learnt from.
        image = example["image"].astype(jnp.float32)
        mean, spread = jnp.mean(image, (0, 1), keepdims=True), jnp.std(image, (0, 1), keepdims=True)
        example = example | {"image": (image - mean) / (spread + 1)}
        return example if key is None else move(key, example)  # labels are learnt at the size of the images

    data = dl.data.Examples(CAMVID, batch_size, epochs, prepare=prepare, eval_split=eval_split)
    nets = {
        "linknet": dl.models.LinkNet(data.num_classes, (1,) * depth, width),
        "unet": dl.models.UNet(data.num_classes, width, depth),
    }
    # ENet's: rare classes weigh more, and none without bound.
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
