"""Word vectors by skip-gram: a word guesses the words around it; the report shows the nearest words of common ones.

Run:     python -m experiments.words                       (downloads 4.5 MB, or: --data-dir FOLDER with the archive)
         python -m experiments.words --learn-from validation --data-dir FOLDER     (valid.txt and test.txt)
Result:  on the 217,646 words of valid.txt, --num-steps 1500, seed 0: loss of the test words 2.538 nats a pair and its
         negatives, at chance 4.16; 36 s beside other work. Nearest: first: third, second; been: has, had; city: cities
Source:  Mikolov et al. 2013, https://arxiv.org/abs/1310.4546; byte pairs: Sennrich et al. 2016,
         https://arxiv.org/abs/1508.07909; the set: Merity et al. 2017, https://arxiv.org/abs/1609.07843
"""

from typing import Literal

import flax.linen as nn
import jax
import optax

import deeplab as dl
from deeplab.data.sets.text.wikitext import WikiText2
from deeplab.tasks import unlabeled


class Vectors(nn.Module):
    """A vector of each token, [B, T] -> [B, T, D].

    Args:
      vocab_size: Number of tokens.
      width: D.
    """

    vocab_size: int
    width: int

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        start = nn.initializers.normal(1 / self.width)
        return nn.Embed(self.vocab_size, self.width, embedding_init=start, name="tokens")(tokens)


def experiment(
    learn_from: Literal["train", "validation"] = "train",
    vocab_size: int = 8192,
    width: int = 64,
    window: int = 5,
    negatives: int = 5,
    context: int = 64,
    batch_size: int = 32,
    num_steps: int = 2000,
    learning_rate: float = 1e-2,
    threshold: float = 1e-3,
) -> dl.Experiment:
    """Articles for training, and the published test set for evaluation.

    Args:
      learn_from: Split to train on; "validation" for use without the training file.
      vocab_size: Number of byte pairs, of which frequent words are one each.
      width: Number of dimensions of a vector.
      window: Largest distance of two words that guess each other.
      negatives: Number of random words that a word is told from.
      context: Number of tokens in a window of text.
      batch_size: Number of windows per step.
      num_steps: Number of training steps.
      learning_rate: First learning rate, which falls to 0 linearly.
      threshold: Frequency of words above which they are left out the more often, the more frequent they are.
    """
    data = dl.data.Text(
        WikiText2(learn_from),
        vocabulary=f"bpe:{vocab_size}",
        context=context,
        batch_size=batch_size,
        num_steps=num_steps,
        eval_split="test",
    )
    return dl.Experiment(
        data=data,
        model=Vectors(vocab_size, width),
        task=unlabeled.SkipGram(vocab_size, window, negatives, threshold),
        optimizer=optax.adam(optax.linear_schedule(learning_rate, 0.0, num_steps)),
        eval_every=num_steps // 4,
    )


if __name__ == "__main__":
    dl.main(experiment)
