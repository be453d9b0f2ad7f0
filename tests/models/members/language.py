"""Models of sentences and of language."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.models.text.decoders import gpt, llama
from deeplab.models.text.encoders import bilstm, encoder, text_cnn
from deeplab.models.text.seq2seq import attention_rnn, bart, t5, transformer
from tests.models.members.base import Family, member, tokens


def sentences(batch: int) -> jax.Array:
    """Words of two features each, padded."""
    length = 12 - 3 * (jnp.arange(batch) % 3)
    features = jax.random.randint(jax.random.key(1), (batch, 12, 2), 1, 9)
    return jnp.where(jnp.arange(12)[None, :, None] < length[:, None, None], features, 0)


sentence = {"num_classes": 5, "num_features": 9, "dropout": 0.5, "embedding_dropout": 0.5}


class Translated(nn.Module):
    """A model that translates, as a function of [B, 12]: seven tokens that are read, then five that are written."""

    model: nn.Module

    def __call__(self, both: jax.Array, train: bool = False) -> jax.Array:
        source, target = both[:, :7], both[:, 7:]
        return self.model(source, (source > 0).astype(jnp.int32), target, jnp.ones_like(target), train=train)


def translated(make: Callable[..., nn.Module], **sizes: Any) -> nn.Module:
    return Translated(make(vocab_size=7, **sizes))


def translator(module: ModuleType, make: Callable[..., nn.Module]) -> Any:
    return member(module, functools.partial(translated, make), tokens, (5, 7), dropout=0.5)


of_gpt = functools.partial(member, gpt, gpt.GPT, tokens, (12, 7), vocab_size=7)
MEMBERS = {
    "text_cnn": member(text_cnn, text_cnn.TextCNN, sentences, (5,), **sentence),
    "bilstm": member(bilstm, bilstm.BiLSTM, sentences, (5,), **sentence),
    "encoder": member(encoder, encoder.Encoder, sentences, (5,), **sentence),
    "gpt": of_gpt(),
    "gpt_dropout": of_gpt(dropout=0.5),
    "llama": member(llama, llama.Llama, tokens, (12, 7), vocab_size=7),
    "transformer_dropout": translator(transformer, transformer.Transformer),
    "attention_rnn_dropout": translator(attention_rnn, attention_rnn.AttentionRNN),
    "t5_dropout": translator(t5, t5.T5),
    "bart_dropout": translator(bart, bart.Bart),
    "t5_remat": translator(t5, functools.partial(t5.T5, remat="full")),
    "marian": translator(bart, functools.partial(bart.Bart, **bart.MARIAN)),
}
SLOW = {
    "attention_rnn_dropout", "bart_dropout", "bilstm", "encoder", "gpt", "llama", "marian", "t5_remat",
    "transformer_dropout",
}  # fmt: skip
SLOW_SIZES = {"gpt", "llama", "t5"}


def classifier(make: type) -> functools.partial:
    return functools.partial(make, **sentence)


FAMILIES = {
    "text_cnn": Family(classifier(text_cnn.TextCNN), text_cnn.VARIANTS, sentences, (5,)),
    "bilstm": Family(classifier(bilstm.BiLSTM), bilstm.VARIANTS, sentences, (5,)),
    "encoder": Family(classifier(encoder.Encoder), encoder.VARIANTS, sentences, (5,)),
    "gpt": Family(functools.partial(gpt.GPT, vocab_size=7), gpt.VARIANTS, tokens, (12, 7)),
    "llama": Family(functools.partial(llama.Llama, vocab_size=7), llama.VARIANTS, tokens, (12, 7)),
    "transformer": Family(functools.partial(translated, transformer.Transformer), transformer.VARIANTS, tokens, (5, 7)),
    "t5": Family(functools.partial(translated, t5.T5), t5.VARIANTS, tokens, (5, 7)),
    "bart": Family(functools.partial(translated, bart.Bart), bart.VARIANTS, tokens, (5, 7)),
    "marian": Family(functools.partial(translated, bart.Bart), bart.MARIAN_VARIANTS, tokens, (5, 7)),
    "attention_rnn": Family(
        functools.partial(translated, attention_rnn.AttentionRNN), attention_rnn.VARIANTS, tokens, (5, 7)
    ),
}
