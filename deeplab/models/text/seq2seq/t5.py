"""T5, T5 1.1, Flan-T5 and mT5.

Raffel et al. 2019, "Exploring the limits of transfer learning with a unified text-to-text transformer",
https://arxiv.org/abs/1910.10683; 1.1: Shazeer 2020, https://arxiv.org/abs/2002.05202; Flan: Chung et al. 2022,
https://arxiv.org/abs/2210.11416; mT5: Xue et al. 2020, https://arxiv.org/abs/2010.11934.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, texts, under
from deeplab.models.text.layers import Sizes
from deeplab.models.text.seq2seq.composed import HEAD, RULES, EncoderDecoder
from deeplab.nn.attention.cross import CrossAttention
from deeplab.nn.attention.relative import RelativeBias
from deeplab.nn.parts.crossing import CrossPreNorm
from deeplab.nn.parts.feed_forward import Elementwise, Gated, Plain
from deeplab.nn.parts.heads import States
from deeplab.nn.parts.inputs import TextEmbedding
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, TiedHead
from deeplab.nn.parts.wiring import PreNorm

TABLES = "shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"
"""Names of the token embedding, of which files have one or more."""

NAMED = "T5ForConditionalGeneration", "T5WithLMHeadModel", "T5Model"
"""Classes that are this model: today, in folders of 2019, and without a head, which then is the token embedding."""


def T5(
    *,
    num_decoder_layers: int | None = None,
    gated: bool = False,
    activation: Elementwise = nn.relu,
    tied: bool = True,
    scaled: bool = True,
    buckets: int = 32,
    max_distance: int = 128,
    padding: int | None = 0,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    epsilon: float = 1e-6,
    **sizes: Any,
) -> EncoderDecoder:
    """Pre-norm blocks without biases, whose scores are unscaled products and a bias by distance that all layers share.

    Args:
      num_decoder_layers: Layers of the decoder; as many as of the encoder when None.
      gated: Whether the feed-forward layers are gated, as of 1.1.
      activation: Function of the hidden units, or of their gate.
      tied: Whether the token embedding is the output layer.
      scaled: Whether logits are divided by sqrt(D), as before 1.1.
      buckets: Number of distances that the bias tells apart.
      max_distance: Distance from which on it tells none.
      padding: Token of the source that stands for padding where no mask is given.
      dropout: Dropout probability in training, of the embeddings and of each branch; may be a tracer.
      attention_dropout: Probability of dropping an attention probability in training; may be a tracer.
      epsilon: Number added to the mean square in norms.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`; there is no longest sequence.

    Example:
      >>> T5(vocab_size=7, **VARIANTS["test"]).context is None
      True
    """
    s = Sizes(epsilon=epsilon, context=max_distance, **sizes)  # which tells none from there on
    heads: dict[str, Any] = {"scale": 1.0, "dropout": attention_dropout}

    def feed_forward() -> nn.Module:
        return (Gated if gated else Plain)(s.hidden, activation, use_bias=False, out_init=s.out_init)

    def norm_of() -> nn.Module:
        return nn.RMSNorm(epsilon)

    def layer(kind: None) -> nn.Module:
        del kind
        attention = s.attention(causal=False, **heads)
        return PreNorm(attention, feed_forward(), norm_of(), norm_of(), drop=nn.Dropout(dropout))

    def crossing(kind: None) -> nn.Module:
        del kind
        norms = norm_of(), norm_of(), norm_of()
        cross = CrossAttention(s.width, s.num_heads, s.dim, out_init=s.out_init, **heads)
        return CrossPreNorm(s.attention(**heads), cross, feed_forward(), *norms, drop=nn.Dropout(dropout))

    def bias(causal: bool) -> nn.Module:
        return RelativeBias(s.num_heads, buckets, max_distance, causal)

    table, scale = s.embedding(), s.width**-0.5 if scaled else 1.0
    encoder = TransformerEncoder(
        TextEmbedding(table, dropout=dropout, padding=padding), stacks([None] * s.num_layers, layer),
        norm_of(), States(), remat=s.remat, bias=bias(False),
    )  # fmt: skip
    return EncoderDecoder(
        tokens=table,
        encoder=encoder,
        target=table,
        stacks=stacks([None] * (num_decoder_layers or s.num_layers), crossing),
        norm=norm_of(),
        head=TiedHead(scale) if tied else Head(s.vocab_size, scale=scale),
        context=None,
        bias=bias(True),
        drop=nn.Dropout(dropout),
        rules=RULES if tied else (HEAD, *RULES),
        remat=s.remat,
    )


def _scaled(config: Config) -> bool:
    """`tie_word_embeddings` says it in folders that do not say it by a name of its own."""
    if config["model_type"] == "mt5":
        return False
    return config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))


def _feed_forward(config: Config) -> tuple[bool, str]:
    """Whether layers are gated, and their activation, of which entries of their own say more than that of both."""
    both = config.get("feed_forward_proj", "gated-gelu" if config["model_type"] == "mt5" else "relu")
    name = "gelu_new" if both == "gated-gelu" else both.removeprefix("gated-")
    return config.get("is_gated_act", both.startswith("gated-")), config.get("dense_act_fn", name)


def _seen(config: Config, names: Collection[str]) -> Config:
    """The head is the token embedding where a file has only one of them, whatever `tie_word_embeddings` says."""
    own = "lm_head.weight" in names and any(name in names for name in TABLES)
    return {**config, "scale_decoder_outputs": _scaled(config), "tie_word_embeddings": not own}


def _model(config: Config) -> EncoderDecoder:
    configs.only(config, is_encoder_decoder=True)
    if (config.get("architectures") or [NAMED[0]])[0].removeprefix("M") not in NAMED:
        raise configs.unknown_head(config, NAMED)
    gated, activation = _feed_forward(config)
    return T5(
        vocab_size=config["vocab_size"],
        num_layers=config["num_layers"],
        num_decoder_layers=config.get("num_decoder_layers"),
        num_heads=config["num_heads"],
        head_dim=config["d_kv"],
        width=config["d_model"],
        hidden=config["d_ff"],
        gated=gated,
        activation=configs.activation(activation),
        tied=config.get("tie_word_embeddings", True),
        scaled=_scaled(config),
        buckets=config.get("relative_attention_num_buckets", 32),
        max_distance=config.get("relative_attention_max_distance", 128),
        padding=config.get("pad_token_id", 0),
        epsilon=config.get("layer_norm_epsilon", 1e-6),
    )


def _layer(config: Config, last: int) -> tuple[Rule, ...]:
    """The attention of a layer, which is its first part, and the feed-forward layer, which is the last."""
    kernels = (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o"))
    hidden = (("gate", "wi_0"), ("up", "wi_1")) if _feed_forward(config)[0] else (("up", "wi"),)
    return (
        *(rule for ours, name in kernels for rule in linear(f"attention/{ours}", f"layer.0.SelfAttention.{name}")),
        *(rule for ours, name in kernels for rule in linear(f"cross/{ours}", f"layer.1.EncDecAttention.{name}")),
        *(
            rule
            for ours, name in (*hidden, ("down", "wo"))
            for rule in linear(f"feed_forward/{ours}", f"layer.{last}.DenseReluDense.{name}")
        ),
        *norm("norm1", "layer.0.layer_norm"),
        *norm("cross_norm", "layer.1.layer_norm"),
        *norm("norm2", f"layer.{last}.layer_norm"),
    )


def _names(config: Config) -> Names:
    number = config["num_layers"]
    bias = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    rules = (
        *one("tokens/embedding", TABLES[0]),
        *under("encoder/blocks", "encoder.block", range(number), _layer(config, 1)),
        *under("blocks", "decoder.block", range(config.get("num_decoder_layers") or number), _layer(config, 2)),
        *one("encoder/bias/embedding", f"encoder.{bias}"),
        *one("bias/embedding", f"decoder.{bias}"),
        *norm("encoder/norm", "encoder.final_layer_norm"),
        *norm("norm", "decoder.final_layer_norm"),
        *linear("head", "lm_head"),
    )
    tied = ("lm_head.weight",) if config.get("tie_word_embeddings", True) else ()
    ties = tuple((TABLES[0], other) for other in (*TABLES[1:], *tied))
    return Names(rules, "", ties, (r"EncDecAttention\.relative_attention_bias\.weight$",))


FAMILY = Family(_model, _names, texts, seen=_seen)

NEWER: dict[str, Any] = {"gated": True, "activation": nn.gelu, "tied": False, "scaled": False}
"""What is new in 1.1."""

# Raffel et al. 2019, section 3.7 (32,128 tokens); 1.1 and Flan: their configs, https://huggingface.co/google/flan-t5-base.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 16, "hidden": 32},
    "small": {"num_layers": 6, "num_heads": 8, "width": 512, "hidden": 2048},
    "base": {"num_layers": 12, "num_heads": 12, "width": 768, "hidden": 3072},
    "large": {"num_layers": 24, "num_heads": 16, "width": 1024, "hidden": 4096},
    "3b": {"num_layers": 24, "num_heads": 32, "head_dim": 128, "width": 1024, "hidden": 16_384},
    "11b": {"num_layers": 24, "num_heads": 128, "head_dim": 128, "width": 1024, "hidden": 65_536},
    "flan_small": {"num_layers": 8, "num_heads": 6, "head_dim": 64, "width": 512, "hidden": 1024, **NEWER},
    "flan_base": {"num_layers": 12, "num_heads": 12, "width": 768, "hidden": 2048, **NEWER},
    "flan_large": {"num_layers": 24, "num_heads": 16, "width": 1024, "hidden": 2816, **NEWER},
}
