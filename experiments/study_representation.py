"""Networks learn features layer by layer: linear probes by depth, over training and seeds, beside random networks.

Run:     python -m experiments.study_representation study    (downloads 31 MB, or: --data-dir FOLDER)
Result:  --seeds 3, linear probes of the stem and of stages 1 to 3: at the start 59.1, 59.1, 59.5, 61.4 %, after 100
         steps 59.7, 65.9, 71.4, 78.2, after 1,000 60.2 (59.9 to 60.4), 68.1 (67.2 to 68.8), 79.8 (78.8 to 81.4), 87.6
         (87.0 to 88.0); of pixels 79.6; of shuffled labels 9.3 to 10.2 (9 runs, 542 s of CPU time; commit d2f7fda)
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
