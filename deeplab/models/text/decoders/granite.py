"""Granite 3.

Granite Team 2024, "Granite 3.0 language models", https://github.com/ibm-granite/granite-3.0-language-models.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, norm
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.parts.feed_forward import Gated
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import PreNorm


def Granite(
    *,
    embedding: float = 1.0,
    scale: float = 1.0,
    residual: float = 1.0,
    logits: float = 1.0,
    rotary: Rotary | None = None,
    bias: tuple[bool, bool] = (False, False),
    tied: bool = False,
    **sizes: Any,
) -> Decoder:
    """Llama with four multipliers.

    Args:
      embedding: Factor of the embeddings.
      scale: Factor of the products of queries and keys.
      residual: Factor of both branches of a block.
      logits: Divisor of the logits.
      rotary: Rotation, where it is not that of base 10,000.
      bias: Whether attention, and feed-forward layers, have biases.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> Granite(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)

    def block(kind: None) -> nn.Module:
        del kind
        turn = rotary or Rotary(s.dim)
        attention = s.attention(rotary=turn, scale=scale, use_bias=bias[0], out_bias=bias[0])
        feed_forward = Gated(s.hidden, use_bias=bias[1], out_init=s.out_init)
        return PreNorm(attention, feed_forward, nn.RMSNorm(s.epsilon), nn.RMSNorm(s.epsilon), residual)

    return Decoder(
        token_embedding=s.embedding(scale=embedding),
        stacks=stacks([None] * s.num_layers, block),
        norm=nn.RMSNorm(s.epsilon),
        head=TiedHead(1 / logits) if tied else Head(s.vocab_size, scale=1 / logits),
        context=s.context,
        rules=rules_of(tied=tied),
        remat=s.remat,
    )


def _model(config: Config) -> Decoder:
    configs.only(config, hidden_act="silu")
    return Granite(
        **common.sizes(config),
        embedding=config.get("embedding_multiplier", 1.0),
        scale=config.get("attention_multiplier", 1.0),
        residual=config.get("residual_multiplier", 1.0),
        logits=config.get("logits_scaling", 1.0),
        rotary=common.rotary_of(config, common.head_dim(config)),
        bias=(config.get("attention_bias", False), config.get("mlp_bias", False)),
        tied=config.get("tie_word_embeddings", False),
    )


def _names(config: Config) -> Names:
    bias = config.get("attention_bias", False)
    rules = (
        *common.attention(bias=bias, out_bias=bias),
        *common.gated(bias=config.get("mlp_bias", False)),
        *norm("norm1", "input_layernorm"),
        *norm("norm2", "post_attention_layernorm"),
    )
    return common.named(config, lambda kind: rules, [None] * config["num_hidden_layers"])


FAMILY = Family(_model, _names)

# Their configs. The vocabulary holds 49,155 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "width": 32, "hidden": 48, "context": 16,
        "embedding": 12.0, "scale": 0.1, "residual": 0.22, "logits": 8.0,
    },
    "3.0_2b": {
        "num_layers": 40, "num_heads": 32, "num_kv_heads": 8, "width": 2048, "hidden": 8192, "context": 4096,
        "embedding": 12.0, "scale": 1 / 64, "residual": 0.22, "logits": 8.0, "tied": True,
    },
    "3.0_8b": {
        "num_layers": 40, "num_heads": 32, "num_kv_heads": 8, "width": 4096, "hidden": 12_800, "context": 4096,
        "embedding": 12.0, "scale": 1 / 128, "residual": 0.22, "logits": 16.0, "tied": True,
    },
}  # fmt: skip
