"""Depth against activation: which networks without normalisation learn at all, and at which rate.

Run:     python -m experiments.study_activations study    (the data come with scikit-learn: nothing to download)
         python -m experiments.study_activations --activation gelu --depth 16    (one member)
Result:  none yet
Source:  He et al. 2015, https://arxiv.org/abs/1502.01852; Schoenholz et al. 2017, https://arxiv.org/abs/1611.01232;
         each function's own: deeplab/nn/activations.py
"""

import optax

import deeplab as dl
from deeplab.models import mlp
from deeplab.nn import activations
from deeplab.report import activation_study
from deeplab.report.text import Html
from deeplab.train import probes


def experiment(
    activation: activations.Name = "relu",
    depth: int = 8,
    width: int = 64,
    epochs: int = 15,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    init_scale: float = 1.0,
) -> dl.Experiment:
    """Digits by a multilayer perceptron, its hidden layers initialised to match the activation.

    Args:
      activation: of all hidden layers.
      depth: hidden layers.
      width: their features; a gated activation makes them of twice as many.
      epochs: passes over the training images, 11 steps each.
      batch_size: images a step.
      learning_rate: of Adam, the peak of the cosine.
      init_scale: of the initial weights, times the matching gain.
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
        rules=mlp.RULES,
        eval_every=max(1, data.num_steps // 5),
    )


def sections(cells: list[activation_study.Cell]) -> list[Html]:
    """The table of the functions, then what the runs say."""
    chi = {name: activations.gradient_factor(chosen) for name, chosen in activations.ACTIVATIONS.items()}
    return activation_study.sections(cells, activations.ACTIVATIONS, chi)


# Close relatives of another one: the table has them, and the study leaves them out.
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
VERBS = {"study": STUDY.verb}

if __name__ == "__main__":
    dl.main(experiment, verbs=VERBS)
