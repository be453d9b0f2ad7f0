"""Qwen 1.5 to 3, and their mixtures of experts.

Qwen Team 2024, "Qwen2 technical report", https://arxiv.org/abs/2407.10671, and 2025, "Qwen3 technical report",
https://arxiv.org/abs/2505.09388.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, linear, norm
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.experts.mixture import Experts, Mixture, Weighed
from deeplab.nn.experts.routers import SoftmaxRouter
from deeplab.nn.parts.feed_forward import Gated
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import PreNorm


class Layer(NamedTuple):
    """How a layer differs from others.

    Attributes:
      window: Number of positions that it attends to; all of them when None.
      sparse: Whether its feed-forward layer is a mixture of experts.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Qwen(vocab_size=7, **VARIANTS["test_moe"], layers=[Layer(), Layer(sparse=True)])
      >>> shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 5), jnp.int32))["params"]
      >>> [sorted(shapes[name]["feed_forward"]) for name in sorted(shapes) if name.startswith("blocks")]
      [['down', 'gate', 'up'], ['experts', 'router']]
    """

    window: int | None = None
    sparse: bool = False


class ExpertSizes(NamedTuple):
    """Sizes of a mixture of experts.

    Attributes:
      number: E.
      top_k: Number of experts that a token asks.
      hidden: Units of each.
      normalize: Whether the weights of those asked add up to 1.
      shared: Units of the weighed expert of all tokens, if any.

    Example:
      >>> VARIANTS["qwen3_30b_a3b"]["experts"]
      ExpertSizes(number=128, top_k=8, hidden=768, normalize=True, shared=None)
    """

    number: int
    top_k: int
    hidden: int
    normalize: bool = True
    shared: int | None = None


def Qwen(
    *,
    rotary: Rotary | None = None,
    rotary_base: float = 1e6,
    layers: Sequence[Layer] | None = None,
    experts: ExpertSizes | None = None,
    bias: tuple[bool, bool] = (False, False),
    normed: bool = True,
    tied: bool = False,
    **sizes: Any,
) -> Decoder:
    """Llama with a norm of each head of queries and keys (Qwen 3), or with biases there (Qwen 1.5 to 2.5).

    Args:
      rotary: Rotation, where it is more than a base.
      rotary_base: Base of the rotations' wavelengths.
      layers: What differs by layer.
      experts: Sizes of the mixtures of experts, if there are any.
      bias: Whether queries, keys and values, and the output of attention, have biases.
      normed: Whether each head of queries and keys is normed.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> Qwen(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)
    turn = rotary or Rotary(s.dim, rotary_base)

    def block(layer: Layer) -> nn.Module:
        norms = {name: nn.RMSNorm(s.epsilon) for name in ("query_norm", "key_norm") if normed}
        attention = s.attention(rotary=turn, use_bias=bias[0], out_bias=bias[1], window=layer.window, **norms)
        dense = Gated(s.hidden, out_init=s.out_init)
        feed_forward = _mixture(experts, s) if experts and layer.sparse else dense
        return PreNorm(attention, feed_forward, nn.RMSNorm(s.epsilon), nn.RMSNorm(s.epsilon))

    return Decoder(
        token_embedding=s.embedding(),
        stacks=stacks(layers or [Layer(sparse=experts is not None)] * s.num_layers, block),
        norm=nn.RMSNorm(s.epsilon),
        head=TiedHead() if tied else Head(s.vocab_size),
        context=s.context,
        rules=rules_of(tied=tied, experts=experts is not None),
        remat=s.remat,
    )


def _mixture(experts: ExpertSizes, s: Sizes) -> nn.Module:
    return Mixture(
        SoftmaxRouter(experts.number, experts.top_k, experts.normalize),
        Experts(experts.number, experts.hidden, out_init=s.out_init),
        None if experts.shared is None else Weighed(Gated(experts.shared, out_init=s.out_init)),
    )


