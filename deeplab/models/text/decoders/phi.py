"""Phi 1 to 4.

Gunasekar et al. 2023, "Textbooks are all you need", https://arxiv.org/abs/2306.11644; Abdin et al. 2024, "Phi-3
technical report", https://arxiv.org/abs/2404.14219, and "Phi-4 technical report", https://arxiv.org/abs/2412.08905.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, linear, norm
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common, llama
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import Parallel


def Phi(
    *,
    rotary: Rotary | None = None,
    activation: Elementwise = nn.gelu,
    normed: bool = False,
    tied: bool = False,
    **sizes: Any,
) -> Decoder:
    """Phi 1 to 2: attention and feed-forward side by side after one norm, biases everywhere; Phi 3 and 4 are Llamas.

    Args:
      rotary: Rotation, where it is not of half a head with base 10,000.
      activation: Function of the hidden units.
      normed: Whether each head of queries and keys is normed.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> Phi(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)

    def block(kind: None) -> nn.Module:
        del kind
        norms = {name: layer_norm(s.epsilon) for name in ("query_norm", "key_norm") if normed}
        attention = s.attention(rotary=rotary or Rotary(s.dim // 2), use_bias=True, out_bias=True, **norms)
        return Parallel(attention, Plain(s.hidden, activation, out_init=s.out_init), layer_norm(s.epsilon))

    return Decoder(
        token_embedding=s.embedding(),
        stacks=stacks([None] * s.num_layers, block),
        norm=layer_norm(s.epsilon),
        head=TiedHead() if tied else Head(s.vocab_size, use_bias=True),
        context=s.context,
        rules=rules_of(tied=tied),
        remat=s.remat,
    )


def _model(config: Config) -> Decoder:
    width, tied = common.head_dim(config), config.get("tie_word_embeddings", False)
    if config["model_type"] == "phi3":
        configs.only(config, hidden_act="silu", attention_bias=False)
        rotary = common.rotary_of(config, width, partial=1.0)
        sizes = common.sizes(config, epsilon=1e-5)
        return llama.Llama(**sizes, rotary=rotary, layers=_layers(config), tied=tied)
    configs.only(config, tie_word_embeddings=False)
    return Phi(
        **common.sizes(config, epsilon=1e-5),
        rotary=common.rotary_of(config, width, partial=0.5),
        activation=configs.activation(config.get("hidden_act", "gelu_new")),
        normed=config.get("qk_layernorm", False),
    )


def _layers(config: Config) -> list[llama.Layer]:
    return [llama.Layer(window=config.get("sliding_window"))] * config["num_hidden_layers"]


def _names(config: Config) -> Names:
    if config["model_type"] == "phi3":
        return common.named(config, lambda kind: _fused(config), _layers(config))
    heads = ("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("dense", "out")
    rules = norm("norm1", "input_layernorm", bias=True)
    for theirs, ours in heads:
        rules += linear(f"attention/{ours}", f"self_attn.{theirs}", True)
    rules += linear("feed_forward/up", "mlp.fc1", True) + linear("feed_forward/down", "mlp.fc2", True)
    if config.get("qk_layernorm", False):
        rules += norm("attention/query_norm", "self_attn.q_layernorm", bias=True)
        rules += norm("attention/key_norm", "self_attn.k_layernorm", bias=True)
    last = norm("norm", "model.final_layernorm", bias=True)
    return common.named(config, lambda kind: rules, [None] * config["num_hidden_layers"], last=last, head_bias=True)


def _fused(config: Config) -> tuple[Rule, ...]:
    sizes = common.sizes(config)
    heads = tuple(sizes["head_dim"] * sizes[name] for name in ("num_heads", "num_kv_heads", "num_kv_heads"))
    kernels = tuple(f"attention/{name}/kernel" for name in ("query", "key", "value"))
    gates = ("feed_forward/gate/kernel", "feed_forward/up/kernel")
    return (
        Rule(kernels, "self_attn.qkv_proj.weight", "p c -> c p", cut="p", parts=heads),
        *linear("attention/out", "self_attn.o_proj"),
        Rule(gates, "mlp.gate_up_proj.weight", "p c -> c p", cut="p", parts=(sizes["hidden"],) * 2),
        *linear("feed_forward/down", "mlp.down_proj"),
        *norm("norm1", "input_layernorm"),
        *norm("norm2", "post_attention_layernorm"),
    )


FAMILY = Family(_model, _names)

# Phi 1.5 and 2, their configs: 51,200 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 32, "hidden": 128, "context": 16},
    "phi1.5": {
        "num_layers": 24, "num_heads": 32, "width": 2048, "hidden": 8192, "context": 2048, "rotary": Rotary(32),
    },
    "phi2": {
        "num_layers": 32, "num_heads": 32, "width": 2560, "hidden": 10_240, "context": 2048, "rotary": Rotary(32),
    },
}  # fmt: skip
