"""Test loss against the number of training examples: a power law fitted up to half the set, tested on the whole.

Run:     python -m experiments.study_data_scaling study   (downloads 31 MB, or: --data-dir FOLDER)
         python -m experiments.study_data_scaling --fraction 0.1 --width 32    (one member)
Result:  L(n) = L_inf + a n^-b holds from 550 to 55,000 examples (mean of seeds 0 to 2, each with its own examples); the
         law fitted to the six smaller sizes, at 55,000:
           width 16:  L_inf 0.286, b 0.352; predicted 0.378 (band 0.370 to 0.386), measured 0.379, error -0.3 %
           width 48:  L_inf 0.227, b 0.309; predicted 0.335 (band 0.331 to 0.340), measured 0.336, error -0.2 %
           width 144: L_inf 0.133, b 0.247; predicted 0.305 (band 0.296 to 0.314), measured 0.310, error -1.5 %
         Test error at 55,000: 13.38, 11.74 and 11.07 %. A wider network has the lower floor and the smaller exponent.
         Rate and stopping are chosen on validation, for each size (10 %, 0 % and 0 % of the runs are best at their last
         step: width 16 was cut short). 126 runs in 490 s on 2 CPU cores that other work shared (commit edb3ef6)
Source:  Hestness et al. 2017, https://arxiv.org/abs/1712.00409; Kaplan et al. 2020, https://arxiv.org/abs/2001.08361;
         Rosenfeld et al. 2020, https://arxiv.org/abs/1909.12673; data: Xiao et al. 2017,
         https://arxiv.org/abs/1708.07747
"""

import optax

import deeplab as dl
from experiments.pages import scaling_study


def experiment(
    fraction: dl.StaticFloat = 1.0,
    width: int = 144,
    longest: int = 4000,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    averaging: float = 0.99,
) -> dl.Experiment:
    """Fashion-MNIST with a multilayer perceptron: 55,000 training, 5,000 validation and 10,000 test images.

    Args:
      fraction: Fraction of the training images, drawn by the seed; smaller subsets are nested in larger ones.
      width: Number of features of each of the two hidden layers.
      longest: Number of steps with all images; a fraction of the images takes fraction^0.6 of them.
      batch_size: Number of images per step.
      learning_rate: Constant learning rate, so that the best step depends on no schedule.
      weight_decay: Weight decay of the kernels, multiplied by the learning rate.
      averaging: Decay of the moving average of the parameters, which is evaluated.
    """
    data = dl.data.Images(
        dl.data.held_out("fashion_mnist", every=12),
        batch_size=batch_size,
        num_steps=max(1, round(longest * fraction**0.6)),
        eval_split="validation",
        train_fraction=fraction,
    )
    adam = optax.adamw(learning_rate, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=dl.models.MLP(data.num_classes, (width, width)),
        task=dl.tasks.Classification(),
        optimizer=dl.optim.with_ema(adam, averaging),
        eval_every=max(1, data.num_steps // 20),
    )


STUDY = dl.Study(
    axes={
        "width": (16, 48, 144),
        "fraction": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        "learning_rate": (1e-3, 3e-3),
    },
    smoke={"width": (4,), "fraction": (0.25, 0.5, 0.75, 0.9, 1.0), "learning_rate": (1e-3, 3e-3)},
    summarize=scaling_study.summarize,
    sections=scaling_study.sections,
)

if __name__ == "__main__":
    dl.main(experiment, study=STUDY)
