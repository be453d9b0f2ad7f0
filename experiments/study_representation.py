"""Networks learn features layer by layer: linear probes by depth, over training and seeds, beside random networks.

Run:     python -m experiments.study_representation study    (downloads 31 MB, or: --data-dir FOLDER)
Result:  none yet (once measured: probes by depth after 0 to 1,000 steps, seconds, commit)
Source:  Alain and Bengio 2016, https://arxiv.org/abs/1610.01644
"""

import optax

import deeplab as dl
from deeplab.models.vision.convolutional import resnet
from experiments.pages import representation_study


def experiment(
    num_steps: int = 1000,
    width: int = 16,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
) -> dl.Experiment:
    """Fashion-MNIST with the network of `experiments.image_fashion`, of half its width.

    Args:
      num_steps: Number of steps.
      width: Number of channels of the first of three stages.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
    """
    data = dl.data.Images("fashion_mnist", batch_size=batch_size, num_steps=num_steps)
    return dl.Experiment(
        data=data,
        model=dl.models.ResNet(
            num_classes=data.num_classes, stage_sizes=(1, 1, 1), width=width, stem=resnet.StridedStem
        ),
        task=dl.tasks.Classification(),
        optimizer=optax.adam(dl.optim.warmup_cosine(learning_rate, num_steps, warmup_fraction=0.1)),
        eval_every=num_steps,
    )


STUDY = dl.Study(
    axes={"num_steps": (10, 100, 1000)},
    smoke={"num_steps": (2, 4)},
    probe=representation_study.probe,
    summarize=representation_study.summarize,
    sections=representation_study.sections,
)

if __name__ == "__main__":
    dl.main(experiment, study=STUDY)
