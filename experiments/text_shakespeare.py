"""Character-level language modeling of Shakespeare with a small GPT.

Run:     python -m experiments.text_shakespeare --data-dir DIR     (DIR holds input.txt; downloaded without the flag)
         --context 128 --batch-size 16 --num-steps 3600     (15 minutes)
Result:  validation loss in nats a character, seed 0, 2 CPU cores: 1.770 in 192 s (commit 14e842a); with the second line
         1.559 in 838 s, on a shared machine (commit 15cd6a6)
Source:  Radford et al. 2019 (GPT-2); the setting and the split are nanoGPT's for a CPU, which reports a validation
         loss of 1.88 nats per character, https://github.com/karpathy/nanoGPT
"""

import optax

import deeplab as dl


def experiment(
    num_layers: int = 4,
    num_heads: int = 4,
    width: int = 128,
    context: int = 64,
    batch_size: int = 12,
    num_steps: int = 2000,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.1,
    dropout: float = 0.0,
) -> dl.Experiment:
    """Tiny Shakespeare: the first 90 % for training, the rest for validation.

    Args:
      num_layers: Number of transformer blocks.
      num_heads: Number of attention heads of each block.
      width: Width of the residual stream, a multiple of the number of heads.
      context: Number of characters in a window.
      batch_size: Number of text windows per step.
      num_steps: Number of training steps.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of matrices and embeddings, multiplied by the learning rate.
      dropout: Dropout probability of embeddings, attention and residual branches.
    """
    data = dl.data.Text(
        "tiny_shakespeare", vocabulary="char", context=context, batch_size=batch_size, num_steps=num_steps
    )
    rate = dl.optim.warmup_cosine(learning_rate, num_steps, warmup_steps=100)
    return dl.Experiment(
        data=data,
        model=dl.models.GPT(data.vocab_size, num_layers, num_heads, width, context, dropout),
        task=dl.tasks.LanguageModeling(),
        optimizer=optax.chain(
            dl.optim.clip(1.0),
            optax.adamw(rate, b1=0.9, b2=0.99, weight_decay=weight_decay, mask=dl.optim.matrices_only),
        ),
        eval_every=250,
    )


if __name__ == "__main__":
    dl.main(experiment)
