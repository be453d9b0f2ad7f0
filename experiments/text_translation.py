"""Translation of captions from English into German (Multi30k), with byte pairs shared by both languages.

Run:     python -m experiments.text_translation            (downloads 1.3 MB, or: --data-dir FOLDER)
         python -m experiments.text_translation --model lstm --epochs 8
Test:    python -m experiments.text_translation eval --split test_2016_flickr --run-dir DIR
Predict: python -m experiments.text_translation predict my-lines.txt --run-dir DIR
Result:  transformer, seed 0: test_2016_flickr BLEU 40.57, test_2017_flickr 33.19 (lower case, beam 5); 5,030 s of CPU
         time in two sittings (commit 8f43743). Transformer-Tiny, tokenized by Moses: 41.0
         lstm, 8 epochs, seed 0: test_2016_flickr 35.87, 1,390 s of CPU time (commit c7f5149)
Source:  Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; the setting: Wu et al. 2021,
         https://aclanthology.org/2021.acl-long.480; LSTMs: Luong et al. 2015, https://arxiv.org/abs/1508.04025
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.data import pair_rows
from deeplab.models.text.seq2seq import attention_rnn, transformer


def experiment(
    model: Literal["transformer", "lstm"] = "transformer",
    variant: Literal["test", "tiny"] = "tiny",
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
    """29,000 training and 1,014 validation captions, and two test sets of 1,000.

    Args:
      model: Network: a transformer, or LSTMs with attention.
      variant: Size of the network.
      vocab_size: Number of tokens of the shared vocabulary.
      epochs: Number of passes over the training captions.
      batch_size: Number of caption pairs per step; a transformer packs four into a row.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of kernels and embeddings, multiplied by the learning rate.
      label_smoothing: Probability spread uniformly over the vocabulary.
      dropout: Dropout probability of embeddings and residual branches.
      average_decay: Decay of the moving average of the parameters.
      beam: Number of hypotheses that beam search keeps.
      length_penalty: Exponent of the length penalty of beam search; 0 prefers short translations.
    """
    captions, attends = dl.data.multi30k(vocab_size=vocab_size), model == "transformer"
    data = dl.data.Examples(
        captions,
        batch_size,
        epochs=epochs,
        prepare=pair_rows.segments,
        mix=pair_rows.pack(per_row=4, width=72) if attends else pair_rows.pack(per_row=1, width=32),
        eval_split="validation",
    )
    family = transformer if attends else attention_rnn
    network = dl.models.Transformer if attends else dl.models.AttentionRNN
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps, warmup_fraction=0.1)
    adam = optax.adamw(rate, b2=0.98, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=network(vocab_size, **family.VARIANTS[variant], dropout=dropout),
        task=dl.tasks.Translation(captions.text, label_smoothing, beam, length_penalty),
        optimizer=dl.optim.with_ema(optax.chain(dl.optim.clip(1.0), adam), average_decay),
        eval_every=2 * data.steps_per_epoch,
    )


if __name__ == "__main__":
    dl.main(experiment)
