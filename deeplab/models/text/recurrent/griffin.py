"""Griffin, of which RecurrentGemma is: recurrences, and attention to a window in every third layer.

De et al. 2024, "Griffin: mixing gated linear recurrences with local attention", https://arxiv.org/abs/2402.19427;
Botev et al. 2024, "RecurrentGemma", https://arxiv.org/abs/2404.07839.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.models.text.decoder import Decoder, rules_of
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.norm import OffsetRMSNorm
from deeplab.nn.parts.feed_forward import Elementwise, Gated
from deeplab.nn.parts.stack import spans, stacks
from deeplab.nn.parts.vocabulary import TiedHead
from deeplab.nn.parts.wiring import PreNorm
from deeplab.nn.state_space.gated import Griffin as Recurrence

LAYERS = ("recurrent", "recurrent", "attention")
RULES = (
    *rules_of(tied=True),
    (r"attention/inputs/kernel", P(None, "fsdp", "model")),
)


def Griffin(
    *,
    layers: Sequence[str] | None = None,
    inner: int | None = None,
    window: int = 2048,
    convolution: int = 4,
    rotary: Rotary | None = None,
    activation: Elementwise = nn.gelu,
    bias: bool = False,
    soft_cap: float | None = 30.0,
    **sizes: Any,
) -> Decoder:
    """Tokens to the logits of the token after each of them, by recurrences and attention to a window.

    Args:
      layers: Kind of each layer, "recurrent" or "attention"; two and one by turns when None.
      inner: Channels of the recurrences; the stream's width when None.
      window: Number of positions that attention reads.
      convolution: Inputs of the convolution before a recurrence.
      rotary: Rotation, where it is not of half a head with base 10,000.
      activation: Function of gates.
      bias: Whether queries, keys and values have biases.
      soft_cap: Bound of the logits, if any.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Griffin(vocab_size=65, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 16), jnp.int32))[0].shape
      (2, 16, 65)
    """
    s = Sizes(**sizes)

    def block(kind: str) -> nn.Module:
        mixer = (
            Recurrence(inner or s.width, s.num_heads, convolution, activation, out_init=s.out_init)
            if kind == "recurrent"
            else s.attention(rotary=rotary or Rotary(s.dim // 2), window=window, use_bias=bias, out_bias=True)
        )
        feed_forward = Gated(s.hidden, activation, use_bias=True, out_init=s.out_init)
        return PreNorm(mixer, feed_forward, OffsetRMSNorm(s.epsilon), OffsetRMSNorm(s.epsilon))

    return Decoder(
        token_embedding=s.embedding(scale=float(np.asarray(s.width**0.5, jnp.bfloat16))),  # as their code rounds it
        stacks=stacks(tuple(layers or [LAYERS[i % 3] for i in range(s.num_layers)]), block),
        norm=OffsetRMSNorm(s.epsilon),
        head=TiedHead(soft_cap=soft_cap),
        context=s.context,
        rules=RULES,
        remat=s.remat,
        recurrent=True,
    )


def _layers(config: Config) -> tuple[str, ...]:
    pattern = config.get("block_types") or config.get("_block_types") or LAYERS
    kinds = config.get("layer_types") or [pattern[i % len(pattern)] for i in range(config["num_hidden_layers"])]
    return tuple("attention" if kind in ("attention", "sliding_attention") else "recurrent" for kind in kinds)


def _model(config: Config) -> Decoder:
    configs.only(config, tie_word_embeddings=True)
    sizes = common.sizes({"max_position_embeddings": 8192, **config})
    sizes["hidden"] //= 2  # theirs are the units of gates and values together
    return Griffin(
        **sizes,
        layers=_layers(config),
        inner=config.get("lru_width"),
        window=config.get("attention_window_size", 2048),
        convolution=config.get("conv1d_width", 4),
        rotary=common.rotary_of({"max_position_embeddings": 8192, **config}, common.head_dim(config), partial=0.5),
        activation=configs.activation(config.get("hidden_activation", "gelu_pytorch_tanh")),
        bias=config.get("attention_bias", False),
        soft_cap=config.get("logits_soft_cap", 30.0),
    )


def _names(config: Config) -> Names:
    mixer = "temporal_block"
    recurrence = (
        *linear("attention/gate", f"{mixer}.linear_y", True),
        *linear("attention/inputs", f"{mixer}.linear_x", True),
        Rule(("attention/convolution/kernel",), f"{mixer}.conv_1d.weight", "d u k -> k (d u)", sizes=(("u", 1),)),
        *one("attention/convolution/bias", f"{mixer}.conv_1d.bias"),
        *one("attention/decay", f"{mixer}.rg_lru.recurrent_param"),
        *(
            rule
            for name in ("input_gate", "recurrent_gate")
            for rule in (
                *one(f"attention/{name}_kernel", f"{mixer}.rg_lru.{name}_weight"),
                *one(f"attention/{name}_bias", f"{mixer}.rg_lru.{name}_bias"),
            )
        ),
        *linear("attention/out", f"{mixer}.linear_out", True),
    )
    attention = common.attention(mixer, bias=config.get("attention_bias", False), out_bias=True)
    rest = (
        *common.gated("mlp_block", bias=True),
        *norm("norm1", "temporal_pre_norm"),
        *norm("norm2", "channel_pre_norm"),
    )
    rules = one("token_embedding/embedding", "model.embed_tokens.weight")
    for span in spans(_layers(config)):
        for path, kind, numbers in span.layers:
            rules += under(path, "model.layers", numbers, (recurrence if kind == "recurrent" else attention) + rest)
    rules += norm("norm", "model.final_norm")
    return Names(rules, "model.", (("model.embed_tokens.weight", "lm_head.weight"),))


FAMILY = Family(_model, _names)

# Botev et al. 2024, table 1; 256,000 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 4, "num_heads": 4, "num_kv_heads": 1, "width": 32, "hidden": 48, "context": 16, "window": 5,
    },
    "2b": {
        "num_layers": 26, "num_heads": 10, "num_kv_heads": 1, "width": 2560, "hidden": 7680, "context": 8192,
        "head_dim": 256, "epsilon": 1e-6,
    },
    "9b": {
        "num_layers": 38, "num_heads": 16, "num_kv_heads": 1, "width": 4096, "hidden": 12_288, "context": 8192,
        "head_dim": 256, "epsilon": 1e-6,
    },
}  # fmt: skip
