"""Blood cells in microscope images (BCCD): a box around each, by FCOS on EfficientNet-lite0 or a ResNet from scratch.

Run:     python -m experiments.health_cells --data-dir DIR --weights DIR    (a folder in timm's layout, or a hub name)
Scratch: python -m experiments.health_cells --data-dir DIR --trunk resnet
Result:  not yet measured
Source:  Tian et al. 2019 (FCOS), https://arxiv.org/abs/1904.01355; Tan and Le 2019, https://arxiv.org/abs/1905.11946
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.data.sets.health.bccd import BCCD
from deeplab.models.vision.convolutional import efficientnet
from deeplab.models.vision.convolutional.resnet import ImageNetStem, ResNet
from deeplab.models.vision.detection.fcos import FCOS

_HALF = dl.data.Standardize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def experiment(
    trunk: Literal["lite0", "test", "resnet"] = "lite0",
    weights: str = "timm/tf_efficientnet_lite0.in1k",
    height: int = 240,
    width: int = 64,
    depth: int = 2,
    resnet_width: int = 32,
    epochs: int = 20,
    batch_size: int = 8,
    learning_rate: float = 1e-3,
    trunk_rate: float = 0.3,
    weight_decay: float = 2e-2,
    radius: dl.StaticFloat = 1.5,
    zoom: float = 0.2,
    shift: float = 0.1,
    average: float = 0.99,
    eval_split: Literal["validation", "test"] = "test",
) -> dl.Experiment:
    """BCCD: red cells, white cells and platelets.

    Args:
      trunk: Network below the pyramid: EfficientNet-lite0 with trained weights, or a ResNet without.
      weights: Folder of EfficientNet, or its name at the hub; without weights if empty.
      height: Height of the images in pixels; their width is 4 / 3 of it.
      width: Number of channels of the pyramid and the towers.
      depth: Number of convolutions of each tower.
      resnet_width: Number of channels of the ResNet's first stage.
      epochs: Number of passes over the training images.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate.
      trunk_rate: Learning rate of a trained trunk, as a multiple of the rest's.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      radius: Largest distance of a place that tells an object from its center, in strides.
      zoom: Largest change of scale, as a logarithm.
      shift: Largest shift, as a share of the image's sides.
      average: Decay of the moving average of the parameters, which is evaluated.
      eval_split: Split to evaluate on; recipes are chosen on "validation", and "test" trains on its images, too.
    """
    move = augment.move_boxes(zoom, shift, mirror=0.5, turn=0.5)
    color = augment.chain(augment.brightness(0.1), augment.contrast(0.2))

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        example = example | {"image": example["image"].astype(jnp.float32) / 255}
        if key is None:
            return example
        moved = move(key, example)
        return moved | {"image": color(jax.random.fold_in(key, 1), moved["image"])}

    cells = BCCD((height, height * 4 // 3), joined=eval_split == "test")
    data = dl.data.Examples(cells, batch_size, epochs, prepare=prepare, eval_split=eval_split, normalize=_HALF)
    below = {
        "lite0": efficientnet.EfficientNet(**{**efficientnet.VARIANTS["lite0"], "drop_path": 0.0}),
        "test": efficientnet.EfficientNet(**efficientnet.VARIANTS["test"]),
        "resnet": ResNet(None, (2, 2, 2, 2), resnet_width, stem=ImageNetStem),
    }
    given = weights if trunk == "lite0" else ""
    rate = dl.optim.warmup_cosine(1.0, data.num_steps, warmup_fraction=0.1)

    def adam(peak: float) -> optax.GradientTransformation:
        return optax.adamw(lambda step: peak * rate(step), weight_decay=weight_decay, mask=dl.optim.matrices_only)

    slower = adam(trunk_rate * learning_rate if given else learning_rate)
    groups = dl.optim.groups({"^trunk/": slower, ".*": adam(learning_rate)})
    return dl.Experiment(
        data=data,
        model=FCOS(below[trunk], data.num_classes, width, depth, levels=3),
        task=dl.tasks.Detection(data.class_names, radius=radius),
        optimizer=dl.optim.with_ema(optax.chain(optax.clip_by_global_norm(10.0), groups), average),
        weights=()
        if not given
        else (
            dl.hub.weights(given, path="params/trunk", skip=["^head/"]),
            dl.hub.weights(given, path="variables/batch_stats/trunk", skip=["^head/"]),
        ),
        eval_every=5 * data.steps_per_epoch,
    )


if __name__ == "__main__":
    dl.main(experiment)
