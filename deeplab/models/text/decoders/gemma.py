"""Gemma 1 to 3, of text.

Gemma Team 2024, "Gemma", https://arxiv.org/abs/2403.08295, and "Gemma 2", https://arxiv.org/abs/2408.00118; 2025,
"Gemma 3", https://arxiv.org/abs/2503.19786.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, norm
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.norm import OffsetRMSNorm
from deeplab.nn.parts.feed_forward import Gated
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import TiedHead
from deeplab.nn.parts.wiring import PreNorm, SandwichNorm

Windows = Sequence[int | None]


def _decoder(s: Sizes, windows: Windows, block: Callable[[Any], nn.Module], soft_cap: float | None = None) -> Decoder:
    return Decoder(
        token_embedding=s.embedding(scale=s.width**0.5),
        stacks=stacks(list(windows), block),
        norm=OffsetRMSNorm(s.epsilon),
        head=TiedHead(soft_cap=soft_cap),
        context=s.context,
        rules=rules_of(tied=True),
        remat=s.remat,
    )


def Gemma(*, rotary: Rotary | None = None, **sizes: Any) -> Decoder:
    """Gemma 1: Llama with embeddings scaled by sqrt(D), gates by GELU, norms by 1 + scale, and tied embeddings.

    Args:
      rotary: Rotation, where it is not that of base 10,000.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Gemma(vocab_size=7, num_layers=1, num_heads=2, width=8, hidden=16, context=5)
      >>> shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 5), jnp.int32))["params"]
      >>> sorted(shapes)  # there is no head: it has the embedding's weights
      ['blocks', 'norm', 'token_embedding']
    """
    s = Sizes(**sizes)

    def block(window: int | None) -> nn.Module:
        attention = s.attention(rotary=rotary or Rotary(s.dim), window=window)
        feed_forward = Gated(s.hidden, nn.gelu, out_init=s.out_init)
        return PreNorm(attention, feed_forward, OffsetRMSNorm(s.epsilon), OffsetRMSNorm(s.epsilon))

    return _decoder(s, [None] * s.num_layers, block)


def SandwichGemma(
    *,
    windows: Windows,
    scale: float,
    rotary: Rotary | None = None,
    local_rotary: Rotary | None = None,
    normed: bool = True,
    soft_caps: tuple[float | None, float | None] = (None, None),
    **sizes: Any,
) -> Decoder:
    """Gemma 2 and 3: norms before and after each branch, and layers with a window between those without.

    Args:
      windows: Window of each layer, None for all positions.
      scale: Factor of the products of queries and keys.
      rotary: Rotation of layers without a window.
      local_rotary: Rotation of layers with one; the same when None.
      normed: Whether each head of queries and keys is normed, as in Gemma 3.
      soft_caps: Bounds of scores and of logits, as in Gemma 2.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> SandwichGemma(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)
    turn = rotary or Rotary(s.dim)

    def block(window: int | None) -> nn.Module:
        norms = {name: OffsetRMSNorm(s.epsilon) for name in ("query_norm", "key_norm") if normed}
        attention = s.attention(
            rotary=turn if window is None else local_rotary or turn, scale=scale, window=window,
            soft_cap=soft_caps[0], **norms,
        )  # fmt: skip
        feed_forward = Gated(s.hidden, nn.gelu, out_init=s.out_init)
        return SandwichNorm(attention, feed_forward, *(OffsetRMSNorm(s.epsilon) for _ in range(4)))

    return _decoder(s, windows, block, soft_caps[1])


