"""Sentence classification: reviews (MR, SST-2), questions (TREC), subjectivity (Subj); no pretrained embeddings.

Run:     python -m experiments.text_classification --corpus trec      (downloads 4 MB, or: --data-dir FOLDER)
         python -m experiments.text_classification cv --folds 10 --corpus mr --model cnn,lstm      (which is better?)
Predict: python -m experiments.text_classification predict my-lines.txt
Result:  cnn, 20 to 28 s of CPU time: SST-2 79.74, 81.71, 81.82 % (seeds 0 to 2), TREC, --epochs 12, 89.20 % (each),
         MR 77.25, Subj 92.50 % (fold 0 of ten; commit 9d8ed90). Kim's CNN, random vectors: 83.5 (with phrases), 88.2,
         75.9, 89.2. lstm: MR 77.25, TREC 88.00 %; transformer: 74.72, 85.60 % (c7f5149)
Source:  Kim 2014, https://arxiv.org/abs/1408.5882
"""

import functools
from typing import Literal

import optax

import deeplab as dl

_MODELS = {
    "cnn": functools.partial(dl.models.TextCNN, windows=(1, 2, 3), filters=64, wide=True),
    "lstm": functools.partial(dl.models.BiLSTM, hidden=64),
    "transformer": functools.partial(dl.models.Encoder, num_layers=2, num_heads=2),
}


def experiment(
    corpus: Literal["mr", "sst2", "trec", "subj"] = "sst2",
    model: Literal["cnn", "lstm", "transformer"] = "cnn",
    fold: dl.Fold = 0,
    part: Literal["test", "validation"] = "test",
    width: int = 48,
    epochs: int = 6,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-2,
    label_smoothing: float = 0.1,
    dropout: float = 0.5,
    embedding_dropout: float = 0.2,
    word_dropout: float = 0.1,
    average_decay: float = 0.99,
) -> dl.Experiment:
    """A sentence classifier on one of four corpora.

    Args:
      corpus: Corpus; mr and subj have ten folds, sst2 (full sentences only) and trec a test set.
      model: Network over the tokens of a sentence.
      fold: Test fold of mr and subj, 0 to 9; validation fold of trec.
      part: Split to evaluate on; "validation" is held out of the training set, to choose recipes by.
      width: Width of the embeddings.
      epochs: Number of passes over the training set.
      batch_size: Number of sentences per step.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of kernels and embeddings, multiplied by the learning rate.
      label_smoothing: Probability spread uniformly over the classes.
      dropout: Dropout probability of the pooled features.
      embedding_dropout: Dropout probability of the components of the embeddings.
      word_dropout: Probability of replacing a word by the unknown token.
      average_decay: Decay of the moving average of the parameters.
    """
    sentences = dl.data.sentences(corpus, fold=fold, part=part)
    data = dl.data.Examples(
        sentences,
        batch_size=batch_size,
        epochs=epochs,
        prepare=dl.data.features.words.forget_words(word_dropout),
        eval_split=part,
    )
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=_MODELS[model](
            data.num_classes,
            sentences.table_size,
            width=width,
            dropout=dropout,
            embedding_dropout=embedding_dropout,
        ),
        task=dl.tasks.Classification(label_smoothing, fields=("tokens",)),
        optimizer=dl.optim.with_ema(adam, average_decay),
    )


if __name__ == "__main__":
    dl.main(experiment)
