"""Models of sentences and of language."""

import functools

import jax
import jax.numpy as jnp

from deeplab.models import bilstm, encoder, gpt, text_cnn
from tests.models.members.base import Family, member, tokens


def sentences(batch: int) -> jax.Array:
    """Words of two features each, padded."""
    length = 12 - 3 * (jnp.arange(batch) % 3)
    features = jax.random.randint(jax.random.key(1), (batch, 12, 2), 1, 9)
    return jnp.where(jnp.arange(12)[None, :, None] < length[:, None, None], features, 0)


sentence = {"num_classes": 5, "num_features": 9, "dropout": 0.5, "embedding_dropout": 0.5}
of_gpt = functools.partial(member, gpt, gpt.GPT, tokens, (12, 7), vocab_size=7)
MEMBERS = {
    "text_cnn": member(text_cnn, text_cnn.TextCNN, sentences, (5,), **sentence),
    "bilstm": member(bilstm, bilstm.BiLSTM, sentences, (5,), **sentence),
    "encoder": member(encoder, encoder.Encoder, sentences, (5,), **sentence),
    "gpt": of_gpt(),
    "gpt_dropout": of_gpt(dropout=0.5),
}


def classifier(make: type) -> functools.partial:
    return functools.partial(make, **sentence)


FAMILIES = {
    "text_cnn": Family(classifier(text_cnn.TextCNN), text_cnn.VARIANTS, sentences, (5,)),
    "bilstm": Family(classifier(bilstm.BiLSTM), bilstm.VARIANTS, sentences, (5,)),
    "encoder": Family(classifier(encoder.Encoder), encoder.VARIANTS, sentences, (5,)),
    "gpt": Family(functools.partial(gpt.GPT, vocab_size=7), gpt.VARIANTS, tokens, (12, 7)),
}
