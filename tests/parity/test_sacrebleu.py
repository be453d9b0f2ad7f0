"""BLEU is that of sacrebleu's own interface, and of the definition; smoothed losses are those of torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.metrics.bleu import bleu, sacre_bleu, tokenized
from deeplab.tasks.language import token_losses

TRANSLATIONS = ["ein Mann, der im T-Shirt läuft.", "zwei Hunde spielen im Schnee", "Eine Frau liest"]
REFERENCES = ["Ein Mann im T-Shirt läuft.", "Zwei Hunde spielen im Schnee .", "Eine Frau liest ein Buch (neu)."]


def test_bleu_is_sacrebleu_s():
    metrics = pytest.importorskip("sacrebleu.metrics")
    metric = metrics.BLEU(lowercase=True)
    assert sacre_bleu(TRANSLATIONS, REFERENCES) == metric.corpus_score(TRANSLATIONS, [REFERENCES]).score
    assert str(metric.get_signature()).startswith("nrefs:1|case:lc|eff:no|tok:13a|smooth:exp")


def test_tokenized_bleu_is_its_definition():
    """The second pair alone: all n-grams are right, and a mark is missing, which costs exp(1 - 6 / 5)."""
    assert tokenized(REFERENCES[1]) == tokenized(TRANSLATIONS[1]) + " ."
    np.testing.assert_allclose(bleu(TRANSLATIONS[1:2], REFERENCES[1:2]), 100 * np.exp(1 - 6 / 5), rtol=1e-6)
    # Right are 6 + 5 + 3 words of 8 + 5 + 3, 4 + 4 + 2 pairs, 2 + 3 + 1 triples, 1 + 2 + 0 quadruples; the references
    # have 6 + 6 + 9 words.
    mean = np.exp(np.mean(np.log([14 / 16, 10 / 13, 6 / 10, 3 / 7])))
    np.testing.assert_allclose(bleu(TRANSLATIONS, REFERENCES), 100 * mean * np.exp(1 - 21 / 16), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_smoothed_losses_are_torch_s(smoothing):
    torch = pytest.importorskip("torch")
    logits = 3 * jax.random.normal(jax.random.key(0), (2, 5, 7))
    targets = jax.random.randint(jax.random.key(1), (2, 5), 0, 7)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(np.asarray(logits)).reshape(-1, 7),
        torch.tensor(np.asarray(targets)).reshape(-1).long(),
        label_smoothing=smoothing,
        reduction="none",
    )
    given = token_losses(logits, targets, smoothing), token_losses(logits, targets, jnp.float32(smoothing))
    for losses in given:
        np.testing.assert_allclose(losses.reshape(-1), expected.numpy(), rtol=1e-5)
