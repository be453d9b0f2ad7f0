"""gpt-oss.

OpenAI 2025, "gpt-oss-120b & gpt-oss-20b model card", https://arxiv.org/abs/2508.10925.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.grouped import Sinks
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.attention.rotary_scaling import YarnScaling, yarn_amplitude
from deeplab.nn.experts.mixture import Experts, Mixture, clamped_swiglu
from deeplab.nn.experts.routers import ChosenSoftmaxRouter
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head
from deeplab.nn.parts.wiring import PreNorm


def GPTOss(
    *, num_experts: int, top_k: int, windows: Sequence[int | None], rotary: Rotary | None = None, bias: bool = True,
    **sizes: Any,
) -> Decoder:  # fmt: skip
    """A mixture of clamped experts in every layer, attention with sinks, and a window in every other layer.

    Args:
      num_experts: Number of experts of a layer.
      top_k: Number of them that a token asks.
      windows: Window of each layer, None for all positions.
      rotary: Rotation, where it is not that of the published models.
      bias: Whether attention has biases.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`; `hidden` is of each expert.

    Example:
      >>> GPTOss(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)
    turn = rotary or Rotary(s.dim, 150_000.0, YarnScaling(32.0, 4096, amplitude=yarn_amplitude(32.0), whole=False))

    def block(window: int | None) -> nn.Module:
        attention = s.attention(rotary=turn, window=window, sinks=Sinks(s.num_heads), use_bias=bias, out_bias=bias)
        experts = Experts(num_experts, s.hidden, clamped_swiglu, use_bias=True, out_init=s.out_init)
        mixture = Mixture(ChosenSoftmaxRouter(num_experts, top_k), experts)
        return PreNorm(attention, mixture, nn.RMSNorm(s.epsilon), nn.RMSNorm(s.epsilon))

    return Decoder(
        token_embedding=s.embedding(),
        stacks=stacks(list(windows), block),
        norm=nn.RMSNorm(s.epsilon),
        head=Head(s.vocab_size),
        context=s.context,
        rules=rules_of(experts=True),
        remat=s.remat,
    )


def _windows(config: Config) -> list[int | None]:
    return common.windows(config, 2, 128)


_YARN = {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False}
"""What a config that says nothing of it has, as in transformers."""


def _model(config: Config) -> Decoder:
    configs.only(config, swiglu_alpha=1.702, swiglu_limit=7.0, tie_word_embeddings=False)
    if not (config.get("rope_parameters") or config.get("rope_scaling")):
        config = {**config, "rope_scaling": _YARN}
    return GPTOss(
        **common.sizes(config, epsilon=1e-5),
        num_experts=config["num_local_experts"],
        top_k=config.get("num_experts_per_tok") or config["experts_per_token"],
        windows=_windows(config),
        rotary=common.rotary_of(config, common.head_dim(config), base=150_000.0),
        bias=config.get("attention_bias", True),
    )


def _names(config: Config) -> Names:
    bias, experts = config.get("attention_bias", True), "feed_forward/experts"
    cut = {"cut": "p", "parts": (1, 1)}  # gate and up alternate
    rules = (
        *common.attention(bias=bias, out_bias=bias),
        *one("attention/sinks/score", "self_attn.sinks"),
        *norm("norm1", "input_layernorm"),
        *norm("norm2", "post_attention_layernorm"),
        *linear("feed_forward/router/gate", "mlp.router", True),
        Rule(
            (f"{experts}/gate_kernel", f"{experts}/up_kernel"), "mlp.experts.gate_up_proj",
            "e c (f p) -> e c (f p)", **cut,
        ),
        Rule(
            (f"{experts}/gate_bias", f"{experts}/up_bias"), "mlp.experts.gate_up_proj_bias", "e (f p) -> e (f p)", **cut
        ),
        *one(f"{experts}/down_kernel", "mlp.experts.down_proj"),
        *one(f"{experts}/down_bias", "mlp.experts.down_proj_bias"),
    )  # fmt: skip
    return common.named(config, lambda kind: rules, _windows(config))


FAMILY = Family(_model, _names)

# The model card, section 2.1. The vocabulary holds 201,088 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "width": 32, "hidden": 24, "context": 16,
        "num_experts": 4, "top_k": 2, "windows": [5, None],
    },
    "20b": {
        "num_layers": 24, "num_heads": 64, "num_kv_heads": 8, "head_dim": 64, "width": 2880, "hidden": 2880,
        "context": 131_072, "num_experts": 32, "top_k": 4, "windows": [128, None] * 12,
    },
    "120b": {
        "num_layers": 36, "num_heads": 64, "num_kv_heads": 8, "head_dim": 64, "width": 2880, "hidden": 2880,
        "context": 131_072, "num_experts": 128, "top_k": 4, "windows": [128, None] * 18,
    },
}  # fmt: skip
