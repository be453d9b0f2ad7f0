"""OLMo 1 to 3, and OLMoE.

Groeneveld et al. 2024, "OLMo", https://arxiv.org/abs/2402.00838; Team OLMo 2024, "2 OLMo 2 Furious",
https://arxiv.org/abs/2501.00656; Muennighoff et al. 2024, "OLMoE", https://arxiv.org/abs/2409.02060.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, linear, norm
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.decoders.qwen import ExpertSizes
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.grouped import AcrossHeads
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.experts.mixture import Experts, Mixture
from deeplab.nn.experts.routers import SoftmaxRouter
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Gated
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import BranchNorm, PreNorm


def _decoder(s: Sizes, block: Any, kinds: Sequence[Any], last: nn.Module, tied: bool, experts: bool = False) -> Decoder:
    return Decoder(
        token_embedding=s.embedding(),
        stacks=stacks(list(kinds), block),
        norm=last,
        head=TiedHead() if tied else Head(s.vocab_size),
        context=s.context,
        rules=rules_of(tied=tied, experts=experts),
        remat=s.remat,
    )


def _normed(s: Sizes, **parts: Any) -> nn.Module:
    """An attention whose queries and keys are normed over all heads together."""
    norms = {name: AcrossHeads(nn.RMSNorm(s.epsilon)) for name in ("query_norm", "key_norm")}
    return s.attention(**norms, **parts)


def OLMo(
    *, rotary: Rotary | None = None, limit: float | None = None, bias: bool = False, tied: bool = False, **sizes: Any
) -> Decoder:
    """OLMo 1: Llama with layer norms that have no parameters.

    Args:
      rotary: Rotation, where it is not that of base 10,000.
      limit: Bound of queries, keys and values, if any.
      bias: Whether attention has biases.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = OLMo(vocab_size=7, num_layers=1, num_heads=2, width=8, hidden=16, context=5)
      >>> shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 5), jnp.int32))["params"]
      >>> sorted(shapes), sorted(shapes["blocks"])  # no norm has parameters
      (['blocks', 'head', 'token_embedding'], ['attention', 'feed_forward'])
    """
    s = Sizes(**sizes)

    def block(kind: None) -> nn.Module:
        del kind
        attention = s.attention(rotary=rotary or Rotary(s.dim), limit=limit, use_bias=bias, out_bias=bias)
        norm1, norm2 = layer_norm(s.epsilon, affine=False), layer_norm(s.epsilon, affine=False)
        return PreNorm(attention, Gated(s.hidden, out_init=s.out_init), norm1, norm2)

    return _decoder(s, block, [None] * s.num_layers, layer_norm(s.epsilon, affine=False), tied)


def OLMo2(
    *,
    rotary: Rotary | None = None,
    local_rotary: Rotary | None = None,
    windows: Sequence[int | None] | None = None,
    bias: bool = False,
    tied: bool = False,
    **sizes: Any,
) -> Decoder:
    """OLMo 2 and 3: norms of what each branch gives, and of queries and keys over all heads together.

    Args:
      rotary: Rotation of layers without a window, where it is not that of base 500,000.
      local_rotary: Rotation of layers with one; the same when None.
      windows: Window of each layer, None for all positions; as in OLMo 3.
      bias: Whether attention has biases.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> OLMo2(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)
    turn = rotary or Rotary(s.dim, 5e5)

    def block(window: int | None) -> nn.Module:
        turns = turn if window is None else local_rotary or turn
        attention = _normed(s, rotary=turns, window=window, use_bias=bias, out_bias=bias)
        norms = (nn.RMSNorm(s.epsilon) for _ in range(2))
        return BranchNorm(attention, Gated(s.hidden, out_init=s.out_init), *norms)

    return _decoder(s, block, windows or [None] * s.num_layers, nn.RMSNorm(s.epsilon), tied)


