"""StarCoder2: Lozhkov et al. 2024, "StarCoder 2 and The Stack v2", https://arxiv.org/abs/2402.19173."""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, linear, norm
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import PreNorm


def StarCoder2(
    *, rotary: Rotary | None = None, window: int | None = None, activation: Elementwise = nn.gelu, bias: bool = True,
    tied: bool = True, **sizes: Any,
) -> Decoder:  # fmt: skip
    """GPT-2's norms and feed-forward layers, with rotary positions and grouped queries.

    Args:
      rotary: Rotation, where it is not that of base 10,000.
      window: Number of positions that a query attends to; all of them when None.
      activation: Function of the hidden units.
      bias: Whether attention and feed-forward layers have biases.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> StarCoder2(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)

    def block(kind: None) -> nn.Module:
        attention = s.attention(rotary=rotary or Rotary(s.dim), window=window, use_bias=bias, out_bias=bias)
        feed_forward = Plain(s.hidden, activation, use_bias=bias, out_init=s.out_init)
        return PreNorm(attention, feed_forward, layer_norm(s.epsilon), layer_norm(s.epsilon))

    ends = {"norm": layer_norm(s.epsilon), "head": TiedHead() if tied else Head(s.vocab_size)}
    layers, rules = stacks([None] * s.num_layers, block), rules_of(tied=tied)
    return Decoder(s.embedding(), layers, **ends, context=s.context, rules=rules, remat=s.remat)


def _model(config: Config) -> Decoder:
    sizes = common.sizes(config) | {"epsilon": config.get("norm_epsilon", 1e-5)}
    rotary, window = common.rotary_of(config, common.head_dim(config)), config.get("sliding_window")
    activation = configs.activation(config.get("hidden_act", "gelu_pytorch_tanh"))
    bias, tied = config.get("use_bias", True), config.get("tie_word_embeddings", True)
    return StarCoder2(rotary=rotary, window=window, activation=activation, bias=bias, tied=tied, **sizes)


def _names(config: Config) -> Names:
    bias = config.get("use_bias", True)
    rules = common.attention(bias=bias, out_bias=bias)
    rules += linear("feed_forward/up", "mlp.c_fc", bias) + linear("feed_forward/down", "mlp.c_proj", bias)
    rules += norm("norm1", "input_layernorm", bias=True) + norm("norm2", "post_attention_layernorm", bias=True)
    last, kinds = norm("norm", "model.norm", bias=True), [None] * config["num_hidden_layers"]
    return common.named(config, lambda kind: rules, kinds, last=last, tied=True)


FAMILY = Family(_model, _names)

# Lozhkov et al. 2024, table 6, of 49,152 tokens; the 3B has a window of 4,096 and its base is 999,999.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "width": 32, "hidden": 48, "context": 16},
    "3b": {
        "num_layers": 30, "num_heads": 24, "num_kv_heads": 2, "width": 3072, "hidden": 12_288, "context": 16_384,
        "rotary": Rotary(128, 999_999.442), "window": 4096,
    },
}  # fmt: skip