def _model(config: Config) -> Decoder:
    configs.only(config, attention_bias=False, tie_word_embeddings=True)
    said = config.get("hidden_activation") or config.get("hidden_act") or "gelu"
    if configs.activation("gelu_pytorch_tanh" if said == "gelu" else said) is not nn.gelu:  # "gelu" was an error
        configs.only(config, hidden_activation="gelu_pytorch_tanh", hidden_act="gelu_pytorch_tanh")
    sizes, width = common.sizes(config), common.head_dim(config)
    if config.get("use_bidirectional_attention"):
        configs.only(config, use_bidirectional_attention=False)
    if config["model_type"] == "gemma":
        return Gemma(rotary=common.rotary_of(config, width), **sizes)
    third = config["model_type"] == "gemma3_text"
    local = common.rotary_of(_local(config), width, kind="sliding_attention") if third else None
    return SandwichGemma(
        windows=_windows(config),
        scale=config.get("query_pre_attn_scalar", 256) ** -0.5,
        rotary=common.rotary_of(config, width, base=1e6 if third else 1e4, kind="full_attention"),
        local_rotary=local,
        normed=third,
        soft_caps=(
            None if third else config.get("attn_logit_softcapping", 50.0),
            config.get("final_logit_softcapping", None if third else 30.0),
        ),
        **sizes,
    )


def _local(config: Config) -> Config:
    """The config of layers with a window, whose rotation older files say apart."""
    if config.get("rope_parameters"):
        return config
    return {**config, "rope_theta": config.get("rope_local_base_freq", 1e4), "rope_scaling": None}


def _windows(config: Config) -> list[int | None]:
    if config["model_type"] == "gemma":
        return [None] * config["num_hidden_layers"]
    pattern = config.get("sliding_window_pattern", 6) if config["model_type"] == "gemma3_text" else 2
    return common.windows(config, pattern, 4096)


def _names(config: Config) -> Names:
    rules = common.attention() + common.gated() + norm("norm1", "input_layernorm")
    if config["model_type"] == "gemma":
        rules += norm("norm2", "post_attention_layernorm")
    else:
        rules += norm("out_norm1", "post_attention_layernorm") + norm("norm2", "pre_feedforward_layernorm")
        rules += norm("out_norm2", "post_feedforward_layernorm")
    if config["model_type"] == "gemma3_text":
        rules += norm("attention/query_norm", "self_attn.q_norm") + norm("attention/key_norm", "self_attn.k_norm")
    return common.named(config, lambda kind: rules, _windows(config), tied=True)


FAMILY = Family(_model, _names)


def _alternating(num_layers: int, window: int, pattern: int) -> list[int | None]:
    return [None if (i + 1) % pattern == 0 else window for i in range(num_layers)]


_GEMMA2: Mapping[str, Any] = {"head_dim": 256, "context": 8192, "epsilon": 1e-6, "normed": False}
_GEMMA2 = {**_GEMMA2, "soft_caps": (50.0, 30.0), "scale": 256**-0.5}
_GEMMA3: Mapping[str, Any] = {"head_dim": 256, "context": 32_768, "epsilon": 1e-6, "scale": 256**-0.5}
_GEMMA3 = {**_GEMMA3, "rotary": Rotary(256, 1e6), "local_rotary": Rotary(256)}

# Of `SandwichGemma`: Gemma 2, table 1; Gemma 3, the code's config. Their vocabularies hold 256,128 and 262,144 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 3, "num_heads": 4, "num_kv_heads": 2, "head_dim": 8, "width": 32, "hidden": 48, "context": 16,
        "windows": [5, 5, None], "scale": 0.3, "soft_caps": (20.0, 30.0), "local_rotary": Rotary(8, 100.0),
    },
    "gemma2_2b": {
        "num_layers": 26, "num_heads": 8, "num_kv_heads": 4, "width": 2304, "hidden": 9216,
        "windows": _alternating(26, 4096, 2), **_GEMMA2,
    },
    "gemma2_9b": {
        "num_layers": 42, "num_heads": 16, "num_kv_heads": 8, "width": 3584, "hidden": 14_336,
        "windows": _alternating(42, 4096, 2), **_GEMMA2,
    },
    "gemma3_1b": {
        "num_layers": 26, "num_heads": 4, "num_kv_heads": 1, "width": 1152, "hidden": 6912,
        "windows": _alternating(26, 512, 6), **_GEMMA3,
    },
}  # fmt: skip
