"""OPT.

Zhang et al. 2022, "OPT", https://arxiv.org/abs/2205.01068.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, linear, norm, one, under
from deeplab.models.text.decoder import Decoder
from deeplab.models.text.decoders.gpt import GPT
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise


def OPT(*, activation: Elementwise = nn.relu, **sizes: Any) -> Decoder:
    """GPT-2 with ReLU, and positions counted from 2.

    Args:
      activation: Function of the hidden units.
      sizes: Arguments of `deeplab.models.text.decoders.gpt.GPT`.

    Example:
      >>> OPT(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    return GPT(activation=activation, norm=layer_norm, position_offset=2, scanned=True, **sizes)


def _model(config: Config) -> Decoder:
    configs.only(
        config, do_layer_norm_before=True, enable_bias=True, layer_norm_elementwise_affine=True,
        _remove_final_layer_norm=False, tie_word_embeddings=True, word_embed_proj_dim=config["hidden_size"],
    )  # fmt: skip
    return OPT(
        vocab_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        width=config["hidden_size"],
        hidden=config["ffn_dim"],
        context=config["max_position_embeddings"],
        activation=configs.activation(config.get("activation_function", "relu")),
    )


def _names(config: Config) -> Names:
    layer = norm("norm1", "self_attn_layer_norm", bias=True) + norm("norm2", "final_layer_norm", bias=True)
    for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out")):
        layer += linear(f"attention/{ours}", f"self_attn.{theirs}", True)
    layer += linear("feed_forward/up", "fc1", True) + linear("feed_forward/down", "fc2", True)
    rules = (
        *one("token_embedding/embedding", "model.decoder.embed_tokens.weight"),
        *one("token_embedding/positions/embedding", "model.decoder.embed_positions.weight"),
        *under("blocks", "model.decoder.layers", range(config["num_hidden_layers"]), layer),
        *norm("norm", "model.decoder.final_layer_norm", bias=True),
    )
    return Names(rules, "model.", (("model.decoder.embed_tokens.weight", "lm_head.weight"),))


FAMILY = Family(_model, _names)

# Zhang et al. 2022, table 1. The vocabulary holds 50,272 tokens. (The one of 350M has its norms after the branches.)
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 32, "hidden": 128, "context": 16},
    "125m": {"num_layers": 12, "num_heads": 12, "width": 768, "hidden": 3072, "context": 2048},
    "1.3b": {"num_layers": 24, "num_heads": 32, "width": 2048, "hidden": 8192, "context": 2048},
    "6.7b": {"num_layers": 32, "num_heads": 32, "width": 4096, "hidden": 16_384, "context": 2048},
    "30b": {"num_layers": 48, "num_heads": 56, "width": 7168, "hidden": 28_672, "context": 2048},
}
