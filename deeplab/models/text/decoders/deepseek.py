"""DeepSeek-V3.

DeepSeek-AI 2024, "DeepSeek-V3 technical report", https://arxiv.org/abs/2412.19437.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
from jax.sharding import PartitionSpec as P

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, linear, norm, one
from deeplab.models.text.decoder import EXPERT_RULES, RULES, Decoder
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.latent import LatentAttention
from deeplab.nn.attention.rotary import Rotary, rotate, rotate_neighbors
from deeplab.nn.attention.rotary_scaling import yarn_amplitude
from deeplab.nn.experts.mixture import Experts, Mixture
from deeplab.nn.experts.routers import GroupedSigmoidRouter
from deeplab.nn.parts.feed_forward import Gated
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head
from deeplab.nn.parts.wiring import PreNorm
from deeplab.nn.transformer import INIT

LATENT_RULES = (
    (r"attention/(query|key_value)_up/kernel", P(None, "fsdp", "model")),  # [L, R, (H d)]: whole heads
    *EXPERT_RULES,
    *((pattern.replace("query|key|value|", ""), spec) for pattern, spec in RULES),
)


class Latents(NamedTuple):
    """Sizes of an attention through latent vectors; see `deeplab.nn.attention.latent.LatentAttention`.

    Example:
      >>> sizes = VARIANTS["v3"]
      >>> sizes["latents"].rank + sizes["rotary"].width  # numbers that are kept for a token, whatever the heads
      576
    """

    rank: int
    query_rank: int | None
    plain_dim: int
    value_dim: int


class Routed(NamedTuple):
    """Sizes of the mixtures of experts; see `deeplab.nn.experts.routers.GroupedSigmoidRouter`.

    Attributes:
      number: E.
      top_k: Number of experts that a token asks.
      hidden: Units of each.
      shared: Units of the expert of all tokens.
      groups: Number of groups.
      top_groups: Number of groups that are asked.
      scale: Factor of the weights.
      normalize: Whether the weights of those asked add up to 1.

    Example:
      >>> experts = VARIANTS["v3"]["experts"]
      >>> experts.number // experts.groups * experts.top_groups, experts.top_k  # a token asks 8 of 128
      (128, 8)
    """

    number: int
    top_k: int
    hidden: int
    shared: int
    groups: int = 1
    top_groups: int = 1
    scale: float = 1.0
    normalize: bool = True


def DeepSeekV3(
    *,
    latents: Latents,
    experts: Routed,
    rotary: Rotary,
    dense_layers: int = 1,
    scale: float | None = None,
    bias: bool = False,
    **sizes: Any,
) -> Decoder:
    """Attention through latent vectors, and mixtures of experts after some dense layers; without the extra prediction.

    Args:
      latents: Sizes of the attention.
      experts: Sizes of the mixtures.
      rotary: Rotation of the part of queries and keys that turns.
      dense_layers: Number of first layers without experts.
      scale: Factor of the products of queries and keys; 1 / sqrt(their width) when None.
      bias: Whether attention has biases.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> DeepSeekV3(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)

    def block(sparse: bool) -> nn.Module:
        attention = LatentAttention(
            s.num_heads, latents.rank, latents.query_rank, latents.plain_dim, rotary, latents.value_dim, scale, bias,
            kernel_init=INIT, out_init=s.out_init, block=s.attention_block,
        )  # fmt: skip
        feed_forward = _mixture(experts, s) if sparse else Gated(s.hidden, out_init=s.out_init)
        return PreNorm(attention, feed_forward, nn.RMSNorm(s.epsilon), nn.RMSNorm(s.epsilon))

    return Decoder(
        token_embedding=s.embedding(),
        stacks=stacks(_sparse(s.num_layers, dense_layers), block),
        norm=nn.RMSNorm(s.epsilon),
        head=Head(s.vocab_size),
        context=s.context,
        rules=LATENT_RULES,
        remat=s.remat,
    )


