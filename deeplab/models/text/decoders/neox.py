"""GPT-NeoX, of which Pythia is.

Black et al. 2022, "GPT-NeoX-20B", https://arxiv.org/abs/2204.06745; Biderman et al. 2023, "Pythia",
https://arxiv.org/abs/2304.01373.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.activations import gelu
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import ParallelNorms, PreNorm


def NeoX(
    *,
    rotary: Rotary | None = None,
    activation: Elementwise = gelu,
    parallel: bool = True,
    bias: bool = True,
    tied: bool = False,
    **sizes: Any,
) -> Decoder:
    """Attention and feed-forward side by side, each after a norm of its own; a quarter of each head turns.

    Args:
      rotary: Rotation, where it is not of a quarter of a head with base 10,000.
      activation: Function of the hidden units.
      parallel: Whether the two branches read the same stream; else one after the other.
      bias: Whether attention has biases.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> NeoX(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)
    wiring = ParallelNorms if parallel else PreNorm

    def block(kind: None) -> nn.Module:
        del kind
        attention = s.attention(rotary=rotary or Rotary(s.dim // 4), use_bias=bias, out_bias=bias)
        feed_forward = Plain(s.hidden, activation, out_init=s.out_init)
        return wiring(attention, feed_forward, layer_norm(s.epsilon), layer_norm(s.epsilon))

    return Decoder(
        token_embedding=s.embedding(),
        stacks=stacks([None] * s.num_layers, block),
        norm=layer_norm(s.epsilon),
        head=TiedHead() if tied else Head(s.vocab_size),
        context=s.context,
        rules=rules_of(tied=tied),
        remat=s.remat,
    )


def _model(config: Config) -> Decoder:
    said = {"rope_theta": config.get("rotary_emb_base"), "partial_rotary_factor": config.get("rotary_pct"), **config}
    sizes = common.sizes({**config, "num_key_value_heads": None}, epsilon=1e-5)
    return NeoX(
        **sizes,
        rotary=common.rotary_of(said, common.head_dim(config), partial=0.25),
        activation=configs.activation(config.get("hidden_act", "gelu")),
        parallel=config.get("use_parallel_residual", True),
        bias=config.get("attention_bias", True),
        tied=config.get("tie_word_embeddings", False),
    )


def _names(config: Config) -> Names:
    bias = config.get("attention_bias", True)
    sizes, heads = (("d", common.head_dim(config)),), ("query", "key", "value")
    cut = {"cut": "p", "parts": (1, 1, 1), "sizes": sizes}
    fused = "attention.query_key_value"
    layer = (
        Rule(tuple(f"attention/{h}/kernel" for h in heads), f"{fused}.weight", "(h p d) c -> c (h p d)", **cut),
        *linear("attention/out", "attention.dense", bias),
        *linear("feed_forward/up", "mlp.dense_h_to_4h", True),
        *linear("feed_forward/down", "mlp.dense_4h_to_h", True),
        *norm("norm1", "input_layernorm", bias=True),
        *norm("norm2", "post_attention_layernorm", bias=True),
    )
    if bias:
        layer += (Rule(tuple(f"attention/{h}/bias" for h in heads), f"{fused}.bias", "(h p d) -> (h p d)", **cut),)
    rules = (
        *one("token_embedding/embedding", "gpt_neox.embed_in.weight"),
        *under("blocks", "gpt_neox.layers", range(config["num_hidden_layers"]), layer),
        *norm("norm", "gpt_neox.final_layer_norm", bias=True),
    )
    ignored = (r"attention\.(masked_)?bias$", r"rotary_emb\.inv_freq$")
    if config.get("tie_word_embeddings", False):
        return Names(rules, "gpt_neox.", (("gpt_neox.embed_in.weight", "embed_out.weight"),), ignored)
    return Names(rules + linear("head", "embed_out"), "gpt_neox.", (), ignored)


FAMILY = Family(_model, _names)

# Biderman et al. 2023, table 1; Black et al. 2022, section 2.1. The vocabulary holds 50,304 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 32, "hidden": 128, "context": 16},
    "pythia_70m": {"num_layers": 6, "num_heads": 8, "width": 512, "hidden": 2048, "context": 2048},
    "pythia_410m": {"num_layers": 24, "num_heads": 16, "width": 1024, "hidden": 4096, "context": 2048},
    "pythia_1.4b": {"num_layers": 24, "num_heads": 16, "width": 2048, "hidden": 8192, "context": 2048},
    "pythia_6.9b": {"num_layers": 32, "num_heads": 32, "width": 4096, "hidden": 16_384, "context": 2048},
    "neox_20b": {"num_layers": 44, "num_heads": 64, "width": 6144, "hidden": 24_576, "context": 2048},
}
