"""BERT and RoBERTa, of which MiniLM, BGE, E5 and others are sizes.

Devlin et al. 2018, "BERT", https://arxiv.org/abs/1810.04805; Liu et al. 2019, "RoBERTa",
https://arxiv.org/abs/1907.11692; Wang et al. 2020, "MiniLM", https://arxiv.org/abs/2002.10957.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TEXT_RULES, TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.models.text.decoders import common
from deeplab.models.text.layers import Sizes
from deeplab.nn.activations import gelu
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.heads import Classifier, MaskedTokens, Pooled, Read, States, first
from deeplab.nn.parts.inputs import TextEmbedding
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.vocabulary import LearnedPositions
from deeplab.nn.parts.wiring import PostNorm
from deeplab.nn.transformer import INIT

HEADS = ("Model", "SequenceClassification", "MaskedLM")
"""Heads that can be loaded, as the class of transformers names them after "For"."""


def Bert(
    *,
    num_classes: int | None = None,
    head: nn.Module | None = None,
    read: Read = first,
    types: int = 2,
    activation: Elementwise = gelu,
    padding: int | None = 0,
    position_offset: int = 0,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    epsilon: float = 1e-12,
    **sizes: Any,
) -> TransformerEncoder:
    """Tokens to logits of classes, or to their states: called as (tokens, mask, types), the last two optional.

    Args:
      num_classes: K, of a classifier over what is pooled; the model gives an `Encoded` when None.
      head: Another head; see `deeplab.nn.parts.heads`.
      read: Function that reads the states for the head of classes.
      types: Number of token types.
      activation: Function of the hidden units.
      padding: Token that stands for padding where no mask is given.
      position_offset: Number of rows of the table of positions before that of the first; where there are some, only
        tokens that are no padding count.
      dropout: Dropout probability in training: of the embeddings, of each branch, before the classes; may be a tracer.
      attention_dropout: Probability of dropping an attention probability in training; may be a tracer.
      epsilon: Number added to the variance in norms.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Bert(vocab_size=65, **VARIANTS["test"])
      >>> encoded, _ = model.init_with_output(jax.random.key(0), jnp.array([[5, 3, 0]]))
      >>> encoded.states.shape, encoded.pooled.shape
      ((1, 3, 32), (1, 32))
    """
    s = Sizes(epsilon=epsilon, **sizes)

    def block(kind: None) -> nn.Module:
        del kind
        attention = s.attention(causal=False, use_bias=True, out_bias=True, dropout=attention_dropout)
        feed_forward = Plain(s.hidden, activation, out_init=INIT)
        return PostNorm(attention, feed_forward, layer_norm(epsilon), layer_norm(epsilon), nn.Dropout(dropout))

    tokens = s.embedding(positions=LearnedPositions(s.context, s.width, offset=position_offset))
    pool = Pooled(read, s.width)
    if head is None:
        head = States(pool) if num_classes is None else Classifier(num_classes, pool, dropout)
    return TransformerEncoder(
        TextEmbedding(tokens, types, layer_norm(epsilon), dropout, padding, skip_padding=position_offset > 0),
        stacks=stacks([None] * s.num_layers, block),
        norm=None,
        head=head,
        rules=TEXT_RULES,
        remat=s.remat,
    )


def _model(config: Config) -> TransformerEncoder:
    configs.only(config, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    roberta = config["model_type"] == "roberta"
    epsilon, activation = config.get("layer_norm_eps", 1e-12), configs.activation(config.get("hidden_act", "gelu"))
    padding = config.get("pad_token_id", 1 if roberta else 0)
    offset = padding + 1 if roberta else 0
    sizes = common.sizes({**config, "num_key_value_heads": None}, epsilon=epsilon)
    what = configs.architecture(config)
    head = None
    if what == "MaskedLM":
        head = MaskedTokens(gelu if roberta else activation, layer_norm(epsilon))
    elif what not in ("Model", "SequenceClassification"):
        raise configs.unknown_head(config, HEADS)
    return Bert(
        num_classes=configs.num_classes(config) if what == "SequenceClassification" else None,
        head=head,
        types=config.get("type_vocab_size", 2),
        activation=activation,
        padding=padding,
        position_offset=offset,
        **{**sizes, "context": sizes["context"] - offset},
    )


def _layer() -> tuple[Rule, ...]:
    heads = tuple(
        rule
        for name in ("query", "key", "value")
        for rule in linear(f"attention/{name}", f"attention.self.{name}", True)
    )
    return (
        *heads,
        *linear("attention/out", "attention.output.dense", True),
        *norm("norm1", "attention.output.LayerNorm", bias=True),
        *linear("feed_forward/up", "intermediate.dense", True),
        *linear("feed_forward/down", "output.dense", True),
        *norm("norm2", "output.LayerNorm", bias=True),
    )


def _names(config: Config) -> Names:
    kind, what = config["model_type"], configs.architecture(config)
    stem = "" if what == "Model" else f"{kind}."
    rules = (
        *one("embed/tokens/embedding", f"{stem}embeddings.word_embeddings.weight"),
        *one("embed/tokens/positions/embedding", f"{stem}embeddings.position_embeddings.weight"),
        *one("embed/types", f"{stem}embeddings.token_type_embeddings.weight"),
        *norm("embed/norm", f"{stem}embeddings.LayerNorm", bias=True),
        *under("blocks", f"{stem}encoder.layer", range(config["num_hidden_layers"]), _layer()),
    )
    own = kind == "roberta" and bool(stem)
    rules += linear("head/pool/dense", "classifier.dense" if own else f"{stem}pooler.dense", True)
    rules += linear("head/classes", "classifier.out_proj" if own else "classifier", True)
    transform, its_norm, bias = (
        ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
        if kind == "roberta"
        else ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias")
    )
    rules += linear("head/dense", transform, True) + norm("head/norm", its_norm, bias=True) + one("head/bias", bias)
    decoder = "lm_head.decoder" if kind == "roberta" else "cls.predictions.decoder"
    ties = ((f"{stem}embeddings.word_embeddings.weight", f"{decoder}.weight"), (bias, f"{decoder}.bias"))
    return Names(
        rules,
        prefix=f"{kind}.",
        ties=ties if what == "MaskedLM" else (),
        ignored=(r"embeddings\.(position_ids|token_type_ids)$",),
        heads=(r"^(cls|lm_head|classifier)\.", r"(^|\.)pooler\."),
        older=((".LayerNorm.weight", ".LayerNorm.gamma"), (".LayerNorm.bias", ".LayerNorm.beta")),
    )


FAMILY = Family(_model, _names, classifier="SequenceClassification")

# Devlin et al. 2018, section 3 (30,522 tokens); Turc et al. 2019, https://arxiv.org/abs/1908.08962, "tiny" to "medium";
# "minilm": Reimers and Gurevych's all-MiniLM-L6-v2, https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 32, "hidden": 64, "context": 16},
    "tiny": {"num_layers": 2, "num_heads": 2, "width": 128, "hidden": 512, "context": 512},
    "mini": {"num_layers": 4, "num_heads": 4, "width": 256, "hidden": 1024, "context": 512},
    "small": {"num_layers": 4, "num_heads": 8, "width": 512, "hidden": 2048, "context": 512},
    "medium": {"num_layers": 8, "num_heads": 8, "width": 512, "hidden": 2048, "context": 512},
    "minilm": {"num_layers": 6, "num_heads": 12, "width": 384, "hidden": 1536, "context": 512},
    "base": {"num_layers": 12, "num_heads": 12, "width": 768, "hidden": 3072, "context": 512},
    "large": {"num_layers": 24, "num_heads": 16, "width": 1024, "hidden": 4096, "context": 512},
}