def _mixture(experts: Routed, s: Sizes) -> nn.Module:
    router = GroupedSigmoidRouter(
        experts.number, experts.top_k, experts.groups, experts.top_groups, experts.normalize, experts.scale
    )
    shared = Gated(experts.shared, out_init=s.out_init)
    return Mixture(router, Experts(experts.number, experts.hidden, out_init=s.out_init), shared)


def _sparse(num_layers: int, dense_layers: int) -> list[bool]:
    return [i >= dense_layers for i in range(num_layers)]


def _model(config: Config) -> Decoder:
    configs.only(config, hidden_act="silu", tie_word_embeddings=False)
    turning, plain = config["qk_rope_head_dim"], config["qk_nope_head_dim"]
    said = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scale = None
    if said.get("mscale_all_dim") and (said.get("rope_type") or said.get("type")) != "default":
        scale = (turning + plain) ** -0.5 * yarn_amplitude(said["factor"], said["mscale_all_dim"]) ** 2
    number, hidden = config["n_routed_experts"], config["moe_intermediate_size"]
    return DeepSeekV3(
        **common.sizes(config),
        latents=Latents(config["kv_lora_rank"], config["q_lora_rank"], plain, config["v_head_dim"]),
        experts=Routed(
            number, config["num_experts_per_tok"], hidden, hidden * config["n_shared_experts"], config["n_group"],
            config["topk_group"], config["routed_scaling_factor"], config.get("norm_topk_prob", True),
        ),
        rotary=common.rotary_of(
            config, turning, turn=rotate_neighbors if config.get("rope_interleave", True) else rotate
        ),
        dense_layers=config["first_k_dense_replace"],
        scale=scale,
        bias=config.get("attention_bias", False),
    )  # fmt: skip


def _names(config: Config) -> Names:
    bias = config.get("attention_bias", False)
    rules = linear("attention/key_value_down", "self_attn.kv_a_proj_with_mqa", bias)
    rules += norm("attention/key_value_norm", "self_attn.kv_a_layernorm")
    rules += linear("attention/key_value_up", "self_attn.kv_b_proj") + linear("attention/out", "self_attn.o_proj", bias)
    if config["q_lora_rank"] is None:
        rules += linear("attention/query_up", "self_attn.q_proj")
    else:
        rules += linear("attention/query_down", "self_attn.q_a_proj", bias)
        rules += norm("attention/query_norm", "self_attn.q_a_layernorm")
        rules += linear("attention/query_up", "self_attn.q_b_proj")
    rules += norm("norm1", "input_layernorm") + norm("norm2", "post_attention_layernorm")
    sparse = (
        *linear("feed_forward/router/gate", "mlp.gate"),
        *one("feed_forward/router/balance", "mlp.gate.e_score_correction_bias"),
        *common.experts("mlp"),
        *common.gated("mlp.shared_experts", ours="feed_forward/shared"),
    )
    number = config["num_hidden_layers"]
    kinds = _sparse(number, config["first_k_dense_replace"])
    ignored = (r"rotary_emb\.inv_freq$", rf"^model\.layers\.{number}\.")  # the last predicts one token more
    return common.named(config, lambda kind: rules + (sparse if kind else common.gated()), kinds, ignored=ignored)


FAMILY = Family(_model, _names)

# DeepSeek-V3 technical report, section 4.2. The vocabulary holds 129,280 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 3, "num_heads": 4, "width": 32, "hidden": 48, "context": 16, "latents": Latents(16, 20, 6, 12),
        "experts": Routed(8, 3, 24, 24, 4, 2, 2.5), "rotary": Rotary(8, turn=rotate_neighbors),
    },
    "v3": {
        "num_layers": 61, "num_heads": 128, "width": 7168, "hidden": 18_432, "context": 4096, "dense_layers": 3,
        "latents": Latents(512, 1536, 128, 128), "experts": Routed(256, 8, 2048, 2048, 8, 4, 2.5),
        "rotary": Rotary(64, turn=rotate_neighbors), "epsilon": 1e-6,
    },
}  # fmt: skip
