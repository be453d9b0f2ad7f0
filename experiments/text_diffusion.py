"""Characters of Shakespeare by masked diffusion: a text is found from both sides, in any order.

Run:     python -m experiments.text_diffusion --data-dir DIR     (DIR holds input.txt; downloaded without the flag)
Result:  none yet (once measured: bound of the validation loss in nats a character, seconds, commit)
Source:  Sahoo et al. 2024, https://arxiv.org/abs/2406.07524
"""

import optax

import deeplab as dl


def experiment(
    num_layers: int = 4,
    num_heads: int = 4,
    width: int = 128,
    context: int = 64,
    batch_size: int = 32,
    num_steps: int = 4000,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.1,
    steps: int = 64,
) -> dl.Experiment:
    """Tiny Shakespeare: the first 90 % for training, the rest for validation.

    Args:
      num_layers: Number of transformer blocks.
      num_heads: Number of attention heads of each block.
      width: Width of the residual stream, a multiple of the number of heads.
      context: Number of characters in a window, and in a sample.
      batch_size: Number of windows per step.
      num_steps: Number of training steps.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of matrices and embeddings, multiplied by the learning rate.
      steps: Number of steps of a sample.
    """
    data = dl.data.Text(
        "tiny_shakespeare", vocabulary="char", context=context, batch_size=batch_size, num_steps=num_steps
    )
    rate = dl.optim.warmup_cosine(learning_rate, num_steps, warmup_steps=100)
    adam = optax.adamw(rate, b2=0.99, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=dl.models.GapTransformer(data.vocab_size, num_layers, num_heads, width, context),
        task=dl.generate.MaskedDiffusion(data.vocab_size, context, steps),
        optimizer=optax.chain(dl.optim.clip(1.0), adam),
        eval_every=500,
    )


if __name__ == "__main__":
    dl.main(experiment)
