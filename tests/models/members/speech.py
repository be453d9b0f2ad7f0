"""Models of spectrograms."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.models.speech import conformer, deep_speech, keyword_cnn
from tests.models.members.base import Family, member, normal


class Framed(nn.Module):
    """A model of features and frames as one of features alone: what is 0 to the end is padding."""

    network: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        place = jnp.arange(1, x.shape[1] + 1)[None]
        return self.network(x, jnp.max(jnp.where(jnp.any(x != 0, axis=-1), place, 0), axis=1), train)


def framed(make: type[nn.Module]) -> Callable[..., nn.Module]:
    return lambda **arguments: Framed(make(**arguments))


def sounds(batch: int) -> jax.Array:
    """Spectrograms of 16 frames and 8 bands, padded; all of one length would not try the masks."""
    length = 16 - 5 * (jnp.arange(batch) % 3)
    return jnp.where(jnp.arange(16)[None, :, None] < length[:, None, None], normal(16, 8)(batch), 0)


keywords, listener, conformed = keyword_cnn.KeywordCNN, framed(deep_speech.DeepSpeech2), framed(conformer.Conformer)
MEMBERS = {
    "keyword_cnn": member(keyword_cnn, keywords, sounds, (5,), num_classes=5, dropout=0.5),
    "deep_speech": member(deep_speech, listener, sounds, (4, 5), num_tokens=5, dropout=0.5),
    "conformer": member(conformer, conformed, sounds, (4, 5), num_tokens=5, dropout=0.5),
}
long = normal(40, 40)
FAMILIES = {
    "keyword_cnn": Family(functools.partial(keywords, num_classes=9), keyword_cnn.VARIANTS, long, (9,)),
    "deep_speech": Family(functools.partial(listener, num_tokens=9), deep_speech.VARIANTS, long, (10, 9)),
    "conformer": Family(functools.partial(conformed, num_tokens=9), conformer.VARIANTS, long, (10, 9)),
}
