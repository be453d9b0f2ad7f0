"""Shakespeare without labels: a bidirectional transformer guesses hidden characters, as BERT does words.

Run:     python -m experiments.self_text --data-dir DIR     (DIR holds input.txt; downloaded without the flag)
         Its counterpart that guesses the next character is experiments.text_shakespeare
Result:  none yet
Source:  Devlin et al. 2018, https://arxiv.org/abs/1810.04805
"""

import optax

import deeplab as dl
from deeplab.nn.activations import gelu
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.heads import MaskedTokens
from deeplab.tasks import unlabeled


def experiment(
    num_layers: int = 4,
    num_heads: int = 4,
    width: int = 128,
    context: int = 64,
    batch_size: int = 32,
    num_steps: int = 2000,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.1,
    share: float = 0.15,
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
      share: Share of the characters that are guessed.
    """
    data = dl.data.Text(
        "tiny_shakespeare", vocabulary="char", context=context, batch_size=batch_size, num_steps=num_steps
    )
    size = data.vocab_size  # the number of the token that hides another
    model = dl.models.Bert(
        vocab_size=size + 1,
        num_layers=num_layers,
        num_heads=num_heads,
        width=width,
        hidden=4 * width,
        context=context,
        padding=None,
        head=MaskedTokens(gelu, layer_norm()),
    )
    rate = dl.optim.warmup_cosine(learning_rate, num_steps, warmup_fraction=0.1)
    return dl.Experiment(
        data=data,
        model=model,
        task=unlabeled.MaskedTokens(size, size, share),
        optimizer=optax.chain(
            dl.optim.clip(1.0), optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only)
        ),
        eval_every=max(1, num_steps // 8),
    )


if __name__ == "__main__":
    dl.main(experiment)
