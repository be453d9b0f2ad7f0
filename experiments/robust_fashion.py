"""Fashion-MNIST under attack: what each way of training buys, at a radius of 0.1 of each pixel.

Run:     python -m experiments.robust_fashion             (downloads 31 MB, or: --data-dir FOLDER)
         python -m experiments.robust_fashion --method trades      (or: none, fast, free)
Result:  by `--epochs 4`, of all test images clean and under 10 steps, and of 256 under AutoAttack (robustness --parts
         attacked --auto-attack --radii 0.1 --examples 256): none 90.3, 0.9, 0.4 %; pgd 78.9, 64.4, 58.2 %; fast 81.9,
         63.4, 54.7 %; trades 77.9, 59.3, 51.6 %; free 82.6, 60.5, 50.4 %; seed 0, 190 (none), 1,000 (pgd), 760, 1,030
         and 180 s of CPU time (commits d1d6e65, 3a83c92). AutoAttack finds more than free's gradients do: one gate of
         its page is red
Source:  pgd: Madry et al. 2018, https://arxiv.org/abs/1706.06083; trades: Zhang et al. 2019,
         https://arxiv.org/abs/1901.08573; fast: Wong et al. 2020, https://arxiv.org/abs/2001.03994, with GradAlign,
         https://arxiv.org/abs/2007.02617; free: Shafahi et al. 2019, https://arxiv.org/abs/1904.12843; data:
         Xiao et al. 2017, https://arxiv.org/abs/1708.07747
"""

import dataclasses
from typing import Literal

import optax

import deeplab as dl


def experiment(
    method: Literal["none", "pgd", "trades", "fast", "free"] = "pgd",
    radius: float = 0.1,
    steps: int = 7,
    weight: float = 6.0,
    align: float = 0.2,
    repeats: int = 4,
    width: int = 16,
    epochs: int = 20,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
) -> dl.Experiment:
    """Fashion-MNIST: 60,000 training and 10,000 test images; evaluations tell "attacked_accuracy", under 10 steps.

    Args:
      method: Way of training: "none" is without an attack.
      radius: Largest change of a pixel by an attack, of images in [0, 1].
      steps: Number of steps of the attack in training, of "pgd" and "trades".
      weight: Weight of the divergence of "trades".
      align: Weight of GradAlign of "fast".
      repeats: Number of steps on the same batch of "free".
      width: Number of channels of the first convolution; the second has twice as many.
      epochs: Number of passes over the training images, some 468 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of the cosine schedule.
    """
    data = dl.data.Images(
        "fashion_mnist",
        batch_size=batch_size,
        epochs=epochs,
        augment=dl.data.augment.flip(),
        repeats=repeats if method == "free" else 1,
    )
    attacks, training, task = dl.robust.attacks, dl.robust.training, dl.tasks.Classification()
    ways = {
        "none": lambda: training.Adversarial(task, lambda apply, batch, key: batch),
        "pgd": lambda: training.Adversarial(task, attacks.pgd(radius, steps, last=True)),
        "trades": lambda: training.TRADES(task, radius, weight, steps),
        "fast": lambda: training.Fast(task, radius, align=align),
        "free": lambda: training.Free(task, radius),
    }
    return dl.Experiment(
        data=data,
        model=dl.models.CNN(data.num_classes, (width, 2 * width), hidden=8 * width),
        task=dataclasses.replace(ways[method](), watch=attacks.pgd(radius, 10)),
        optimizer=optax.adam(dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)),
        eval_every=max(1, data.num_steps // 4),
        monitor=dl.Monitor("attacked_accuracy", "max"),
    )


if __name__ == "__main__":
    dl.main(experiment)
