"""Whisper.

Radford et al. 2022, "Robust speech recognition via large-scale weak supervision", https://arxiv.org/abs/2212.04356.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import RULES as LAYERS
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, conv1d, norm, one, under
from deeplab.models.text.layers import Sizes
from deeplab.models.text.seq2seq.bart import layer_names
from deeplab.models.text.seq2seq.composed import RULES, EncoderDecoder
from deeplab.nn.activations import gelu
from deeplab.nn.attention.cross import CrossAttention
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.crossing import CrossPreNorm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.heads import States
from deeplab.nn.parts.sounds import SpectrogramEmbedding
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import LearnedPositions, Placed, TiedHead
from deeplab.nn.parts.wiring import PreNorm
from deeplab.nn.transformer import INIT


def Whisper(
    *,
    positions: int = 1500,
    decoder: Mapping[str, int] | None = None,
    activation: Elementwise = gelu,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    **sizes: Any,
) -> EncoderDecoder:
    """Log-mel spectrograms [B, F, M] of one length to text: pre-norm blocks with biases everywhere but of keys.

    Args:
      positions: Positions of the encoder, half as many as frames: 30 seconds by hundredths of a second.
      decoder: Sizes in which the decoder differs from the encoder.
      activation: Function of the hidden units.
      dropout: Dropout probability in training, of the embeddings and of each branch; may be a tracer.
      attention_dropout: Probability of dropping an attention probability in training; may be a tracer.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`; the context is that of the text.

    Example:
      >>> model = Whisper(vocab_size=7, **VARIANTS["test"])
      >>> sounds, text = jnp.zeros((1, 16, 8)), jnp.array([[1, 5, 6]])
      >>> model.init_with_output(jax.random.key(0), sounds, None, text)[0].shape
      (1, 3, 7)
    """
    s, d = Sizes(**sizes), Sizes(**{**sizes, **(decoder or {})})
    parts: dict[str, Any] = {"use_bias": True, "key_bias": False, "out_bias": True, "dropout": attention_dropout}

    def norm_of() -> nn.Module:
        return layer_norm(s.epsilon)

    def layer(kind: None) -> nn.Module:
        del kind
        feed_forward = Plain(s.hidden, activation, out_init=s.out_init)
        attention = s.attention(causal=False, **parts)
        return PreNorm(attention, feed_forward, norm_of(), norm_of(), drop=nn.Dropout(dropout))

    def crossing(kind: None) -> nn.Module:
        del kind
        cross = CrossAttention(d.width, d.num_heads, kernel_init=INIT, out_init=d.out_init, **parts)
        feed_forward, norms = Plain(d.hidden, activation, out_init=d.out_init), (norm_of(), norm_of(), norm_of())
        return CrossPreNorm(d.attention(**parts), cross, feed_forward, *norms, drop=nn.Dropout(dropout))

    table = d.embedding()
    encoder = TransformerEncoder(
        SpectrogramEmbedding(s.width, positions, dropout), stacks([None] * s.num_layers, layer),
        norm_of(), States(), rules=LAYERS, remat=s.remat,
    )  # fmt: skip
    return EncoderDecoder(
        tokens=table,
        encoder=encoder,
        target=Placed(table, LearnedPositions(d.context, d.width)),
        stacks=stacks([None] * d.num_layers, crossing),
        norm=norm_of(),
        head=TiedHead(),
        context=d.context,
        drop=nn.Dropout(dropout),
        rules=RULES,
        remat=s.remat,
    )


def _bare(config: Config) -> bool:
    return (config.get("architectures") or [""])[0] == "WhisperModel"


def _model(config: Config) -> EncoderDecoder:
    # transformers reads `scale_embedding`, and scales nothing.
    configs.only(config, tie_word_embeddings=True, scale_embedding=False)
    if configs.architecture(config) not in ("Model", "ConditionalGeneration"):
        raise configs.unknown_head(config, ("ConditionalGeneration",))
    return Whisper(
        positions=config["max_source_positions"],
        vocab_size=config["vocab_size"],
        num_layers=config["encoder_layers"],
        num_heads=config["encoder_attention_heads"],
        width=config["d_model"],
        hidden=config["encoder_ffn_dim"],
        context=config["max_target_positions"],
        decoder={
            "num_layers": config["decoder_layers"],
            "num_heads": config["decoder_attention_heads"],
            "hidden": config["decoder_ffn_dim"],
        },
        activation=configs.activation(config.get("activation_function", "gelu")),
    )


def _names(config: Config) -> Names:
    stem = "" if _bare(config) else "model."
    encoder, decoder, layer = f"{stem}encoder", f"{stem}decoder", layer_names(key_bias=False)
    rules = (
        *conv1d("encoder/embed/conv1", f"{encoder}.conv1", bias=True),
        *conv1d("encoder/embed/conv2", f"{encoder}.conv2", bias=True),
        *one("encoder/embed/positions", f"{encoder}.embed_positions.weight"),
        *under("encoder/blocks", f"{encoder}.layers", range(config["encoder_layers"]), layer),
        *norm("encoder/norm", f"{encoder}.layer_norm", bias=True),
        *one("tokens/embedding", f"{decoder}.embed_tokens.weight"),
        *one("target/positions/embedding", f"{decoder}.embed_positions.weight"),
        *under("blocks", f"{decoder}.layers", range(config["decoder_layers"]), layer),
        *norm("norm", f"{decoder}.layer_norm", bias=True),
    )
    return Names(rules, "model.", ((f"{decoder}.embed_tokens.weight", "proj_out.weight"),))


def _inputs(config: Config) -> tuple[Any, ...]:
    features = jax.ShapeDtypeStruct((1, 2 * config["max_source_positions"], config["num_mel_bins"]), jnp.float32)
    return features, None, jax.ShapeDtypeStruct((1, 1), jnp.int32)


FAMILY = Family(_model, _names, _inputs)


def _size(num_layers: int, width: int, num_heads: int) -> dict[str, Any]:
    return {
        "num_layers": num_layers, "width": width, "num_heads": num_heads, "hidden": 4 * width, "context": 448,
    }  # fmt: skip


# Radford et al. 2022, table 1 (51,865 tokens); "turbo": https://huggingface.co/openai/whisper-large-v3-turbo.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {**_size(2, 16, 2), "positions": 8, "context": 16},
    "tiny": _size(4, 384, 6),
    "base": _size(6, 512, 8),
    "small": _size(12, 768, 12),
    "medium": _size(24, 1024, 16),
    "large": _size(32, 1280, 20),
    "turbo": {**_size(32, 1280, 20), "decoder": {"num_layers": 4}},
}
