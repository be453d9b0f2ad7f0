"""wav2vec 2.0 and HuBERT, which differ in how they are trained.

Baevski et al. 2020, "wav2vec 2.0", https://arxiv.org/abs/2006.11477; Hsu et al. 2021, "HuBERT",
https://arxiv.org/abs/2106.07447.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import RULES, TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, conv1d, linear, norm, one, under
from deeplab.models.text.layers import Sizes
from deeplab.nn.activations import gelu
from deeplab.nn.norm import layer_norm
from deeplab.nn.parts.feed_forward import Elementwise, Plain
from deeplab.nn.parts.heads import EachPosition, States
from deeplab.nn.parts.sounds import ConvolvedPositions, WaveformEmbedding, WaveformFeatures
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.wiring import PostNorm, PreNorm
from deeplab.nn.transformer import INIT

CONVS = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)
"""Channels, kernels and strides: 400 samples for a frame, a frame for 320 (section 4.2)."""


def Wav2Vec2(
    *,
    num_tokens: int | None = None,
    convs: tuple[tuple[int, int, int], ...] = CONVS,
    norm_each: bool = False,
    conv_bias: bool = False,
    front: Elementwise = gelu,
    pre_norm: bool = False,
    taps: int = 128,
    groups: int = 16,
    masks: bool = True,
    activation: Elementwise = gelu,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    **sizes: Any,
) -> TransformerEncoder:
    """Waveforms of 16 kHz to the states of frames, 50 a second, or to logits of tokens: called as (sound, lengths).

    Args:
      num_tokens: K, of the logits; the model gives an `Encoded` when None.
      convs: Convolutions from waveforms to frames; see `deeplab.nn.parts.sounds.WaveformFeatures`.
      norm_each: Whether a norm follows each of them, and not the first alone.
      conv_bias: Whether they have biases.
      front: Function of their results, and of the convolved positions.
      pre_norm: Whether norms come before the branches, as in the large models of later papers.
      taps: Number of frames that a position knows.
      groups: Number of groups of channels of these convolutions.
      masks: Whether there is a vector that stands for a hidden frame.
      activation: Function of the hidden units.
      dropout: Dropout probability in training, of the embeddings and of each branch; may be a tracer.
      attention_dropout: Probability of dropping an attention probability in training; may be a tracer.
      sizes: Arguments of `deeplab.models.text.layers.Sizes` but those of a vocabulary and a context.

    Example:
      >>> model = Wav2Vec2(num_tokens=5, **VARIANTS["test"])
      >>> model.init_with_output(jax.random.key(0), jnp.zeros((2, 100)), jnp.array([100, 60]))[0].shape
      (2, 9, 5)
    """
    s = Sizes(vocab_size=1, context=1, **sizes)

    def norm_of() -> nn.Module:
        return layer_norm(s.epsilon)

    def block(kind: None) -> nn.Module:
        del kind
        attention = s.attention(causal=False, use_bias=True, out_bias=True, dropout=attention_dropout)
        feed_forward, wiring = Plain(s.hidden, activation, out_init=INIT), PreNorm if pre_norm else PostNorm
        return wiring(attention, feed_forward, norm_of(), norm_of(), drop=nn.Dropout(dropout))

    parts = WaveformFeatures(convs, norm_each, conv_bias, front), ConvolvedPositions(taps, groups, front)
    return TransformerEncoder(
        WaveformEmbedding(*parts, s.width, norm_of(), None if pre_norm else norm_of(), masks, dropout),
        stacks=stacks([None] * s.num_layers, block),
        norm=norm_of() if pre_norm else None,
        head=States() if num_tokens is None else EachPosition(num_tokens, dropout),
        rules=RULES,
        remat=s.remat,
    )


def _seen(config: Config, names: Collection[str]) -> Config:
    """Files may have no vector of hidden frames, whatever the config says; what was trained before is no head."""
    masks = any(name.endswith("masked_spec_embed") for name in names)
    named = [name.replace("ForPreTraining", "Model") for name in config.get("architectures") or []]
    return {**config, "architectures": named, "masked_spec_embed": masks}


def _convs(config: Config) -> tuple[tuple[int, int, int], ...]:
    names = ("conv_dim", "conv_kernel", "conv_stride")
    said = (config.get(name) or [conv[i] for conv in CONVS] for i, name in enumerate(names))
    return tuple(zip(*said, strict=True))


def _model(config: Config) -> TransformerEncoder:
    configs.only(config, add_adapter=False, adapter_attn_dim=None, feat_proj_layer_norm=True, conv_pos_batch_norm=False)
    if (what := configs.architecture(config)) not in ("Model", "CTC"):
        raise configs.unknown_head(config, ("Model", "CTC"))
    hidden = max(config.get("mask_time_prob", 0.05), config.get("mask_feature_prob", 0.0)) > 0
    return Wav2Vec2(
        num_tokens=config.get("vocab_size", 32) if what == "CTC" else None,
        convs=_convs(config),
        norm_each=config.get("feat_extract_norm", "group") == "layer",
        conv_bias=config.get("conv_bias", False),
        front=configs.activation(config.get("feat_extract_activation", "gelu")),
        pre_norm=config.get("do_stable_layer_norm", False),
        taps=config.get("num_conv_pos_embeddings", 128),
        groups=config.get("num_conv_pos_embedding_groups", 16),
        masks=config.get("masked_spec_embed", hidden),
        activation=configs.activation(config.get("hidden_act", "gelu")),
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        width=config["hidden_size"],
        hidden=config["intermediate_size"],
        epsilon=config.get("layer_norm_eps", 1e-5),
    )


def _names(config: Config) -> Names:
    prefix, own = f"{config['model_type']}.", "embed/features"
    stem = prefix if configs.architecture(config) == "CTC" else ""
    convs = [f"{stem}feature_extractor.conv_layers.{i}" for i in range(len(_convs(config)))]
    positions, weight = f"{stem}encoder.pos_conv_embed.conv", ".parametrizations.weight.original"
    last = "norm" if config.get("do_stable_layer_norm", False) else "embed/sum_norm"
    kernels = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj"))
    layer = (
        *(rule for ours, theirs in kernels for rule in linear(f"attention/{ours}", f"attention.{theirs}", True)),
        *norm("norm1", "layer_norm", bias=True),
        *linear("feed_forward/up", "feed_forward.intermediate_dense", True),
        *linear("feed_forward/down", "feed_forward.output_dense", True),
        *norm("norm2", "final_layer_norm", bias=True),
    )
    rules = (
        *(r for i, name in enumerate(convs, start=1) for r in conv1d(f"{own}/conv{i}", f"{name}.conv", bias=True)),
        *(r for i, name in enumerate(convs, start=1) for r in norm(f"{own}/norm{i}", f"{name}.layer_norm", bias=True)),
        *norm("embed/norm", f"{stem}feature_projection.layer_norm", bias=True),
        *linear("embed/projection", f"{stem}feature_projection.projection", True),
        *one("embed/mask", f"{stem}masked_spec_embed"),
        Rule(("embed/positions/length",), f"{positions}{weight}0", "u v k -> (u v k)", sizes=(("u", 1), ("v", 1))),
        *one("embed/positions/direction", f"{positions}{weight}1", "o i k -> k i o"),
        *one("embed/positions/bias", f"{positions}.bias"),
        *norm(last, f"{stem}encoder.layer_norm", bias=True),
        *under("blocks", f"{stem}encoder.layers", range(config["num_hidden_layers"]), layer),
        *linear("head/classes", "lm_head", True),
    )
    before = (r"^(quantizer|project_q|project_hid)\.",)
    older = ((f"{weight}0", ".weight_g"), (f"{weight}1", ".weight_v"))
    return Names(rules, prefix, (), before, (r"^lm_head\.", *before), older)


def _inputs(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    """As many samples as one frame has."""
    samples = 1
    for _, kernel, stride in _convs(config)[::-1]:
        samples = (samples - 1) * stride + kernel
    return (jax.ShapeDtypeStruct((1, samples), jnp.float32),)


FAMILY = Family(_model, _names, _inputs, seen=_seen)

# Baevski et al. 2020, section 4.2; "large_normed" as of Conneau et al. 2020, https://arxiv.org/abs/2006.13979 (XLSR).
LARGE: dict[str, Any] = {"num_layers": 24, "num_heads": 16, "width": 1024, "hidden": 4096}
VARIANTS: dict[str, dict[str, Any]] = {
    "test": {
        "num_layers": 2, "num_heads": 2, "width": 16, "hidden": 32, "taps": 4, "groups": 2,
        "convs": ((8, 10, 5), (8, 3, 2)),
    },
    "base": {"num_layers": 12, "num_heads": 12, "width": 768, "hidden": 3072},
    "large": LARGE,
    "large_normed": {**LARGE, "pre_norm": True, "norm_each": True, "conv_bias": True},
}  # fmt: skip
