"""Mixtral: Mistral with a mixture of experts in every layer.

Jiang et al. 2024, "Mixtral of experts", https://arxiv.org/abs/2401.04088.
"""

from __future__ import annotations

from typing import Any

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, linear, norm
from deeplab.models.text.decoder import Decoder
from deeplab.models.text.decoders import common, qwen
from deeplab.models.text.decoders.qwen import ExpertSizes, Layer


def Mixtral(*, experts: ExpertSizes, **parts: Any) -> Decoder:
    """Llama whose feed-forward layers are mixtures of experts: the row of `Qwen` without norms of queries and keys.

    Args:
      experts: Sizes of the mixtures.
      parts: Further arguments of `deeplab.models.text.decoders.qwen.Qwen`.

    Example:
      >>> Mixtral(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    return qwen.Qwen(experts=experts, normed=False, **parts)


def _model(config: Config) -> Decoder:
    configs.only(config, hidden_act="silu")
    number = config.get("num_local_experts", 8)
    return Mixtral(
        **common.sizes(config, epsilon=1e-5),
        experts=ExpertSizes(number, config.get("num_experts_per_tok", 2), config["intermediate_size"]),
        rotary=common.rotary_of(config, common.head_dim(config), base=1e6),
        layers=_layers(config),
        tied=config.get("tie_word_embeddings", False),
    )


def _layers(config: Config) -> list[Layer]:
    return [Layer(config.get("sliding_window"), sparse=True)] * config["num_hidden_layers"]


def _names(config: Config) -> Names:
    rules = (
        *common.attention(),
        *norm("norm1", "input_layernorm"),
        *norm("norm2", "post_attention_layernorm"),
        *linear("feed_forward/router/gate", "block_sparse_moe.gate"),
        *common.experts("block_sparse_moe", ("w1", "w3", "w2")),
    )
    return common.named(config, lambda kind: rules, _layers(config))


FAMILY = Family(_model, _names)

# Jiang et al. 2024, table 1; "8x22b" is its config's.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "width": 32, "hidden": 48, "context": 16,
        "experts": ExpertSizes(4, 2, 48),
    },
    "8x7b": {
        "num_layers": 32, "num_heads": 32, "num_kv_heads": 8, "width": 4096, "hidden": 14_336, "context": 32_768,
        "experts": ExpertSizes(8, 2, 14_336),
    },
    "8x22b": {
        "num_layers": 56, "num_heads": 48, "num_kv_heads": 8, "width": 6144, "hidden": 16_384, "context": 65_536,
        "experts": ExpertSizes(8, 2, 16_384),
    },
}  # fmt: skip
