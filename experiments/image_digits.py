"""Handwritten digits of 8 x 8 pixels with a small residual network.

Run:     python -m experiments.image_digits               (the data come with scikit-learn: nothing to download)
Sweep:   python -m experiments.image_digits sweep --learning-rate 1e-3..1e-2:4 --seeds 4
Result:  not measured yet
Source:  He et al. 2016, https://arxiv.org/abs/1512.03385; label smoothing: Szegedy et al. 2016,
         https://arxiv.org/abs/1512.00567
"""

import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.models import resnet


def experiment(
    width: int = 32,
    epochs: int = 80,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-2,
    label_smoothing: float = 0.1,
    rotation: float = 10.0,
    zoom: float = 0.1,
) -> dl.Experiment:
    """Digits, 1,437 to learn from and 360 to test on.

    Args:
      width: channels of the first of two stages.
      epochs: passes over the training images, 11 steps each.
      batch_size: images a step.
      learning_rate: peak of the cosine.
      weight_decay: of the kernels, times the learning rate.
      label_smoothing: probability spread evenly over the classes.
      rotation: largest turn, in degrees.
      zoom: largest change of size, as a logarithm.
    """
    data = dl.data.Images(
        "digits",
        batch_size=batch_size,
        epochs=epochs,
        augment=augment.chain(augment.rotate(rotation), augment.zoom(zoom), augment.shift(1)),
    )
    return dl.Experiment(
        data=data,
        model=dl.models.ResNet(num_classes=data.num_classes, stage_sizes=(1, 1), width=width),
        task=dl.tasks.Classification(label_smoothing=label_smoothing),
        optimizer=optax.adamw(
            dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1),
            weight_decay=weight_decay,
            mask=dl.optim.matrices_only,
        ),
        rules=resnet.RULES,
    )


if __name__ == "__main__":
    dl.main(experiment)
