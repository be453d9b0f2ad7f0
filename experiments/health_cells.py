"""Blood cells in microscope images (BCCD), a box around each: FCOS on EfficientNet-lite0, or from scratch.

Run:     python -m experiments.health_cells --weights DIR      (a folder in timm's layout, or a name at the hub)
         python -m experiments.health_cells --trunk resnet --height 192 --epochs 14 --learning-rate 2e-3
Predict: python -m experiments.health_cells predict my-smear.jpg
Result:  72 test images, seed 0, trained on train and validation, recipes not tuned: AP50 0.866, AP75 0.605, AP 0.550
         (4,420 s of CPU time, 1,800 of them the system's, which large pages save; trained at 48189a5). From scratch at
         --height 192: AP50 0.766, AP 0.451 (385 s)
Source:  Tian et al. 2019 (FCOS), https://arxiv.org/abs/1904.01355; Tan and Le 2019, https://arxiv.org/abs/1905.11946
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.data.sets.health.bccd import BCCD
from deeplab.models.vision.convolutional import efficientnet, resnet


def experiment(
    trunk: Literal["lite0", "resnet"] = "lite0",
    weights: str = "timm/tf_efficientnet_lite0.in1k",
    height: int = 256,
    width: int = 64,
    depth: int = 2,
    epochs: int = 22,
    batch_size: int = 4,
    learning_rate: float = 1.5e-3,
    trunk_rate: float = 0.4,
    weight_decay: float = 2e-2,
    average: float = 0.99,
    eval_split: Literal["validation", "test"] = "test",
) -> dl.Experiment:
    """BCCD: red cells, white cells and platelets; recipes are chosen on "validation".

    Args:
      trunk: Network below the pyramid: EfficientNet-lite0 with weights of ImageNet, or a ResNet from scratch.
      weights: Folder of EfficientNet-lite0, or its name at the hub.
      height: Height of the images in pixels; their width is 4 / 3 of it.
      width: Number of channels of the pyramid and of the towers.
      depth: Number of convolutions of a tower.
      epochs: Number of passes over the training images.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate.
      trunk_rate: Learning rate of a trunk with weights, as a multiple of the rest's.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      average: Decay of the moving average of the parameters, which is evaluated.
      eval_split: Split to evaluate on; where it is "test" the validation images are training images, too.
    """
    move = augment.move_boxes(zoom=0.2, shift=0.1, mirror=0.5, turn=0.5)
    color = augment.chain(augment.brightness(0.1), augment.contrast(0.2))

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        example = example | {"image": example["image"].astype(jnp.float32) / 255}
        if key is None:
            return example
        example = move(key, example)
        return example | {"image": color(jax.random.fold_in(key, 1), example["image"])}

    cells, half = BCCD((height, height * 4 // 3), joined=eval_split == "test"), dl.data.Standardize((0.5,), (0.5,))
    data = dl.data.Examples(cells, batch_size, epochs, prepare=prepare, eval_split=eval_split, normalize=half)
    trunks = {
        "lite0": efficientnet.EfficientNet(**efficientnet.VARIANTS["lite0"], drop_path=0.0),
        "resnet": resnet.ResNet(None, (1, 1, 1, 1), width=32, stem=resnet.ImageNetStem),
    }
    given = ("params/trunk", "variables/batch_stats/trunk") if trunk == "lite0" else ()
    rate = dl.optim.warmup_cosine(1.0, data.num_steps, warmup_fraction=0.1)

    def adam(peak: float) -> optax.GradientTransformation:
        return optax.adamw(lambda step: peak * rate(step), weight_decay=weight_decay, mask=dl.optim.matrices_only)

    slower = adam(learning_rate * (trunk_rate if given else 1.0))
    groups = dl.optim.groups({"^trunk/": slower, ".*": adam(learning_rate)})
    return dl.Experiment(
        data=data,
        model=dl.models.FCOS(trunks[trunk], data.num_classes, width, depth, levels=3),
        task=dl.tasks.Detection(data.class_names),
        optimizer=dl.optim.with_ema(optax.chain(optax.clip_by_global_norm(10.0), groups), average),
        weights=[dl.hub.weights(weights, path=path, skip=["^head/"]) for path in given],
        eval_every=10 * data.steps_per_epoch,
        show=dl.report.boxes.box_cards(data.class_names),
    )


if __name__ == "__main__":
    dl.main(experiment)
