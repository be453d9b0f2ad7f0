"""BART and Marian.

Lewis et al. 2019, "BART", https://arxiv.org/abs/1910.13461; Junczys-Dowmunt et al. 2018, "Marian",
https://arxiv.org/abs/1804.00344.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, texts, under
from deeplab.models.text.layers import Sizes
from deeplab.models.text.seq2seq.composed import HEAD, RULES, EncoderDecoder
from deeplab.nn.activations import gelu
from deeplab.nn.attention.cross import CrossAttention
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.crossing import CrossPostNorm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.heads import States
from deeplab.nn.parts.inputs import TextEmbedding
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import Head, LearnedPositions, Placed, Sinusoids, TiedHead
from deeplab.nn.parts.wiring import PostNorm
from deeplab.nn.transformer import INIT


def Bart(
    *,
    decoder: Mapping[str, int] | None = None,
    shared: bool = True,
    tied: bool = True,
    waves: bool = False,
    head_bias: bool = False,
    scale: float = 1.0,
    activation: Elementwise = gelu,
    padding: int | None = 1,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    **sizes: Any,
) -> EncoderDecoder:
    """Post-norm blocks with biases everywhere, on learned positions that are counted from 2, or on waves (Marian).

    Args:
      decoder: Sizes in which the decoder differs from the encoder.
      shared: Whether the encoder has the decoder's table of tokens.
      tied: Whether the decoder's table is the output layer.
      waves: Whether positions are sinusoids, which no norm follows.
      head_bias: Whether logits have a bias.
      scale: Factor of the embeddings.
      activation: Function of the hidden units.
      padding: Token of the source that stands for padding where no mask is given.
      dropout: Dropout probability in training, of the embeddings and of each branch; may be a tracer.
      attention_dropout: Probability of dropping an attention probability in training; may be a tracer.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> Bart(vocab_size=7, **VARIANTS["test"]).context
      16
    """
    s, d = Sizes(**sizes), Sizes(**{**sizes, **(decoder or {})})
    parts: dict[str, Any] = {"use_bias": True, "out_bias": True, "dropout": attention_dropout}

    def norm_of() -> nn.Module:
        return layer_norm(s.epsilon)

    def layer(kind: None) -> nn.Module:
        del kind
        feed_forward = Plain(s.hidden, activation, out_init=INIT)
        attention = s.attention(causal=False, **parts)
        return PostNorm(attention, feed_forward, norm_of(), norm_of(), drop=nn.Dropout(dropout))

    def crossing(kind: None) -> nn.Module:
        del kind
        cross = CrossAttention(d.width, d.num_heads, kernel_init=INIT, out_init=INIT, **parts)
        feed_forward, norms = Plain(d.hidden, activation, out_init=INIT), (norm_of(), norm_of(), norm_of())
        return CrossPostNorm(d.attention(**parts), cross, feed_forward, *norms, drop=nn.Dropout(dropout))

    def positions() -> nn.Module:
        return Sinusoids(s.width) if waves else LearnedPositions(s.context, s.width, offset=2)

    def norm_of_sum() -> nn.Module | None:
        return None if waves else norm_of()

    table = d.embedding(scale=scale)
    source = Placed(table if shared else s.embedding(scale=scale), positions())
    encoder = TransformerEncoder(
        TextEmbedding(source, norm=norm_of_sum(), dropout=dropout, padding=padding, packed=True),
        stacks([None] * s.num_layers, layer), norm=None, head=States(), remat=s.remat,
    )  # fmt: skip
    return EncoderDecoder(
        tokens=table,
        encoder=encoder,
        target=Placed(table, positions(), norm_of_sum()),
        stacks=stacks([None] * d.num_layers, crossing),
        norm=None,
        head=TiedHead(use_bias=head_bias) if tied else Head(d.vocab_size, use_bias=head_bias),
        context=s.context,
        drop=nn.Dropout(dropout),
        rules=RULES if tied else (HEAD, *RULES),
        remat=s.remat,
    )


def _model(config: Config) -> EncoderDecoder:
    marian = config["model_type"] == "marian"
    configs.only(config, normalize_before=False, add_final_layer_norm=False)
    what = configs.architecture(config)
    if what not in ("Model", "ConditionalGeneration") or "Causal" in str(config.get("architectures")):
        raise configs.unknown_head(config, ("ConditionalGeneration",))
    shared = config.get("share_encoder_decoder_embeddings", True)
    if shared:  # files whose head is not tied have three tables, of which none is shared
        configs.only(config, tie_word_embeddings=True)
    vocab_size = config["vocab_size"] if shared else config.get("decoder_vocab_size") or config["vocab_size"]
    return Bart(
        vocab_size=config["vocab_size"],
        num_layers=config["encoder_layers"],
        num_heads=config["encoder_attention_heads"],
        width=config["d_model"],
        hidden=config["encoder_ffn_dim"],
        context=config["max_position_embeddings"],
        decoder={
            "vocab_size": vocab_size,
            "num_layers": config["decoder_layers"],
            "num_heads": config["decoder_attention_heads"],
            "hidden": config["decoder_ffn_dim"],
        },
        shared=shared,
        tied=config.get("tie_word_embeddings", True),
        waves=marian,
        head_bias=not _bare(config),
        scale=config["d_model"] ** 0.5 if config.get("scale_embedding", False) else 1.0,
        activation=configs.activation(config.get("activation_function", "gelu")),
        padding=config.get("pad_token_id", 58_100 if marian else 1),
    )


def _bare(config: Config) -> bool:
    """Whether a folder is of the class without a head, whose logits have no bias."""
    named = (config.get("architectures") or [""])[0]
    return named in ("BartModel", "MarianModel")


def layer_names(key_bias: bool = True) -> tuple[Rule, ...]:
    """The rules of a layer, with those of an attention to a memory, which layers without one do not use.

    Example:
      >>> [rule.theirs for rule in layer_names()][:2]
      ['self_attn.q_proj.weight', 'self_attn.q_proj.bias']
      >>> "self_attn.k_proj.bias" in [rule.theirs for rule in layer_names(key_bias=False)]
      False
    """
    kernels = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
    attentions = (("attention", "self_attn", "norm1"), ("cross", "encoder_attn", "cross_norm"))
    heads = tuple(
        rule
        for ours, theirs, _ in attentions
        for part, name in kernels
        for rule in linear(f"{ours}/{part}", f"{theirs}.{name}", key_bias or part != "key")
    )
    norms = tuple(r for _, theirs, ours in attentions for r in norm(ours, f"{theirs}_layer_norm", bias=True))
    ends = linear("feed_forward/up", "fc1", True) + linear("feed_forward/down", "fc2", True)
    return heads + norms + ends + norm("norm2", "final_layer_norm", bias=True)


def _names(config: Config) -> Names:
    stem = "" if _bare(config) else "model."
    source, target = (f"{stem}{side}.embed_tokens.weight" for side in ("encoder", "decoder"))
    shared = f"{stem}shared.weight"
    together = config.get("share_encoder_decoder_embeddings", True)
    table = shared if together else target
    rules = (
        *one("tokens/embedding", table),
        *one("encoder/embed/tokens/tokens/embedding", source),
        *one("encoder/embed/tokens/positions/embedding", f"{stem}encoder.embed_positions.weight"),
        *norm("encoder/embed/norm", f"{stem}encoder.layernorm_embedding", bias=True),
        *under("encoder/blocks", f"{stem}encoder.layers", range(config["encoder_layers"]), layer_names()),
        *one("target/positions/embedding", f"{stem}decoder.embed_positions.weight"),
        *norm("target/norm", f"{stem}decoder.layernorm_embedding", bias=True),
        *under("blocks", f"{stem}decoder.layers", range(config["decoder_layers"]), layer_names()),
        *linear("head", "lm_head"),
        Rule(("head/bias",), "final_logits_bias", "u v -> (u v)", sizes=(("u", 1),)),
    )
    ties = ((shared, source), (shared, target)) if together else ()
    ties += ((table, "lm_head.weight"),) if config.get("tie_word_embeddings", True) else ()
    waves = (r"embed_positions\.weight$",) if config["model_type"] == "marian" else ()
    return Names(rules, "model.", ties, (*waves, r"(en|de)coder\.version$"))


FAMILY = Family(_model, _names, texts)

# Lewis et al. 2019, sections 4 and 5 (50,265 tokens).
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 16, "hidden": 32, "context": 16},
    "base": {"num_layers": 6, "num_heads": 12, "width": 768, "hidden": 3072, "context": 1024},
    "large": {"num_layers": 12, "num_heads": 16, "width": 1024, "hidden": 4096, "context": 1024},
}

# Tiedemann and Thottingal 2020, https://aclanthology.org/2020.eamt-1.61, with the sizes of the published weights.
MARIAN: dict[str, Any] = {"waves": True, "head_bias": True, "activation": nn.silu}
MARIAN_VARIANTS: dict[str, dict[str, Any]] = {
    "test": {**VARIANTS["test"], **MARIAN, "scale": 4.0},
    "opus": {
        "num_layers": 6, "num_heads": 8, "width": 512, "hidden": 2048, "context": 512, "scale": 512**0.5, **MARIAN,
    },
}  # fmt: skip
