"""GPT-2 as it is published, its layers stacked; `gpt.GPT` is the same network for training, with dropout.

Radford et al. 2019, "Language models are unsupervised multitask learners",
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, norm, one, under
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.layers import Sizes
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import LearnedPositions, TiedHead
from deeplab.nn.parts.wiring import PreNorm


def GPT2(*, activation: Elementwise = nn.gelu, position_offset: int = 0, **sizes: Any) -> Decoder:
    """Learned positions, pre-norm blocks with biases everywhere, and the token embedding as the output layer.

    Args:
      activation: Function of the hidden units.
      position_offset: Number of rows of the table of positions that come before that of the first position.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> GPT2(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s = Sizes(**sizes)

    def block(kind: None) -> nn.Module:
        del kind
        feed_forward = Plain(s.hidden, activation, out_init=s.out_init)
        attention = s.attention(use_bias=True, out_bias=True)
        return PreNorm(attention, feed_forward, layer_norm(s.epsilon), layer_norm(s.epsilon))

    return Decoder(
        token_embedding=s.embedding(positions=LearnedPositions(s.context, s.width, offset=position_offset)),
        stacks=stacks([None] * s.num_layers, block),
        norm=layer_norm(s.epsilon),
        head=TiedHead(),
        context=s.context,
        rules=rules_of(tied=True),
        remat=s.remat,
    )


def _model(config: Config) -> Decoder:
    configs.only(
        config, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False,
        tie_word_embeddings=True,
    )  # fmt: skip
    return GPT2(
        vocab_size=config["vocab_size"],
        num_layers=config["n_layer"],
        num_heads=config["n_head"],
        width=config["n_embd"],
        hidden=config.get("n_inner") or 4 * config["n_embd"],
        context=config["n_positions"],
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        activation=configs.activation(config.get("activation_function", "gelu_new")),
    )


def _conv(ours: str, theirs: str) -> tuple[Rule, ...]:
    """Kernels as ours are: theirs is a convolution of width 1."""
    return one(f"{ours}/kernel", f"{theirs}.weight") + one(f"{ours}/bias", f"{theirs}.bias")


def _names(config: Config) -> Names:
    heads, width = ("query", "key", "value"), config["n_embd"]
    cut = {"cut": "p", "parts": (width,) * 3}
    layer = (
        Rule(tuple(f"attention/{name}/kernel" for name in heads), "attn.c_attn.weight", "c p -> c p", **cut),
        Rule(tuple(f"attention/{name}/bias" for name in heads), "attn.c_attn.bias", "p -> p", **cut),
        *_conv("attention/out", "attn.c_proj"),
        *_conv("feed_forward/up", "mlp.c_fc"),
        *_conv("feed_forward/down", "mlp.c_proj"),
        *norm("norm1", "ln_1", bias=True),
        *norm("norm2", "ln_2", bias=True),
    )
    rules = (
        *one("token_embedding/embedding", "transformer.wte.weight"),
        *one("token_embedding/positions/embedding", "transformer.wpe.weight"),
        *under("blocks", "transformer.h", range(config["n_layer"]), layer),
        *norm("norm", "transformer.ln_f", bias=True),
    )
    return Names(rules, "transformer.", (("transformer.wte.weight", "lm_head.weight"),), (r"attn\.(masked_)?bias$",))


FAMILY = Family(_model, _names)

# Radford et al. 2019, table 2.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 32, "hidden": 128, "context": 16},
    "small": {"num_layers": 12, "num_heads": 12, "width": 768, "hidden": 3072, "context": 1024},
    "medium": {"num_layers": 24, "num_heads": 16, "width": 1024, "hidden": 4096, "context": 1024},
    "large": {"num_layers": 36, "num_heads": 20, "width": 1280, "hidden": 5120, "context": 1024},
    "xl": {"num_layers": 48, "num_heads": 25, "width": 1600, "hidden": 6400, "context": 1024},
}
