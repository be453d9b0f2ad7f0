"""Captions from English into German: Multi30k, its tokens byte pairs of both languages.

Run:     python -m experiments.text_translation            (downloads 1.3 MB, or: --data-dir FOLDER)
Test:    python -m experiments.text_translation eval --split test_2016_flickr --run-dir DIR
Predict: python -m experiments.text_translation predict my-lines.txt --run-dir DIR
Result:  not measured yet
Source:  Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; the setting: Wu et al. 2021,
         https://aclanthology.org/2021.acl-long.480
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optax

import deeplab as dl
from deeplab.data import packing
from deeplab.models import transformer
from deeplab.report import cards
from deeplab.tasks.translation import unpadded


def experiment(
    vocab_size: int = 6144,
    epochs: int = 25,
    batch_size: int = 128,
    learning_rate: float = 4e-3,
    weight_decay: float = 1e-2,
    label_smoothing: float = 0.1,
    dropout: float = 0.2,
    average_decay: float = 0.998,
    beam: int = 5,
    length_penalty: float = 1.0,
) -> dl.Experiment:
    """29,000 captions to learn from, 1,014 to validate on, two tests of 1,000.

    Args:
      vocab_size: tokens of both languages together.
      epochs: passes over the training captions.
      batch_size: pairs of captions a step; four share a row.
      learning_rate: peak of the cosine.
      weight_decay: of kernels and embeddings, times the learning rate.
      label_smoothing: probability spread evenly over the vocabulary.
      dropout: of the embeddings and of each branch.
      average_decay: of the moving average of the parameters.
      beam: translations that a search keeps.
      length_penalty: 0 prefers short translations.
    """
    captions = dl.data.multi30k(vocab_size=vocab_size)
    data = dl.data.Examples(
        captions,
        batch_size,
        epochs=epochs,
        prepare=packing.segments,
        mix=packing.pack(per_row=4, width=72),
        eval_split="validation",
    )
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)
    adam = optax.adamw(rate, b2=0.98, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=dl.models.Transformer(vocab_size, **transformer.VARIANTS["tiny"], dropout=dropout),
        task=dl.tasks.Translation(captions.text, label_smoothing, beam, length_penalty),
        optimizer=dl.optim.averaged(optax.chain(dl.optim.clip(1.0), adam), average_decay),
        rules=transformer.RULES,
        eval_every=2 * data.steps_per_epoch,
        show=functools.partial(show, captions.text),
    )


def show(
    text: Callable[[np.ndarray], str], batch: Mapping[str, np.ndarray], predictions: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Each translation beside its reference, and where its tokens look in the source."""
    made = []
    for i, tokens in enumerate(predictions["prediction"]):
        seen = predictions["attention"][i][: (tokens > 0).sum(), : batch["source_length"][i]]
        shades = np.kron(1 - seen.astype(np.float32), np.ones((8, 8)))
        said = cards.text(text(tokens), "translation:"), cards.text(unpadded(batch["target_text"][i]), "reference:")
        picture = cards.picture(shades, "a row for each token of the translation, a column for each of the source")
        made.append(cards.card(unpadded(batch["source_text"][i]), *said, picture))
    return made


if __name__ == "__main__":
    dl.main(experiment)
