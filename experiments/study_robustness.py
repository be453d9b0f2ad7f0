"""What each way of robust training buys, and what it costs: accuracy, under attack, under corruption, and calibration.

Run:     python -m experiments.study_robustness study      (the data come with scikit-learn: nothing to download)
         python -m experiments.study_robustness --way pgd     (one member)
Result:  in % of 360 test images, mean of seeds 0 to 2 (s.d.); attacked by 20 steps of PGD, corrupted at severity 3:
           way      clean       attacked    corrupted   ECE         products of a step
           none     98.4 (0.3)  49.2 (2.1)  96.7 (0.3)  1.2 (0.4)   1.0
           pgd      99.0 (0.2)  86.3 (0.9)  97.7 (0.2)  1.6 (0.1)   6.2
           trades   96.9 (0.2)  86.1 (0.7)  94.9 (0.3)  16.2 (1.9)  10.8
           fast     99.2 (0.0)  83.9 (0.7)  97.8 (0.2)  0.6 (0.0)   6.0
           free     99.1 (0.2)  82.9 (0.7)  97.6 (0.1)  1.5 (0.2)   1.1
           augmix   98.7 (0.4)  46.9 (2.2)  97.1 (0.3)  1.4 (0.3)   4.0
           noise    98.8 (0.3)  56.8 (1.2)  97.2 (0.3)  1.0 (0.1)   1.0
           sam      98.6 (0.3)  48.8 (2.8)  96.9 (0.4)  1.1 (0.0)   2.0
         Free is 3.4 points below PGD-AT under attack, for 18 % of its products; TRADES pays in clean accuracy and ECE.
         24 runs, two CPU cores that other work shared (commit cbbed51)
Source:  pgd: Madry et al. 2018, https://arxiv.org/abs/1706.06083; trades: Zhang et al. 2019,
         https://arxiv.org/abs/1901.08573; fast: Wong et al. 2020, https://arxiv.org/abs/2001.03994, with GradAlign,
         https://arxiv.org/abs/2007.02617; free: Shafahi et al. 2019, https://arxiv.org/abs/1904.12843; augmix:
         Hendrycks et al. 2020, https://arxiv.org/abs/1912.02781; noise: Cohen et al. 2019,
         https://arxiv.org/abs/1902.02918; sam: Foret et al. 2021, https://arxiv.org/abs/2010.01412
"""

import functools
from typing import Literal, get_args

import optax

import deeplab as dl
from experiments.pages import robustness_study

Way = Literal["none", "pgd", "trades", "fast", "free", "augmix", "noise", "sam"]


def experiment(
    way: Way = "pgd",
    radius: float = 0.1,
    width: int = 128,
    epochs: int = 40,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
) -> dl.Experiment:
    """Handwritten digits, 1,437 to train and 360 to test, with a multilayer perceptron.

    Args:
      way: Way of training.
      radius: Largest change of a pixel by an attack, of images in [0, 1]; the noise has this deviation.
      width: Number of features of each of the two hidden layers.
      epochs: Number of passes over the training images, some 11 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
    """
    attacks, training, task = dl.robust.attacks, dl.robust.training, dl.tasks.Classification()
    watch = attacks.pgd(radius, 20)
    ways = {
        "none": lambda: training.Adversarial(task, lambda apply, batch, key: batch, watch=watch),
        "pgd": lambda: training.Adversarial(task, attacks.pgd(radius, 7, last=True), watch=watch),
        "trades": lambda: training.TRADES(task, radius, watch=watch),
        "fast": lambda: training.Fast(task, radius, align=0.2, watch=watch),
        "free": lambda: training.Free(task, radius, watch=watch),
        "augmix": lambda: training.AugMix(task, training.mixed(width=2, depth=1), watch=watch),
        "noise": lambda: training.Noise(task, radius, watch=watch),
        "sam": lambda: training.SAM(task, watch=watch),
    }
    data = dl.data.Images("digits", batch_size=batch_size, epochs=epochs, repeats=4 if way == "free" else 1)
    return dl.Experiment(
        data=data,
        model=dl.models.MLP(data.num_classes, (width, width)),
        task=ways[way](),
        optimizer=optax.adam(dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)),
        eval_every=data.num_steps,
    )


STUDY = dl.Study(
    axes={"way": get_args(Way)},
    smoke={"way": ("none", "free")},
    probe=robustness_study.probe,
    summarize=functools.partial(robustness_study.summarize, experiment),
    sections=robustness_study.sections,
)

if __name__ == "__main__":
    dl.main(experiment, study=STUDY)
