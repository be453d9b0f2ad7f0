"""text: a small network on the source of Python's library, byte by byte. Say here what the idea is.

Run:     python text.py                 (the same command again goes on, or says that it is done)
Sweep:   python text.py sweep --learning-rate 1e-3..1e-1:8 --seeds 4
Result:  none yet
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import deeplab as dl


class Model(nn.Module):
    """A convolution over the last bytes, and a linear head: [B, T] -> [B, T, V]."""

    vocab_size: int
    width: int = 64
    past: int = 8

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Embed(self.vocab_size, self.width, name="embedding")(tokens)
        x = jnp.pad(x, ((0, 0), (self.past - 1, 0), (0, 0)))  # So that no position reads what comes after it.
        x = nn.gelu(nn.Conv(2 * self.width, (self.past,), padding="VALID", name="past")(x))
        return nn.Dense(self.vocab_size, name="head")(x)


def experiment(
    width: int = 64, context: int = 64, num_steps: int = 200, batch_size: int = 16, learning_rate: float = 1e-2
) -> dl.Experiment:
    """Python's own library, which is on every machine.

    Args:
      width: Number of features of a byte.
      context: Number of bytes in a window.
      num_steps: Number of training steps.
      batch_size: Number of windows per step.
      learning_rate: Peak learning rate of the cosine schedule.
    """
    # Text of your own: dl.data.text_lines("novel.txt") in place of "python_stdlib". Sentences with labels:
    # dl.data.sentences("reviews.csv", ...), and dl.tasks.Classification(fields=("tokens",)).
    data = dl.data.Text("python_stdlib", vocabulary="byte", context=context, batch_size=batch_size, num_steps=num_steps)
    return dl.Experiment(
        data=data,
        model=Model(data.vocab_size, width),  # or dl.models.GPT(data.vocab_size, 4, 4, 128, context)
        task=dl.tasks.LanguageModeling(),
        optimizer=optax.adamw(dl.optim.warmup_cosine(learning_rate, num_steps)),
        eval_every=num_steps,
    )


if __name__ == "__main__":
    dl.main(experiment)