def _model(config: Config) -> Decoder:
    configs.only(config, hidden_act="silu")
    third, experts = config["model_type"].startswith("qwen3"), None
    if config["model_type"].endswith("moe"):
        number = config.get("num_experts") or config["num_local_experts"]
        shared = None if third else config["shared_expert_intermediate_size"]
        normalize = config.get("norm_topk_prob", False)
        experts = ExpertSizes(number, config["num_experts_per_tok"], config["moe_intermediate_size"], normalize, shared)
    everywhere = third and config.get("attention_bias", False)
    return Qwen(
        **common.sizes(config),
        rotary=common.rotary_of(config, common.head_dim(config)),
        layers=_layers(config),
        experts=experts,
        bias=(everywhere or (not third and config.get("qkv_bias", True)), everywhere),
        normed=third,
        tied=config.get("tie_word_embeddings", False),
    )


def _layers(config: Config) -> list[Layer]:
    number, step = config["num_hidden_layers"], config.get("decoder_sparse_step", 1)
    window = config.get("sliding_window") if config.get("use_sliding_window") else None
    kinds = _kinds(config, number)
    sparse = [
        config["model_type"].endswith("moe") and i not in (config.get("mlp_only_layers") or ()) and (i + 1) % step == 0
        for i in range(number)
    ]
    return [Layer(window if kind == "sliding_attention" else None, s) for kind, s in zip(kinds, sparse, strict=False)]


def _kinds(config: Config, number: int) -> Sequence[str]:
    """Which layers have a window, where there is one: as their code has it, which differs by model."""
    kind, bound = config["model_type"], config.get("max_window_layers", 28)
    if kind == "qwen3_moe":
        return ["sliding_attention"] * number
    windowed = [i < bound and i % 2 == 0 if kind == "qwen2_moe" else i >= bound for i in range(number)]
    return config.get("layer_types") or ["sliding_attention" if yes else "full_attention" for yes in windowed]


def _names(config: Config) -> Names:
    third = config["model_type"].startswith("qwen3")
    everywhere = third and config.get("attention_bias", False)
    bias = everywhere or (not third and config.get("qkv_bias", True))
    rules = (
        *common.attention(bias=bias, out_bias=everywhere),
        *norm("norm1", "input_layernorm"),
        *norm("norm2", "post_attention_layernorm"),
    )
    if third:
        rules += norm("attention/query_norm", "self_attn.q_norm") + norm("attention/key_norm", "self_attn.k_norm")
    sparse = linear("feed_forward/router/gate", "mlp.gate") + common.experts("mlp")
    if not third:
        sparse += common.gated("mlp.shared_expert", ours="feed_forward/shared/layer")
        sparse += linear("feed_forward/shared/weight", "mlp.shared_expert_gate")
    return common.named(config, lambda kind: rules + (sparse if kind.sparse else common.gated()), _layers(config))


FAMILY = Family(_model, _names)

# Qwen2 technical report, table 1; Qwen3 technical report, tables 1 and 2. Contexts are those of the first training.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16, "width": 32, "hidden": 48, "context": 16,
    },
    "test_moe": {
        "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16, "width": 32, "hidden": 48, "context": 16,
        "experts": ExpertSizes(4, 2, 24),
    },
    "qwen2_0.5b": {
        "num_layers": 24, "num_heads": 14, "num_kv_heads": 2, "width": 896, "hidden": 4864, "context": 32_768,
        "bias": (True, False), "normed": False, "tied": True, "epsilon": 1e-6,
    },
    "qwen2_7b": {
        "num_layers": 28, "num_heads": 28, "num_kv_heads": 4, "width": 3584, "hidden": 18_944, "context": 32_768,
        "bias": (True, False), "normed": False, "epsilon": 1e-6,
    },
    "qwen3_0.6b": {
        "num_layers": 28, "num_heads": 16, "num_kv_heads": 8, "head_dim": 128, "width": 1024, "hidden": 3072,
        "context": 32_768, "tied": True, "epsilon": 1e-6,
    },
    "qwen3_8b": {
        "num_layers": 36, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128, "width": 4096, "hidden": 12_288,
        "context": 32_768, "epsilon": 1e-6,
    },
    "qwen3_30b_a3b": {
        "num_layers": 48, "num_heads": 32, "num_kv_heads": 4, "head_dim": 128, "width": 2048, "hidden": 6144,
        "context": 32_768, "experts": ExpertSizes(128, 8, 768), "epsilon": 1e-6,
    },
}  # fmt: skip
