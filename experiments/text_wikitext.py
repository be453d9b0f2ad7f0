"""Language modeling of WikiText-2 with a small GPT over byte pairs; perplexity per token, word and byte.

Run:     python -m experiments.text_wikitext               (downloads 4.5 MB, or: --data-dir FOLDER with the archive)
         python -m experiments.text_wikitext --learn-from validation --data-dir FOLDER     (valid.txt and test.txt)
Result:  trained on the 214,000 words of valid.txt, seed 0: test.txt has a perplexity of 68.7 a token, 4.06 a byte,
         1,294 a word; 450 s of CPU time (commit c7f5149)
Source:  Radford et al. 2019 (GPT-2); byte pairs: Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; the set:
         Merity et al. 2017, https://arxiv.org/abs/1609.07843. Trained on the training set, Merity et al. 2018,
         https://arxiv.org/abs/1708.02182, have a perplexity of 65.8 a word
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.data.sets.text.wikitext import WikiText2


def experiment(
    learn_from: Literal["train", "validation"] = "train",
    vocab_size: int = 2048,
    num_layers: int = 4,
    num_heads: int = 4,
    width: int = 128,
    context: int = 128,
    batch_size: int = 16,
    num_steps: int = 1000,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.1,
    dropout: float = 0.1,
    average_decay: float = 0.99,
) -> dl.Experiment:
    """Articles for training, and the published test set for evaluation.

    Args:
      learn_from: Split to train on; results of "validation", for use without the training file, compare with no
        published figure.
      vocab_size: Number of tokens of the vocabulary, learned from the training text.
      num_layers: Number of transformer blocks.
      num_heads: Number of attention heads of each block.
      width: Width of the residual stream, a multiple of the number of heads.
      context: Number of tokens in a window.
      batch_size: Number of text windows per step.
      num_steps: Number of training steps.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of matrices and embeddings, multiplied by the learning rate.
      dropout: Dropout probability of embeddings, attention and residual branches.
      average_decay: Decay of the moving average of the parameters.
    """
    data = dl.data.Text(
        WikiText2(learn_from),
        vocabulary=f"bpe:{vocab_size}",
        context=context,
        batch_size=batch_size,
        num_steps=num_steps,
        eval_split="test",
    )
    rate = dl.optim.warmup_cosine(learning_rate, num_steps, warmup_fraction=0.1)
    adamw = optax.adamw(rate, b2=0.98, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=dl.models.GPT(vocab_size, num_layers, num_heads, width, context, dropout),
        task=dl.tasks.LanguageModeling(),
        optimizer=dl.optim.with_ema(optax.chain(dl.optim.clip(1.0), adamw), average_decay),
        eval_every=max(1, num_steps // 4),
    )


if __name__ == "__main__":
    dl.main(experiment)
