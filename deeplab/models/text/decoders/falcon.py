"""Falcon.

Almazrouei et al. 2023, "The Falcon series of open language models", https://arxiv.org/abs/2311.16867.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.activations import gelu
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.attention.scores import alibi_slopes
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import Parallel, ParallelNorms, PreNorm

WIRINGS = {"one": (Parallel, 1), "two": (ParallelNorms, 2), "serial": (PreNorm, 2)}
"""Wirings, and the number of their norms."""


def Falcon(
    *,
    wiring: Literal["one", "two", "serial"] = "one",
    rotary: Rotary | None = None,
    alibi: bool = False,
    activation: Elementwise = gelu,
    bias: bool = False,
    tied: bool = True,
    **sizes: Any,
) -> Decoder:
    """Attention and feed-forward side by side after one norm (7B, and 11B), two (40B and 180B), or in series (RW).

    Args:
      wiring: Key of `WIRINGS`.
      rotary: Rotation, where it is not that of base 10,000.
      alibi: Whether scores fall with the distance, instead of a rotation.
      activation: Function of the hidden units.
      bias: Whether all products have biases.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> Falcon(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)
    block_type, norms = WIRINGS[wiring]
    slopes = tuple(float(slope) / s.dim**0.5 for slope in alibi_slopes(s.num_heads))

    def block(kind: None) -> nn.Module:
        del kind
        position: dict[str, Any] = {"slopes": slopes} if alibi else {"rotary": rotary or Rotary(s.dim)}
        attention = s.attention(use_bias=bias, out_bias=bias, **position)
        feed_forward = Plain(s.hidden, activation, use_bias=bias, out_init=s.out_init)
        return block_type(attention, feed_forward, *(layer_norm(s.epsilon) for _ in range(norms)))

    return Decoder(
        token_embedding=s.embedding(),
        stacks=stacks([None] * s.num_layers, block),
        norm=layer_norm(s.epsilon),
        head=TiedHead() if tied else Head(s.vocab_size),
        context=s.context,
        rules=rules_of(tied=tied),
        remat=s.remat,
    )


def _kv_heads(config: Config) -> int:
    if config.get("new_decoder_architecture", False):
        return config.get("num_kv_heads") or config["num_attention_heads"]
    return 1 if config.get("multi_query", True) else config["num_attention_heads"]


def _wiring(config: Config) -> Literal["one", "two", "serial"]:
    if not config.get("parallel_attn", True):
        return "serial"
    new = config.get("new_decoder_architecture", False)
    return "two" if (config.get("num_ln_in_parallel_attn") or (2 if new else 1)) == 2 else "one"


def _model(config: Config) -> Decoder:
    width = config["hidden_size"] // config["num_attention_heads"]
    return Falcon(
        vocab_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=_kv_heads(config),
        width=config["hidden_size"],
        hidden=config.get("ffn_hidden_size") or 4 * config["hidden_size"],
        context=config.get("max_position_embeddings", 2048),
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        wiring=_wiring(config),
        rotary=common.rotary_of(config, width),
        alibi=config.get("alibi", False),
        activation=configs.activation(config.get("activation", "gelu")),
        bias=config.get("bias", False),
        tied=config.get("tie_word_embeddings", True),
    )


def _names(config: Config) -> Names:
    heads, bias = ("query", "key", "value"), config.get("bias", False)
    group = config["num_attention_heads"] // _kv_heads(config)
    width = config["hidden_size"] // config["num_attention_heads"]
    cut = {"cut": "p", "parts": (group, 1, 1), "sizes": (("d", width),)}  # each head of keys after its queries
    fused = "self_attention.query_key_value"
    layer = (
        Rule(tuple(f"attention/{h}/kernel" for h in heads), f"{fused}.weight", "(k p d) c -> c (k p d)", **cut),
        *linear("attention/out", "self_attention.dense", bias),
        *linear("feed_forward/up", "mlp.dense_h_to_4h", bias),
        *linear("feed_forward/down", "mlp.dense_4h_to_h", bias),
    )
    if bias:
        layer += (Rule(tuple(f"attention/{h}/bias" for h in heads), f"{fused}.bias", "(k p d) -> (k p d)", **cut),)
    both = {"one": ("input_layernorm",), "two": ("ln_attn", "ln_mlp")}
    for number, name in enumerate(both.get(_wiring(config), ("input_layernorm", "post_attention_layernorm")), 1):
        layer += norm(f"norm{number}", name, bias=True)
    rules = (
        *one("token_embedding/embedding", "transformer.word_embeddings.weight"),
        *under("blocks", "transformer.h", range(config["num_hidden_layers"]), layer),
        *norm("norm", "transformer.ln_f", bias=True),
    )
    if config.get("tie_word_embeddings", True):
        return Names(rules, "transformer.", (("transformer.word_embeddings.weight", "lm_head.weight"),))
    return Names(rules + linear("head", "lm_head"), "transformer.")


FAMILY = Family(_model, _names)

# Almazrouei et al. 2023, table 16. The vocabulary holds 65,024 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 4, "num_kv_heads": 1, "width": 32, "hidden": 128, "context": 16},
    "7b": {"num_layers": 32, "num_heads": 71, "num_kv_heads": 1, "width": 4544, "hidden": 18_176, "context": 2048},
    "40b": {
        "num_layers": 60, "num_heads": 128, "num_kv_heads": 8, "width": 8192, "hidden": 32_768, "context": 2048,
        "wiring": "two",
    },
    "180b": {
        "num_layers": 80, "num_heads": 232, "num_kv_heads": 8, "width": 14_848, "hidden": 59_392, "context": 2048,
        "wiring": "two",
    },
}  # fmt: skip
