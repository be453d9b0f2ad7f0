"""Mamba 1 and 2: decoders without attention.

Gu and Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces", https://arxiv.org/abs/2312.00752;
Dao and Gu 2024, "Transformers are SSMs", https://arxiv.org/abs/2405.21060.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jax.sharding import PartitionSpec as P

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.models.text.decoder import Decoder
from deeplab.models.text.layers import normal
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead, TokenEmbedding
from deeplab.nn.parts.wiring import Residual
from deeplab.nn.state_space import mixers

RULES = (
    (r"token_embedding/embedding", P("model", None)),  # [V, D]
    (r"mixer/inputs/kernel", P(None, "fsdp", "model")),
    (r"mixer/out/kernel", P(None, "model", "fsdp")),
)


def decoder(
    mixer: Callable[[nn.initializers.Initializer], nn.Module],
    *,
    vocab_size: int,
    num_layers: int,
    width: int,
    context: int | None = None,
    tied: bool = True,
    epsilon: float = 1e-5,
    remat: str = "none",
) -> Decoder:
    """Tokens to the logits of the token after each of them, through layers of one mixer.

    Args:
      mixer: Function from the initializer of the kernel that leads back to the stream to a layer's mixer.
      vocab_size: V.
      num_layers: L.
      width: D, of the residual stream.
      context: Longest sequence, in tokens; any when None.
      tied: Whether the output layer has the token embedding's weights.
      epsilon: Number added to the mean square in norms.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> mixer = lambda out_init: mixers.Mamba(16, 4, 1, 4, False, True, out_init=out_init)
      >>> model, tokens = decoder(mixer, vocab_size=7, num_layers=2, width=8), jnp.zeros((2, 5), jnp.int32)
      >>> jax.eval_shape(model.init_with_output, jax.random.key(0), tokens)[0].shape
      (2, 5, 7)
    """
    out_init = normal(0.02 / num_layers**0.5)
    return Decoder(
        token_embedding=TokenEmbedding(vocab_size, width),
        stacks=stacks([None] * num_layers, lambda kind: Residual(mixer(out_init), nn.RMSNorm(epsilon))),
        norm=nn.RMSNorm(epsilon),
        head=TiedHead() if tied else Head(vocab_size),
        context=context,
        rules=RULES if tied else (*RULES, (r"head/kernel", P(None, "model"))),
        remat=remat,
        recurrent=True,
    )


def Mamba(
    vocab_size: int,
    *,
    width: int,
    state: int = 16,
    inner: int | None = None,
    rank: int | None = None,
    convolution: int = 4,
    bias: bool = False,
    conv_bias: bool = True,
    **sizes: Any,
) -> Decoder:
    """Tokens to the logits of the token after each of them, by selective state spaces.

    Args:
      vocab_size: V.
      width: D, of the residual stream.
      state: N, numbers of state for each channel.
      inner: Channels of the recurrence; 2 D when None.
      rank: Rank of the map from inputs to rates; D / 16, rounded up, when None.
      convolution: Inputs of the convolution before the recurrence.
      bias: Whether the maps from and to the stream have biases.
      conv_bias: Whether the convolution has a bias.
      sizes: Further arguments of `decoder`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Mamba(vocab_size=65, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))[0].shape
      (2, 16, 65)
    """

    def mixer(out_init: Any) -> nn.Module:
        channels = inner or 2 * width
        return mixers.Mamba(
            channels, state, rank or math.ceil(width / 16), convolution, bias, conv_bias, out_init=out_init
        )

    return decoder(mixer, vocab_size=vocab_size, width=width, **sizes)


def Mamba2(
    vocab_size: int,
    *,
    width: int,
    num_heads: int | None = None,
    head_dim: int = 64,
    state: int = 128,
    groups: int = 1,
    convolution: int = 4,
    bias: bool = False,
    conv_bias: bool = True,
    rates: tuple[float, float] = (0.0, float("inf")),
    epsilon: float = 1e-5,
    **sizes: Any,
) -> Decoder:
    """Tokens to the logits of the token after each of them, by state spaces whose heads decay alike.

    Args:
      vocab_size: V.
      width: D, of the residual stream.
      num_heads: H; 2 D / P when None.
      head_dim: P, channels of a head.
      state: N, numbers of state for each channel.
      groups: Number of groups of heads that share what is written and read.
      convolution: Inputs of the convolution before the recurrence.
      bias: Whether the maps from and to the stream have biases.
      conv_bias: Whether the convolution has a bias.
      rates: Least and largest rate.
      epsilon: Number added to the mean square in norms.
      sizes: Further arguments of `decoder`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Mamba2(vocab_size=65, **SECOND_VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))[0].shape
      (2, 16, 65)
    """

    def mixer(out_init: Any) -> nn.Module:
        heads = num_heads or 2 * width // head_dim
        return mixers.Mamba2(
            heads, head_dim, state, groups, convolution, bias, conv_bias, rates, epsilon, out_init=out_init
        )

    return decoder(mixer, vocab_size=vocab_size, width=width, epsilon=epsilon, **sizes)


def _model(config: Config) -> Decoder:
    configs.only(config, hidden_act="silu")
    first, width = config["model_type"] == "mamba", config["hidden_size"]
    sizes = {
        "vocab_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "width": width,
        "state": config.get("state_size", 16 if first else 128),
        "convolution": config.get("conv_kernel", 4),
        "bias": config.get("use_bias", False),
        "conv_bias": config.get("use_conv_bias", True),
        "tied": config.get("tie_word_embeddings", first),
        "epsilon": config.get("layer_norm_epsilon", 1e-5),
    }
    if first:
        rank = config.get("time_step_rank", "auto")
        inner = config.get("intermediate_size") or int(config.get("expand", 2) * width)
        return Mamba(**sizes, inner=inner, rank=None if rank == "auto" else rank)
    low, high = config.get("time_step_limit") or (0.0, "Infinity")
    return Mamba2(
        **sizes,
        num_heads=config.get("num_heads", 128),
        head_dim=config.get("head_dim", 64),
        groups=config.get("n_groups", 8),
        rates=(float(low), float(high)),
    )


def _names(config: Config) -> Names:
    bias, first = config.get("use_bias", False), config["model_type"] == "mamba"
    layer = (
        *norm("norm", "norm"),
        *linear("mixer/inputs", "mixer.in_proj", bias),
        Rule(("mixer/convolution/kernel",), "mixer.conv1d.weight", "d u k -> k (d u)", sizes=(("u", 1),)),
        *one("mixer/convolution/bias", "mixer.conv1d.bias"),
        *one("mixer/decay_log", "mixer.A_log"),
        *one("mixer/skip", "mixer.D"),
        *linear("mixer/out", "mixer.out_proj", bias),
    )
    if first:
        layer += linear("mixer/select", "mixer.x_proj") + linear("mixer/rate", "mixer.dt_proj", True)
    else:
        layer += one("mixer/rate_bias", "mixer.dt_bias") + norm("mixer/norm", "mixer.norm")
    rules = (
        *one("token_embedding/embedding", "backbone.embeddings.weight"),
        *under("blocks", "backbone.layers", range(config["num_hidden_layers"]), layer),
        *norm("norm", "backbone.norm_f"),
    )
    if config.get("tie_word_embeddings", first):
        return Names(rules, "backbone.", (("backbone.embeddings.weight", "lm_head.weight"),))
    return Names(rules + linear("head", "lm_head"), "backbone.")


FAMILY = Family(_model, _names)

# Gu and Dao 2023, table 12, with the vocabulary of GPT-NeoX, padded to 50,280; Dao and Gu 2024, table 9.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "width": 16, "state": 4},
    "130m": {"num_layers": 24, "width": 768},
    "370m": {"num_layers": 48, "width": 1024},
    "790m": {"num_layers": 48, "width": 1536},
    "1.4b": {"num_layers": 48, "width": 2048},
    "2.8b": {"num_layers": 64, "width": 2560},
}
SECOND_VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "width": 16, "head_dim": 8, "state": 8},
    **{name: sizes for name, sizes in VARIANTS.items() if name != "test"},
}
