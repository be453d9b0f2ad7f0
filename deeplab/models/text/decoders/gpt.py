"""Decoder-only transformers: GPT-2.

Radford et al. 2019, "Language models are unsupervised multitask learners",
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.
The small settings are those of nanoGPT, https://github.com/karpathy/nanoGPT.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P

from deeplab.core import ranges
from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, norm, one, under
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.layers import Sizes
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.stack import one_by_one, stacks
from deeplab.nn.parts.vocabulary import LearnedPositions, TiedHead
from deeplab.nn.parts.wiring import PreNorm

RULES = (
    (r"token_embedding/embedding", P("model", None)),  # [V, D]
    (r"(query|key|value|up)/kernel", P(None, "model")),  # whole heads, whole hidden units
    (r"(query|key|value|up)/bias", P("model")),
    (r"(out|down)/kernel", P("model", None)),
)


@ranges.checked(
    vocab_size=ranges.COUNT,
    num_layers=ranges.COUNT,
    num_heads=ranges.COUNT,
    width=ranges.COUNT,
    context=ranges.COUNT,
    dropout=ranges.RATE,
    attention_block=ranges.COUNT,
    hidden=ranges.COUNT,
)
def GPT(
    vocab_size: int,
    num_layers: int = 12,
    num_heads: int = 12,
    width: int = 768,
    context: int | None = 1024,
    dropout: float = 0.0,
    remat: str = "none",
    attention_block: int | None = None,
    *,
    hidden: int | None = None,
    activation: Elementwise = nn.gelu,
    norm: Callable[[float], nn.Module] = nn.LayerNorm,
    position_offset: int = 0,
    scanned: bool = False,
    **sizes: Any,
) -> Decoder:
    """Tokens to the logits of the token after each of them.

    Token and position embeddings, `num_layers` pre-norm blocks with biases everywhere, a last norm, and the token
    embedding once more, as the output layer. All weights start as N(0, 0.02^2); those that lead back to the residual
    stream are smaller by sqrt(2 num_layers), the number of branches it sums.

    Args:
      vocab_size: V.
      num_layers: Number of blocks.
      num_heads: Attention heads of each block.
      width: D, of the residual stream.
      context: Longest sequence, in tokens; that of the first one when None.
      dropout: Dropout probability in training: after the embeddings, on attention probabilities and on each branch; may
        be a tracer.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.
      attention_block: Number of queries processed at a time for long contexts, without dropout of probabilities; see
        `deeplab.nn.attention.dot_product.attend`.
      hidden: Units of the feed-forward layers; 4 D when None.
      activation: Function of the hidden units.
      norm: Function from the number added to variances to a norm. Linen's variance is a difference of means of squares,
        faster by a tenth of a small model's step, and less exact than that of `deeplab.nn.norm.layer_norm`.
      position_offset: Number of rows of the table of positions that come before that of the first position.
      scanned: Whether the layers are one loop, with parameters [L, ...]: 48 of them compile as fast as one. Without it
        they are "block1", "block2", ..., which train faster on a CPU.
      sizes: Further arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
      >>> model.apply(variables, jnp.zeros((2, 16), jnp.int32)).shape
      (2, 16, 65)
    """
    more = {"remat": remat, "attention_block": attention_block, **sizes}
    s = Sizes(vocab_size, num_layers, num_heads, width, hidden or 4 * width, context, **more)

    def block(kind: None) -> nn.Module:
        del kind
        attention = s.attention(use_bias=True, out_bias=True, dropout=dropout)
        feed_forward = Plain(s.hidden, activation, out_init=s.out_init)
        return PreNorm(attention, feed_forward, norm(s.epsilon), norm(s.epsilon), drop=nn.Dropout(dropout))

    return Decoder(
        token_embedding=s.embedding(positions=LearnedPositions(context, width, offset=position_offset)),
        stacks=(stacks if scanned else one_by_one)([None] * num_layers, block),
        norm=norm(s.epsilon),
        head=TiedHead(),
        context=context,
        rules=rules_of(tied=True) if scanned else RULES,
        remat=remat,
        drop=nn.Dropout(dropout),
    )


def _model(config: Config) -> Decoder:
    configs.only(
        config, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False,
        tie_word_embeddings=True,
    )  # fmt: skip
    return GPT(
        vocab_size=config["vocab_size"],
        num_layers=config["n_layer"],
        num_heads=config["n_head"],
        width=config["n_embd"],
        hidden=config.get("n_inner") or 4 * config["n_embd"],
        context=config["n_positions"],
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        activation=configs.activation(config.get("activation_function", "gelu_new")),
        norm=layer_norm,
        scanned=True,
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

# Radford et al. 2019, table 2; "nano" and "nano_cpu" are nanoGPT's two settings for characters.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 32, "context": 16},
    "nano_cpu": {"num_layers": 4, "num_heads": 4, "width": 128, "context": 64},
    "nano": {"num_layers": 6, "num_heads": 6, "width": 384, "context": 256},
    "small": {"num_layers": 12, "num_heads": 12, "width": 768, "context": 1024},
    "medium": {"num_layers": 24, "num_heads": 16, "width": 1024, "context": 1024},
    "large": {"num_layers": 36, "num_heads": 20, "width": 1280, "context": 1024},
    "xl": {"num_layers": 48, "num_heads": 25, "width": 1600, "context": 1024},
}
