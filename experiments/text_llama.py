"""Language modeling of Shakespeare with a Llama decoder; the 7B variant is for `plan`.

Run:     python -m experiments.text_llama --data-dir DIR     (DIR holds input.txt; downloaded without the flag)
Plan:    python -m experiments.text_llama plan --variant 7b --vocabulary bpe:32000 --batch-size 256 --remat full
             --precision bf16 --mesh data=16,fsdp=16 --accelerator h100
Result:  tiny, seed 0: validation loss 2.977 a token, 1.586 nats a byte; 140 s of CPU time (commit c7f5149)
Source:  Touvron et al. 2023 (Llama 2), https://arxiv.org/abs/2307.09288
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.models.text.decoders import llama


def experiment(
    variant: Literal["test", "tiny", "7b", "13b", "llama3_8b"] = "tiny",
    vocabulary: str = "bpe:512",
    batch_size: int = 16,
    num_steps: int = 1000,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.1,
    remat: Literal["none", "full", "dots", "dots_no_batch", "offload"] = "none",
    attention_block: int | None = None,
) -> dl.Experiment:
    """Tiny Shakespeare: the first 90 % for training, the rest for validation.

    Args:
      variant: Size of the network, a key of `deeplab.models.text.decoders.llama.VARIANTS`.
      vocabulary: Vocabulary: "byte", "char", or "bpe:SIZE", learned from the text.
      batch_size: Number of text windows per step, each as long as the variant's context.
      num_steps: Number of training steps.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of matrices and embeddings, multiplied by the learning rate.
      remat: Rematerialization policy of each block.
      attention_block: Number of queries per block of attention, for long contexts; all queries at once when None.
    """
    sizes = llama.VARIANTS[variant]
    data = dl.data.Text(
        "tiny_shakespeare", vocabulary, context=sizes["context"], batch_size=batch_size, num_steps=num_steps
    )
    rate = dl.optim.warmup_cosine(learning_rate, num_steps, warmup_fraction=0.1, end=0.1)
    return dl.Experiment(
        data=data,
        model=dl.models.Llama(data.vocab_size, **sizes, remat=remat, attention_block=attention_block),
        task=dl.tasks.LanguageModeling(),
        optimizer=optax.chain(
            dl.optim.clip(1.0),
            optax.adamw(rate, b1=0.9, b2=0.95, weight_decay=weight_decay, mask=dl.optim.matrices_only),
        ),
    )


if __name__ == "__main__":
    dl.main(experiment)