def OLMoE(
    *, experts: ExpertSizes, rotary: Rotary | None = None, limit: float | None = None, bias: bool = False,
    tied: bool = False, **sizes: Any,
) -> Decoder:  # fmt: skip
    """OLMoE: pre-norm blocks, queries and keys normed over all heads together, and a mixture of experts.

    Args:
      experts: Sizes of the mixtures.
      rotary: Rotation, where it is not that of base 10,000.
      limit: Bound of queries, keys and values, if any.
      bias: Whether attention has biases.
      tied: Whether the output layer has the token embedding's weights.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> sizes = {"num_layers": 1, "num_heads": 2, "width": 8, "hidden": 16, "context": 5}
      >>> model = OLMoE(vocab_size=7, experts=ExpertSizes(number=4, top_k=2, hidden=16), **sizes)
      >>> shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 5), jnp.int32))["params"]
      >>> shapes["blocks"]["feed_forward"]["experts"]["up_kernel"].shape  # layers, experts, D, hidden units
      (1, 4, 8, 16)
    """
    s = Sizes(**sizes)

    def block(kind: None) -> nn.Module:
        del kind
        mixture = Mixture(
            SoftmaxRouter(experts.number, experts.top_k, experts.normalize),
            Experts(experts.number, experts.hidden, out_init=s.out_init),
        )
        attention = _normed(s, rotary=rotary or Rotary(s.dim), limit=limit, use_bias=bias, out_bias=bias)
        return PreNorm(attention, mixture, nn.RMSNorm(s.epsilon), nn.RMSNorm(s.epsilon))

    return _decoder(s, block, [None] * s.num_layers, nn.RMSNorm(s.epsilon), tied, experts=True)


def _model(config: Config) -> Decoder:
    configs.only(config, hidden_act="silu")
    width = common.head_dim(config)
    parts = {"tied": config.get("tie_word_embeddings", False), "bias": config.get("attention_bias", False)}
    parts |= common.sizes(config, epsilon=1e-5)
    base = 5e5 if config["model_type"] == "olmo3" else 1e4
    parts["rotary"] = common.rotary_of(config, width, base=base, kind="full_attention")
    if config["model_type"] == "olmo":
        return OLMo(limit=config.get("clip_qkv"), **parts)
    if config["model_type"] == "olmoe":
        number = config.get("num_experts") or config["num_local_experts"]
        normalize = config.get("norm_topk_prob", False)
        experts = ExpertSizes(number, config.get("num_experts_per_tok", 8), config["intermediate_size"], normalize)
        return OLMoE(experts=experts, limit=config.get("clip_qkv"), **parts)
    local = common.rotary_of(_local(config), width, base=base, kind="sliding_attention")
    return OLMo2(windows=_windows(config), local_rotary=local, **parts)


def _local(config: Config) -> Config:
    """The config of layers with a window, whose wavelengths are never scaled in older files."""
    return config if config.get("rope_parameters") else {**config, "rope_scaling": None}


def _windows(config: Config) -> list[int | None]:
    third = config["model_type"] == "olmo3"
    return common.windows(config if third else {**config, "sliding_window": None}, 4 if third else None, 4096)


def _names(config: Config) -> Names:
    bias, kind = config.get("attention_bias", False), config["model_type"]
    rules: tuple[Rule, ...] = common.attention(bias=bias, out_bias=bias)
    if kind == "olmo":
        return common.named(config, lambda _: rules + common.gated(), _windows(config), last=())
    rules += norm("attention/query_norm/norm", "self_attn.q_norm") + norm("attention/key_norm/norm", "self_attn.k_norm")
    if kind == "olmoe":
        rules += norm("norm1", "input_layernorm") + norm("norm2", "post_attention_layernorm")
        rules += linear("feed_forward/router/gate", "mlp.gate") + common.experts("mlp")
    else:
        rules += norm("out_norm1", "post_attention_layernorm") + norm("out_norm2", "post_feedforward_layernorm")
        rules += common.gated()
    return common.named(config, lambda _: rules, _windows(config))


FAMILY = Family(_model, _names)

_TINY: Mapping[str, Any] = {"num_layers": 2, "num_heads": 4, "width": 32, "hidden": 48, "context": 16}

# Of `OLMo2`: Team OLMo 2024, table 1.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {**_TINY, "num_kv_heads": 2},
    "olmo2_7b": {
        "num_layers": 32, "num_heads": 32, "width": 4096, "hidden": 11_008, "context": 4096, "epsilon": 1e-6,
    },
    "olmo2_13b": {
        "num_layers": 40, "num_heads": 40, "width": 5120, "hidden": 13_824, "context": 4096, "epsilon": 1e-6,
    },
}  # fmt: skip
