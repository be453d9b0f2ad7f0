"""ModernBERT: Warner et al. 2024, "Smarter, better, faster, longer", https://arxiv.org/abs/2412.13663."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TEXT_RULES, TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.models.text.decoders import common
from deeplab.models.text.encoders.bert import HEADS
from deeplab.models.text.layers import Sizes
from deeplab.nn.activations import gelu
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.norm import Identity, layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Gated
from deeplab.nn.parts.heads import Classifier, MaskedTokens, Pooled, Read, States, first, mean
from deeplab.nn.parts.inputs import TextEmbedding
from deeplab.nn.parts.stack import spans, stacks
from deeplab.nn.parts.wiring import PreNorm
from deeplab.nn.transformer import INIT


class Layer(NamedTuple):
    """How a layer differs from others.

    Attributes:
      window: Number of positions that it attends to on each side, its own among them; all of them when None.
      normed: Whether its attention reads a norm; the first layer's does not, since the embedding has one.

    Example:
      >>> Layer(window=None, normed=False) == layers_of(22)[0]
      True
    """

    window: int | None
    normed: bool = True


def layers_of(number: int, every: int = 3, local: int = 128) -> list[Layer]:
    """Every so manyth layer attends to all positions, from the first on; the others to `local` around their own.

    Example:
      >>> [layer.window for layer in layers_of(5, every=2, local=8)]
      [None, 5, None, 5, None]
    """
    return [Layer(None if i % every == 0 else local // 2 + 1, i > 0) for i in range(number)]


def ModernBert(
    *,
    num_classes: int | None = None,
    head: nn.Module | None = None,
    read: Read = first,
    layers: Sequence[Layer] | None = None,
    rotaries: tuple[Rotary, Rotary] | None = None,
    activation: Elementwise = gelu,
    head_activation: Elementwise = gelu,
    bias: bool = False,
    padding: int | None = 50_283,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    **sizes: Any,
) -> TransformerEncoder:
    """Tokens to logits of classes, or to their states: called as (tokens, mask), the last optional.

    Rotary positions, gated feed-forward layers, norms before the branches and no biases; two layers of three attend to
    a window.

    Args:
      num_classes: K; the model gives an `Encoded` without `pooled` when None.
      head: Another head; see `deeplab.nn.parts.heads`.
      read: Function that reads the states for the classes.
      layers: What differs by layer; `layers_of` when None.
      rotaries: Rotations in layers that attend to all positions, and in the others; of bases 160,000 and 10,000 when
        None.
      activation: Function of the hidden units.
      head_activation: Function of the units before the classes.
      bias: Whether attention and feed-forward layers have biases.
      padding: Token that stands for padding where no mask is given.
      dropout: Dropout probability in training: of the embeddings, of each branch, before the classes; may be a tracer.
      attention_dropout: Probability of dropping an attention probability in training; may be a tracer.
      sizes: Arguments of `deeplab.models.text.layers.Sizes`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = ModernBert(vocab_size=65, num_classes=3, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.array([[5, 3, 0]]))[0].shape
      (1, 3)
    """
    s = Sizes(**sizes)
    turns = rotaries or (Rotary(s.dim, 160_000.0), Rotary(s.dim))

    def normed() -> nn.Module:
        return layer_norm(s.epsilon, bias=False)

    def block(layer: Layer) -> nn.Module:
        attention = s.attention(
            rotary=turns[layer.window is not None], window=layer.window, causal=False, use_bias=bias,
            out_bias=bias, dropout=attention_dropout,
        )  # fmt: skip
        feed_forward = Gated(s.hidden, activation, use_bias=bias, out_init=INIT)
        return PreNorm(
            attention, feed_forward, normed() if layer.normed else Identity(), normed(), drop=nn.Dropout(dropout)
        )

    if head is None:
        pool = Pooled(read, s.width, head_activation, normed(), use_bias=False)
        head = States() if num_classes is None else Classifier(num_classes, pool, dropout)
    return TransformerEncoder(
        TextEmbedding(s.embedding(), norm=normed(), dropout=dropout, padding=padding),
        stacks=stacks(layers or layers_of(s.num_layers), block),
        norm=normed(),
        head=head,
        rules=TEXT_RULES,
        remat=s.remat,
    )


def _layers(config: Config) -> list[Layer]:
    every = layers_of(
        config["num_hidden_layers"], config.get("global_attn_every_n_layers", 3), config.get("local_attention", 128)
    )
    window = config.get("local_attention", 128) // 2 + 1
    kinds = config.get("layer_types") or ["full_attention" if x.window is None else "" for x in every]
    return [Layer(None if kind == "full_attention" else window, i > 0) for i, kind in enumerate(kinds)]


def _model(config: Config) -> TransformerEncoder:
    configs.only(config, norm_bias=False, classifier_bias=False, decoder_bias=True)
    what, activation = configs.architecture(config), configs.activation(config.get("hidden_activation", "gelu"))
    head_activation = configs.activation(config.get("classifier_activation", "gelu"))
    if what not in HEADS:
        raise configs.unknown_head(config, HEADS)
    if (config.get("attention_bias", False), config.get("mlp_bias", False)) not in ((True, True), (False, False)):
        raise configs.unequal(config, "attention_bias", "mlp_bias")
    sizes = common.sizes({**config, "num_key_value_heads": None, "layer_norm_eps": config.get("norm_eps", 1e-5)})
    rotaries = [
        common.rotary_of({**config, "rope_theta": None}, sizes["head_dim"], config.get(old, base), kind)
        for kind, old, base in (
            ("full_attention", "global_rope_theta", 160_000.0),
            ("sliding_attention", "local_rope_theta", 10_000.0),
        )
    ]
    masked = MaskedTokens(head_activation, layer_norm(sizes["epsilon"], bias=False), use_bias=False)
    return ModernBert(
        num_classes=configs.num_classes(config) if what == "SequenceClassification" else None,
        head=masked if what == "MaskedLM" else None,
        read=mean if config.get("classifier_pooling", "cls") == "mean" else first,
        layers=_layers(config),
        rotaries=(rotaries[0], rotaries[1]),
        activation=activation,
        head_activation=head_activation,
        bias=config.get("attention_bias", False),
        padding=config.get("pad_token_id", 50_283),
        **sizes,
    )


def _names(config: Config) -> Names:
    stem = "" if configs.architecture(config) == "Model" else "model."
    bias, width, hidden = config.get("attention_bias", False), config["hidden_size"], config["intermediate_size"]
    heads, halves = ("query", "key", "value"), ("gate", "up")

    def fused(ours: str, names: tuple[str, ...], theirs: str, size: int) -> tuple[Rule, ...]:
        cut: dict[str, Any] = {"cut": "p", "parts": (1,) * len(names), "sizes": (("f", size),)}
        kernel = Rule(tuple(f"{ours}/{n}/kernel" for n in names), f"{theirs}.weight", "(p f) c -> c (p f)", **cut)
        return (kernel, Rule(tuple(f"{ours}/{n}/bias" for n in names), f"{theirs}.bias", "(p f) -> (p f)", **cut))

    layer = (
        *fused("attention", heads, "attn.Wqkv", width),
        *linear("attention/out", "attn.Wo", bias),
        *fused("feed_forward", halves, "mlp.Wi", hidden),
        *linear("feed_forward/down", "mlp.Wo", bias),
        *norm("norm1", "attn_norm"),
        *norm("norm2", "mlp_norm"),
    )
    words = f"{stem}embeddings.tok_embeddings.weight"
    rules = one("embed/tokens/embedding", words) + norm("embed/norm", f"{stem}embeddings.norm")
    for span in spans(_layers(config)):
        for path, _, numbers in span.layers:
            rules += under(path, f"{stem}layers", numbers, layer)
    rules += norm("norm", f"{stem}final_norm")
    rules += linear("head/pool/dense", "head.dense") + norm("head/pool/norm", "head.norm")
    rules += linear("head/dense", "head.dense") + norm("head/norm", "head.norm") + one("head/bias", "decoder.bias")
    rules += linear("head/classes", "classifier", True)
    ties = ((words, "decoder.weight"),) if configs.architecture(config) == "MaskedLM" else ()
    return Names(rules, "model.", ties, heads=(r"^(head|decoder|classifier)\.",))


FAMILY = Family(_model, _names, classifier="SequenceClassification")

# Warner et al. 2024, table 4; 50,368 tokens.
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {"num_layers": 4, "num_heads": 2, "width": 32, "hidden": 48, "context": 16},
    "base": {"num_layers": 22, "num_heads": 12, "width": 768, "hidden": 1152, "context": 8192},
    "large": {"num_layers": 28, "num_heads": 16, "width": 1024, "hidden": 2624, "context": 8192},
}
