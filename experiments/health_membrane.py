"""Segmentation of neuron membranes in electron-microscopy slices (ISBI 2012) with a U-Net.

Run:     python -m experiments.health_membrane
Result:  slices 25 to 29: mean IoU 0.787, pixel error 7.74 %, seed 0, 368 s, two cores (commit 5ab16ac); a random forest
         of pixel features 0.729, 9.99 %, a threshold 0.629, 17.22 % (experiments.benchmarks.membrane_baselines)
Source:  Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; elastic deformation: Simard et al. 2003,
         https://doi.org/10.1109/ICDAR.2003.1227801; Dice loss: Milletari et al. 2016, https://arxiv.org/abs/1606.04797
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.data.sets.health.membrane import MEMBRANE


def experiment(
    width: int = 16,
    depth: int = 3,
    patch: int = 192,
    num_steps: int = 500,
    batch_size: int = 5,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-2,
    dice: float = 0.5,
    elastic: float = 4.0,
    smoothness: float = 16.0,
    dropout: float = 0.2,
    eval_split: Literal["validation", "test"] = "test",
) -> dl.Experiment:
    """Patches of slices 0 to 19 for training; whole slices 20 to 24 for validation and 25 to 29 for the test.

    Args:
      width: Number of channels at full resolution.
      depth: Number of times that the resolution is halved.
      patch: Side of the training patches, in pixels.
      num_steps: Number of training steps.
      batch_size: Number of patches per step, and of slices per evaluation batch.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      dice: Weight of the Dice loss relative to the cross-entropy.
      elastic: Standard deviation of the elastic displacements along each axis, in pixels.
      smoothness: Standard deviation of the Gaussian filter that smooths the displacements, in pixels.
      dropout: Dropout probability at the lowest resolution.
      eval_split: Split to evaluate on; recipes are chosen on "validation".
    """
    room = MEMBRANE.fields["image"].shape[0] - patch
    field = augment.chain(augment.elastic(elastic, smoothness), augment.quarter_turns(), augment.anywhere(room, room))
    move = augment.together(field, patch, patch, outside="mirror")

    def prepare(example: dict[str, Any], key: jax.Array | None) -> dict[str, Any]:
        image = example["image"].astype(jnp.float32)
        # Slices differ in brightness and contrast.
        example = example | {"image": (image - jnp.mean(image)) / (jnp.std(image) + 1e-3)}
        return example if key is None else move(key, example)

    data = dl.data.Examples(MEMBRANE, batch_size, num_steps=num_steps, prepare=prepare, eval_split=eval_split)
    return dl.Experiment(
        data=data,
        model=dl.models.UNet(data.num_classes, width, depth, dropout=dropout),
        task=dl.tasks.Segmentation(data.class_names, dice=dice),
        optimizer=optax.adamw(
            dl.optim.warmup_cosine(learning_rate, num_steps), weight_decay=weight_decay, mask=dl.optim.matrices_only
        ),
        eval_every=max(1, num_steps // 4),
        show=dl.report.masks.mask_cards(MEMBRANE.palette),
    )


if __name__ == "__main__":
    dl.main(experiment)
