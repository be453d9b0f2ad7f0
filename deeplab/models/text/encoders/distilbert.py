"""DistilBERT: Sanh et al. 2019, "DistilBERT, a distilled version of BERT", https://arxiv.org/abs/1910.01108."""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, linear, norm, one, under
from deeplab.models.text.encoders.bert import HEADS, Bert
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.heads import Classifier, MaskedTokens, Pooled, States

EPSILON = 1e-12


def DistilBert(
    *, num_classes: int | None = None, head: nn.Module | None = None, dropout: float = 0.0, **sizes: Any
) -> TransformerEncoder:
    """A `Bert` without token types, whose classes are read through a ReLU.

    Args:
      num_classes: K; the model gives an `Encoded` without `pooled` when None.
      head: Another head; see `deeplab.nn.parts.heads`.
      dropout: Dropout probability in training; may be a tracer.
      sizes: Further arguments of `deeplab.models.text.encoders.bert.Bert`.

    Example:
      >>> DistilBert(vocab_size=65, num_classes=3, **VARIANTS["test"]).head.num_classes
      3
    """
    if head is None:
        pool = Pooled(width=sizes["width"], activation=nn.relu)
        head = States() if num_classes is None else Classifier(num_classes, pool, dropout)
    return Bert(head=head, types=0, dropout=dropout, epsilon=EPSILON, **sizes)


def _model(config: Config) -> TransformerEncoder:
    what, activation = configs.architecture(config), configs.activation(config.get("activation", "gelu"))
    if what not in HEADS:
        raise configs.unknown_head(config, HEADS)
    return DistilBert(
        num_classes=configs.num_classes(config) if what == "SequenceClassification" else None,
        vocab_size=config["vocab_size"],
        num_layers=config["n_layers"],
        num_heads=config["n_heads"],
        width=config["dim"],
        hidden=config["hidden_dim"],
        context=config["max_position_embeddings"],
        activation=activation,
        padding=config.get("pad_token_id", 0),
        head=MaskedTokens(activation, layer_norm(EPSILON)) if what == "MaskedLM" else None,
    )


def _names(config: Config) -> Names:
    what = configs.architecture(config)
    stem = "" if what == "Model" else "distilbert."
    heads = (("query", "q_lin"), ("key", "k_lin"), ("value", "v_lin"), ("out", "out_lin"))
    layer = (
        *(rule for ours, theirs in heads for rule in linear(f"attention/{ours}", f"attention.{theirs}", True)),
        *linear("feed_forward/up", "ffn.lin1", True),
        *linear("feed_forward/down", "ffn.lin2", True),
        *norm("norm1", "sa_layer_norm", bias=True),
        *norm("norm2", "output_layer_norm", bias=True),
    )
    words = f"{stem}embeddings.word_embeddings.weight"
    rules = (
        *one("embed/tokens/embedding", words),
        *one("embed/tokens/positions/embedding", f"{stem}embeddings.position_embeddings.weight"),
        *norm("embed/norm", f"{stem}embeddings.LayerNorm", bias=True),
        *under("blocks", f"{stem}transformer.layer", range(config["n_layers"]), layer),
        *linear("head/pool/dense", "pre_classifier", True),
        *linear("head/classes", "classifier", True),
        *linear("head/dense", "vocab_transform", True),
        *norm("head/norm", "vocab_layer_norm", bias=True),
        *one("head/bias", "vocab_projector.bias"),
    )
    ties = ((words, "vocab_projector.weight"),) if what == "MaskedLM" else ()
    return Names(rules, "distilbert.", ties, heads=(r"^(pre_classifier|classifier|vocab_\w+|qa_outputs)\.",))


FAMILY = Family(_model, _names, classifier="SequenceClassification")

# Sanh et al. 2019, section 2; 30,522 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 2, "num_heads": 2, "width": 32, "hidden": 64, "context": 16},
    "base": {"num_layers": 6, "num_heads": 12, "width": 768, "hidden": 3072, "context": 512},
}
