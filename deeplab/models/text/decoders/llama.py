"""Llama 1 to 3, Mistral, and SmolLM 1 to 3.

Touvron et al. 2023, "LLaMA: open and efficient foundation language models", https://arxiv.org/abs/2302.13971, and
"Llama 2", https://arxiv.org/abs/2307.09288; Llama Team 2024, "The Llama 3 herd of models",
https://arxiv.org/abs/2407.21783; Jiang et al. 2023, "Mistral 7B", https://arxiv.org/abs/2310.06825; Allal et al. 2025,
"SmolLM2", https://arxiv.org/abs/2502.02737.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, norm
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.parts.feed_forward import Gated
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import PreNorm

RULES = rules_of()


class Layer(NamedTuple):
    """How a layer differs from others.

    Attributes:
      rotary: Whether its queries and keys turn.
      window: Number of positions that it attends to; all of them when None.

    Example:
      >>> kinds = [Layer(window=4)] * 2, [Layer(window=4), Layer(rotary=False)]
      >>> models = [Llama(vocab_size=7, **VARIANTS["test"], layers=layers) for layers in kinds]
      >>> [len(model.stacks) for model in models]  # equal layers are one block under `nn.scan`
      [1, 2]
    """

    rotary: bool = True
    window: int | None = None


def Llama(
    vocab_size: int,
    num_layers: int = 32,
    num_heads: int = 32,
    num_kv_heads: int = 32,
    width: int = 4096,
    hidden: int = 11008,
    context: int = 4096,
    rotary_base: float = 10_000.0,
    *,
    rotary: Rotary | None = None,
    layers: Sequence[Layer] | None = None,
    tied: bool = False,
    bias: tuple[bool, bool] = (False, False),
    **sizes: Any,
) -> Decoder:
    """Tokens to the logits of the token after each of them.

    Embedded tokens, `num_layers` blocks of grouped-query attention with rotary positions and SwiGLU, a last norm, and
    an output layer; RMS norms (Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467) and no biases. All weights
    start as N(0, 0.02^2), those that lead back to the residual stream smaller by sqrt(2 L), as GPT-2's.

    Args:
      vocab_size: V.
      num_layers: L, number of blocks.
      num_heads: Attention heads of each block.
      num_kv_heads: Heads of keys and values; each serves `num_heads / num_kv_heads` heads of queries.
      width: D, of the residual stream.
      hidden: Units of the feed-forward layers.
      context: Longest sequence, in tokens.
      rotary_base: Base of the rotations' wavelengths; see `deeplab.nn.attention.rotary.rotary_angles`.
      rotary: Rotation, where it is more than a base.
      layers: What differs by layer.
      tied: Whether the output layer has the token embedding's weights.
      bias: Whether attention, and feed-forward layers, have biases.
      sizes: Further arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Llama(vocab_size=65, **VARIANTS["test"])
      >>> logits, _ = model.init_with_output(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))
      >>> logits.shape
      (2, 16, 65)
    """
    s = Sizes(vocab_size, num_layers, num_heads, width, hidden, context, num_kv_heads, **sizes)
    turn = rotary or Rotary(s.dim, rotary_base)

    def block(layer: Layer) -> nn.Module:
        attention = s.attention(
            rotary=turn if layer.rotary else None, use_bias=bias[0], out_bias=bias[0], window=layer.window
        )
        feed_forward = Gated(hidden, use_bias=bias[1], out_init=s.out_init)
        return PreNorm(attention, feed_forward, nn.RMSNorm(s.epsilon), nn.RMSNorm(s.epsilon))

    return Decoder(
        token_embedding=s.embedding(),
        stacks=stacks(layers or [Layer()] * num_layers, block),
        norm=nn.RMSNorm(s.epsilon),
        head=TiedHead() if tied else Head(vocab_size),
        context=context,
        rules=rules_of(tied=tied),
        remat=s.remat,
    )


def _llama(config: Config) -> Decoder:
    configs.only(config, hidden_act="silu")
    third = config["model_type"] == "smollm3"
    return Llama(
        **common.sizes(config),
        rotary=common.rotary_of(config, common.head_dim(config), base=2e6 if third else 1e4),
        layers=_layers(config),
        tied=config.get("tie_word_embeddings", third),
        bias=(config.get("attention_bias", False), config.get("mlp_bias", False)),
    )


def _layers(config: Config) -> list[Layer]:
    number = config["num_hidden_layers"]
    if config["model_type"] == "llama":
        return [Layer()] * number
    window = config.get("sliding_window", 4096 if config["model_type"] == "mistral" else None)
    if config["model_type"] == "mistral":
        return [Layer(window=window)] * number
    turns = config.get("no_rope_layers") or [(i + 1) % config.get("no_rope_layer_interval", 4) for i in range(number)]
    window = window if config.get("use_sliding_window") else None
    kinds = config.get("layer_types") or ["full_attention" if turn else "sliding_attention" for turn in turns]
    return [Layer(bool(t), window if k == "sliding_attention" else None) for t, k in zip(turns, kinds, strict=True)]


def _names(config: Config) -> Names:
    bias = config.get("attention_bias", False)
    rules = (
        *common.attention(bias=bias, out_bias=bias),
        *common.gated(bias=config.get("mlp_bias", False)),
        *norm("norm1", "input_layernorm"),
        *norm("norm2", "post_attention_layernorm"),
    )
    return common.named(config, lambda kind: rules, _layers(config), tied=config["model_type"] == "smollm3")


FAMILY = Family(_llama, _names)

# "7b" and "13b": Touvron et al. 2023, table 2, with Llama 2's context; the hidden units are their code's. "llama3_8b":
# Llama Team 2024, table 3. Their vocabularies hold 32,000 and 128,256 tokens. "tiny" is ours, for two CPU cores.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "width": 32, "hidden": 48, "context": 16,
    },
    "tiny": {
        "num_layers": 4, "num_heads": 4, "num_kv_heads": 2, "width": 128, "hidden": 344, "context": 64,
    },
    # Allal et al. 2025, and the folder's config.json: SmolLM2-135M.
    "smollm2_135m": {
        "num_layers": 30, "num_heads": 9, "num_kv_heads": 3, "width": 576, "hidden": 1536, "context": 8192,
        "rotary_base": 100_000.0, "tied": True,
    },
    "7b": {
        "num_layers": 32, "num_heads": 32, "num_kv_heads": 32, "width": 4096, "hidden": 11008, "context": 4096,
    },
    "13b": {
        "num_layers": 40, "num_heads": 40, "num_kv_heads": 40, "width": 5120, "hidden": 13824, "context": 4096,
    },
    "llama3_8b": {
        "num_layers": 32, "num_heads": 32, "num_kv_heads": 8, "width": 4096, "hidden": 14336, "context": 8192,
        "rotary_base": 500_000.0,
    },
}  # fmt: skip
