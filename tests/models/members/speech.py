"""Models of spectrograms."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.models.speech import conformer, deep_speech, frame_cnn, keyword_cnn, wav2vec2, whisper
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


class Heard(nn.Module):
    """A model of sounds and text as one of sounds alone, each of which says the same."""

    network: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        text = jnp.broadcast_to(jnp.arange(3)[None], (len(x), 3))
        return self.network(x, None, text, train=train)


def heard(**arguments: Any) -> nn.Module:
    return Heard(whisper.Whisper(vocab_size=5, **arguments))


def waveforms(batch: int) -> jax.Array:
    """Waveforms of 100 samples, padded."""
    length = 100 - 20 * (jnp.arange(batch) % 3)
    return jnp.where(jnp.arange(100)[None] < length[:, None], normal(100)(batch), 0)


class Waved(nn.Module):
    """A model of waveforms and their lengths as one of waveforms alone: what is 0 to the end is padding."""

    network: nn.Module

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        length = jnp.max(jnp.where(x != 0, jnp.arange(1, x.shape[1] + 1)[None], 20), axis=1)
        return self.network(x, length, train=train)


def waved(**arguments: Any) -> nn.Module:
    return Waved(wav2vec2.Wav2Vec2(num_tokens=5, **arguments))


keywords, listener, conformed = keyword_cnn.KeywordCNN, framed(deep_speech.DeepSpeech2), framed(conformer.Conformer)
MEMBERS = {
    "frame_cnn": member(frame_cnn, frame_cnn.FrameCNN, sounds, (16, 8)),
    "keyword_cnn": member(keyword_cnn, keywords, sounds, (5,), num_classes=5, dropout=0.5),
    "deep_speech": member(deep_speech, listener, sounds, (4, 5), num_tokens=5, dropout=0.5),
    "conformer": member(conformer, conformed, sounds, (4, 5), num_tokens=5, dropout=0.5),
    "wav2vec2_dropout": member(wav2vec2, waved, waveforms, (9, 5), dropout=0.5),
    "wav2vec2_normed": member(wav2vec2, waved, waveforms, (9, 5), pre_norm=True, norm_each=True),
    "whisper_dropout": member(whisper, heard, normal(16, 8), (3, 5), dropout=0.5),
}
SLOW = {"frame_cnn", "wav2vec2_dropout", "wav2vec2_normed", "whisper_dropout"}
SLOW_SIZES = {"conformer", "whisper"}
long = normal(40, 40)
FAMILIES = {
    "keyword_cnn": Family(functools.partial(keywords, num_classes=9), keyword_cnn.VARIANTS, long, (9,)),
    "frame_cnn": Family(lambda **sizes: frame_cnn.FrameCNN(**sizes | {"width": 8}), frame_cnn.VARIANTS, long, (40, 8)),
    "deep_speech": Family(functools.partial(listener, num_tokens=9), deep_speech.VARIANTS, long, (10, 9)),
    "conformer": Family(functools.partial(conformed, num_tokens=9), conformer.VARIANTS, long, (10, 9)),
    "wav2vec2": Family(
        functools.partial(waved, convs=wav2vec2.VARIANTS["test"]["convs"]), wav2vec2.VARIANTS, waveforms, (9, 5)
    ),
    "whisper": Family(functools.partial(heard, positions=8), whisper.VARIANTS, normal(16, 8), (3, 5)),
}
