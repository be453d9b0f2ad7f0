"""Depth and activation: which networks without normalization train, and at which learning rate.

Run:     python -m experiments.study_activations study    (the data come with scikit-learn: nothing to download)
         python -m experiments.study_activations --activation gelu --depth 16    (one member)
Result:  test accuracy, mean of seeds 0 to 2 (s.d.), the rate chosen by training accuracy, after 165 steps of Adam:
           depth 2   all 23 functions: 97.1 % (sigmoid, swiglu) to 98.8 % (gaussian)
           depth 8   19 of them: 95.3 to 98.1 %; sigmoid 62.2 (21.1); squared_relu, star_relu, swiglu: chance
           depth 32  selu 96.9, lecun_tanh 96.6, elu 95.9, mish 94.7, tanh 92.8, relu 86.7 (5.1), gelu 61.9 (17.8);
                     sine 21.6; chance: sigmoid, softplus, gaussian (vanish), squared_relu, star_relu, glu, swiglu
         The squared gradient's factor a layer at depth 32, measured (predicted): sigmoid 0.151 (0.153), softplus 0.321
         (0.319), tanh 1.16 (1.18), sine 1.32 (1.31). Constant units there: relu 20 %, elu, selu and tanh none.
         621 runs in 1,154 s on 2 CPU cores that other work shared (commit 7a7ac09)
Source:  He et al. 2015, https://arxiv.org/abs/1502.01852; Schoenholz et al. 2017, https://arxiv.org/abs/1611.01232;
         of each activation: deeplab/nn/activations.py
"""

import optax

import deeplab as dl
from deeplab.nn import activations
from deeplab.report.text import Html
from deeplab.train import probes
from experiments.pages import activation_study


def experiment(
    activation: activations.Name = "relu",
    depth: int = 8,
    width: int = 64,
    epochs: int = 15,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    init_scale: float = 1.0,
) -> dl.Experiment:
    """Digits with a multilayer perceptron, its hidden layers initialized to match the activation.

    Args:
      activation: Activation of all hidden layers.
      depth: Number of hidden layers.
      width: Number of features of each hidden layer; a gated activation reads twice as many.
      epochs: Number of passes over the training images, some 11 steps each.
      batch_size: Number of images per step.
      learning_rate: Peak learning rate of Adam under the cosine schedule.
      init_scale: Factor of the initial weights relative to the matching gain.
    """
    chosen = activations.ACTIVATIONS[activation]
    data = dl.data.Images("digits", batch_size=batch_size, epochs=epochs)
    return dl.Experiment(
        data=data,
        model=dl.models.MLP(
            data.num_classes,
            (chosen.inputs * width,) * depth,
            activation=chosen.function,
            kernel_init=activations.kernel_init(chosen, init_scale),
        ),
        task=dl.tasks.Classification(),
        optimizer=optax.adam(dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)),
        eval_every=max(1, data.num_steps // 5),
    )


def sections(cells: list[activation_study.Cell]) -> list[Html]:
    """The table of the functions, then the results of the runs."""
    chi = {name: activations.gradient_factor(chosen) for name, chosen in activations.ACTIVATIONS.items()}
    return activation_study.sections(cells, activations.ACTIVATIONS, chi)


# Near duplicates of other activations: listed in the table, but not trained.
TWINS = (
    "leaky_relu", "relu6", "celu", "gelu_tanh", "hard_silu", "squareplus", "hard_sigmoid", "bilinear", "reglu", "geglu",
)  # fmt: skip
STUDY = dl.Study(
    axes={
        "activation": tuple(name for name in activations.ACTIVATIONS if name not in TWINS),
        "depth": (2, 8, 32),
        "learning_rate": (1e-3, 3e-3, 1e-2),
    },
    smoke={"activation": ("relu", "glu"), "depth": (3,), "learning_rate": (1e-3, 1e-2)},
    probe=probes.signals,
    summarize=activation_study.summarize,
    sections=sections,
)

if __name__ == "__main__":
    dl.main(experiment, study=STUDY)
