"""Influence of training digits: scores against what 1,024 retrainings on halves of the training set really give.

Run:     python -m experiments.study_influence study --seeds 1    (the data come with scikit-learn)
         python -m experiments.study_influence --subset 7         (one member: the seventh random half)
Result:  linear datamodeling score on all 1,024 halves, 360 test images, seed 0 (95 % interval):
           influence function, conjugate gradients 0.717 (0.707 to 0.726), exact inverse 0.717 (0.707 to 0.726)
           the same with EK-FAC 0.534 (0.517 to 0.550)
           TRAK, 5 models 0.463 (0.444 to 0.482), 1 model 0.356 (0.338 to 0.374)
           TracIn 0.274 (0.257 to 0.290), gradient cosine 0.201 (0.191 to 0.211), random 0.004 (-0.001 to 0.010)
         All 1,024 retrainings and the scores take 153 s of CPU time on 2 shared cores (jax 0.10.2)
Source:  Ilyas et al. 2022, https://arxiv.org/abs/2202.00622; Park et al. 2023, https://arxiv.org/abs/2303.14186
"""

import functools

import optax

import deeplab as dl
from deeplab.explain.examples.retraining import random_subset
from deeplab.train.losses import losses_by_example
from experiments.pages import influence_study


def experiment(
    subset: float = -1.0,
    width: int = 32,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 1e-2,
    weight_decay: float = 1e-2,
) -> dl.Experiment:
    """Digits with a perceptron of one hidden layer, trained on a random half of the 1,437 training images.

    Args:
      subset: Number of the half, a whole number; all training images below 0. It is a float, so that members
        which differ in it are one program.
      width: Number of features of the hidden layer.
      epochs: Number of passes over the training images, some 11 steps each.
      batch_size: Number of images per step, of which those of the subset count.
      learning_rate: Peak learning rate of Adam under the cosine schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
    """
    data = dl.data.Images("digits", batch_size=batch_size, epochs=epochs)
    data = dl.data.weighted(data, random_subset(subset, data.num_train))
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)
    return dl.Experiment(
        data=data,
        model=dl.models.MLP(data.num_classes, (width,)),
        task=dl.tasks.Classification(),
        optimizer=optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only),
        eval_every=data.num_steps,
    )


STUDY = dl.Study(
    axes={"subset": tuple(map(float, range(1024)))},
    smoke={"subset": tuple(map(float, range(8)))},
    probe=losses_by_example,
    summarize=functools.partial(influence_study.summarize, experiment),
    sections=influence_study.sections,
)

if __name__ == "__main__":
    dl.main(experiment, study=STUDY)
