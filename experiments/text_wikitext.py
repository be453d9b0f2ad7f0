"""WikiText-2 with a small GPT over byte pairs; perplexity per token, per word and per byte.

Run:     python -m experiments.text_wikitext               (downloads 4.5 MB, or: --data-dir FOLDER with the archive)
         python -m experiments.text_wikitext --learn-from validation --data-dir FOLDER     (valid.txt and test.txt)
Result:  learning from the 214,000 words of valid.txt, seed 0: test.txt has a perplexity of 68.7 a token, 4.06 a byte,
         1,294 a word; 450 s of CPU time (commit c7f5149)
Source:  Radford et al. 2019 (GPT-2); byte pairs: Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; the set:
         Merity et al. 2017, https://arxiv.org/abs/1609.07843. Learning from the training part, Merity et al. 2018,
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
    """Articles to learn from, and the published test part to evaluate on.

    Args:
      learn_from: the training part; or, where only the others are at hand, the validation part, which compares with no
        published figure.
      vocab_size: byte pairs, of the part that is learnt from.
      num_layers: transformer blocks.
      num_heads: attention heads of each.
      width: of the residual stream; a multiple of the heads.
      context: tokens read at once.
      batch_size: windows of text a step.
      num_steps: training steps.
      learning_rate: peak of the cosine.
      weight_decay: of matrices and embeddings, times the learning rate.
      dropout: of embeddings, attention and branches.
      average_decay: of the moving average of the parameters.
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
        task=dl.tasks.LanguageModelling(),
        optimizer=dl.optim.with_ema(optax.chain(dl.optim.clip(1.0), adamw), average_decay),
        eval_every=max(1, num_steps // 4),
    )


if __name__ == "__main__":
    dl.main(experiment)
