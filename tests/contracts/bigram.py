"""A bigram model: each character from the one before it."""

from pathlib import Path

import optax

import deeplab as dl
from tests.contracts.networks import Bigram

LICENSE = Path(__file__).parents[2] / "LICENSE"


def experiment(num_steps: int = 60, learning_rate: float = 0.3) -> dl.Experiment:
    data = dl.data.Text(dl.data.text_lines(LICENSE), context=16, batch_size=32, num_steps=num_steps)
    return dl.Experiment(
        data=data,
        model=Bigram(data.vocab_size),
        task=dl.tasks.LanguageModeling(),
        optimizer=optax.adam(learning_rate),
        eval_every=20,
    )
