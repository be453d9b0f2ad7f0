"""DINOv2, with registers or without, and DINOv3: vision transformers trained without labels.

Oquab et al. 2023, "DINOv2", https://arxiv.org/abs/2304.07193; Darcet et al. 2023, "Vision transformers need
registers", https://arxiv.org/abs/2309.16588; Simeoni et al. 2025, "DINOv3", https://arxiv.org/abs/2508.10104.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.encoder import TransformerEncoder
from deeplab.models.foreign import Family, Names, Rule, linear, norm, one, under
from deeplab.models.vision.transformers import vit
from deeplab.nn.activations import gelu
from deeplab.nn.attention.grouped import GroupedQueryAttention
from deeplab.nn.attention.rotary import GridRotary
from deeplab.nn.norm import LayerScale, layer_norm
from deeplab.nn.parts.feed_forward import Gated, Plain
from deeplab.nn.parts.heads import Classifier, Pooled, States, first, first_and_mean
from deeplab.nn.parts.inputs import PatchEmbedding
from deeplab.nn.parts.stack import stacks
from deeplab.nn.parts.wiring import SandwichNorm
from deeplab.nn.transformer import INIT
from deeplab.nn.upsampling import bicubic


def Dino(
    *,
    num_classes: int | None = None,
    size: tuple[int, int] = (224, 224),
    patch: int = 14,
    num_layers: int,
    num_heads: int,
    width: int,
    feed_forward: Callable[[], nn.Module],
    registers: int = 0,
    rotary: GridRotary | None = None,
    key_bias: bool = True,
    antialias: bool = False,
    scale: float = 1e-5,
    epsilon: float = 1e-6,
    remat: str = "none",
) -> TransformerEncoder:
    """Images [B, H, W, C] to the states of a class token, of registers, of patches; or to logits of classes.

    Args:
      num_classes: K, read from the class token beside the mean of the patches; the model gives an `Encoded` when None.
      size: Height and width in pixels of the images for which positions are learned; others have them interpolated.
      patch: Height and width of a patch in pixels.
      num_layers: L.
      num_heads: H.
      width: D, of the residual stream.
      feed_forward: Function that makes a feed-forward layer.
      registers: Number of tokens between the class and the patches that stand for nothing.
      rotary: Rotation by the patches' centers, instead of learned positions.
      key_bias: Whether keys have a bias, as queries and values have.
      antialias: Whether positions of smaller images are means of several.
      scale: First value of the scales of branches.
      epsilon: Number added to the variance in norms.
      remat: What a block keeps for its gradient; see `deeplab.nn.remat`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = Dino(**VARIANTS["test"])
      >>> encoded, _ = model.init_with_output(jax.random.key(0), jnp.zeros((2, 16, 16, 3)))
      >>> encoded.states.shape, encoded.pooled.shape
      ((2, 19, 32), (2, 32))
    """

    def block(kind: None) -> nn.Module:
        del kind
        attention = GroupedQueryAttention(
            num_heads, num_heads, causal=False, rotary=rotary, use_bias=True, key_bias=key_bias, out_bias=True,
            kernel_init=INIT, out_init=INIT,
        )  # fmt: skip
        parts = layer_norm(epsilon), LayerScale(scale), layer_norm(epsilon), LayerScale(scale)
        return SandwichNorm(attention, feed_forward(), *parts)

    grid = None if rotary else (size[0] // patch, size[1] // patch)
    resize = functools.partial(bicubic, antialias=antialias)
    read = functools.partial(first_and_mean, skip=1 + registers)
    return TransformerEncoder(
        PatchEmbedding(patch, width, grid, registers=registers, masks=True, resize=resize),
        stacks=stacks([None] * num_layers, block),
        norm=layer_norm(epsilon),
        head=States(Pooled(first)) if num_classes is None else Classifier(num_classes, Pooled(read)),
        remat=remat,
    )


def _feed_forward(config: Config) -> Callable[[], nn.Module]:
    third, width = config["model_type"] == "dinov3_vit", config["hidden_size"]
    activation = configs.activation(config.get("hidden_act", "gelu"))
    if third:
        kind = Gated if config.get("use_gated_mlp") else Plain
        return functools.partial(kind, config["intermediate_size"], activation, config.get("mlp_bias", True))
    hidden = int(width * config.get("mlp_ratio", 4))
    if config.get("use_swiglu_ffn"):
        return functools.partial(Gated, _swiglu(hidden), nn.silu, True)
    return functools.partial(Plain, hidden, activation)


def _swiglu(hidden: int) -> int:
    """Two thirds of the hidden units, rounded up to eights."""
    return (int(hidden * 2 / 3) + 7) // 8 * 8


def _model(config: Config) -> TransformerEncoder:
    what, third = configs.architecture(config), config["model_type"] == "dinov3_vit"
    if what not in ("Model", "ImageClassification"):
        raise configs.unknown_head(config, ("Model", "ImageClassification"))
    configs.only(config, qkv_bias=True, query_bias=True, value_bias=True, proj_bias=True, apply_layernorm=True)
    return Dino(
        num_classes=configs.num_classes(config) if what == "ImageClassification" else None,
        size=configs.image_size(config),
        patch=config.get("patch_size", 14 if config["model_type"] == "dinov2" else 16),
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        width=config["hidden_size"],
        feed_forward=_feed_forward(config),
        registers=0 if config["model_type"] == "dinov2" else config.get("num_register_tokens", 0 if third else 4),
        rotary=GridRotary(config.get("rope_theta", 100.0)) if third else None,
        key_bias=config.get("key_bias", False) if third else True,
        antialias=config["model_type"] == "dinov2_with_registers",
        scale=config.get("layerscale_value", 1.0),
        epsilon=config.get("layer_norm_eps", 1e-5 if third else 1e-6),
    )


def _scales() -> tuple[Rule, ...]:
    scales = one("out_norm1/scale", "layer_scale1.lambda1") + one("out_norm2/scale", "layer_scale2.lambda1")
    return (*scales, *norm("norm1", "norm1", bias=True), *norm("norm2", "norm2", bias=True))


def _second(config: Config, stem: str) -> tuple[Rule, ...]:
    """The rules of DINOv2's parts."""
    cut: dict[str, Any] = {"cut": "p", "parts": (1, 1)}
    cut["sizes"] = (("f", _swiglu(int(config["hidden_size"] * config.get("mlp_ratio", 4)))),)
    halves = ("feed_forward/gate", "feed_forward/up")
    rest = (
        *_scales(),
        *linear("feed_forward/up", "mlp.fc1", True),
        *linear("feed_forward/down", "mlp.fc2", True),
    )
    if config.get("use_swiglu_ffn"):
        kernels, biases = (tuple(f"{half}/{kind}" for half in halves) for kind in ("kernel", "bias"))
        rest = (
            *_scales(),
            Rule(kernels, "mlp.weights_in.weight", "(p f) c -> c (p f)", **cut),
            Rule(biases, "mlp.weights_in.bias", "(p f) -> (p f)", **cut),
            *linear("feed_forward/down", "mlp.weights_out", True),
        )
    return (
        *vit.embeddings(stem),
        Rule(("embed/mask",), f"{stem}embeddings.mask_token", "u d -> (u d)", sizes=(("u", 1),)),
        *vit.blocks(stem, config["num_hidden_layers"], rest, True),
        *norm("norm", f"{stem}layernorm", bias=True),
    )


def _third(config: Config, stem: str) -> tuple[Rule, ...]:
    """The rules of DINOv3's parts."""
    kernels = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "o_proj"))
    layer = (
        *(rule for ours, theirs in kernels for rule in linear(f"attention/{ours}", f"attention.{theirs}", True)),
        *(rule for name in ("gate", "up", "down") for rule in linear(f"feed_forward/{name}", f"mlp.{name}_proj", True)),
        *_scales(),
    )
    ones = (("u", 1), ("v", 1))
    return (
        Rule(("embed/class",), f"{stem}embeddings.cls_token", "u v d -> (u v d)", sizes=ones),
        Rule(("embed/mask",), f"{stem}embeddings.mask_token", "u v d -> (u v d)", sizes=ones),
        *one("embed/kernel", f"{stem}embeddings.patch_embeddings.weight", "d c p q -> p q c d"),
        *one("embed/bias", f"{stem}embeddings.patch_embeddings.bias"),
        *under("blocks", f"{stem}layer", range(config["num_hidden_layers"]), layer),
        *norm("norm", f"{stem}norm", bias=True),
    )


def _names(config: Config) -> Names:
    kind = config["model_type"]
    stem = "" if configs.architecture(config) == "Model" else f"{kind}."
    rules = (
        *(_third if kind == "dinov3_vit" else _second)(config, stem),
        Rule(("embed/registers",), f"{stem}embeddings.register_tokens", "u r d -> (u r) d", sizes=(("u", 1),)),
        *linear("head/classes", "classifier", True),
    )
    return Names(rules, f"{kind}.", heads=(r"^classifier\.",))


def _images(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    return vit.FAMILY.inputs(config)


FAMILY = Family(_model, _names, _images, classifier="ImageClassification")


def _variant(num_layers: int, num_heads: int, width: int, hidden: int, **more: Any) -> dict[str, Any]:
    feed_forward = functools.partial(Plain, hidden, gelu)
    return {"num_layers": num_layers, "num_heads": num_heads, "width": width, "feed_forward": feed_forward, **more}


# Oquab et al. 2023, table 17, with the patches and positions of the published weights (518 pixels); Simeoni et al.
# 2025, section 5.2.
_THIRD: dict[str, Any] = {"patch": 16, "registers": 4, "rotary": GridRotary(), "key_bias": False, "epsilon": 1e-5}
VARIANTS: dict[str, dict[str, Any]] = {
    "test": _variant(2, 2, 32, 64, size=(16, 16), patch=4, registers=2),
    "v2_small": _variant(12, 6, 384, 1536, size=(518, 518)),
    "v2_base": _variant(12, 12, 768, 3072, size=(518, 518)),
    "v2_large": _variant(24, 16, 1024, 4096, size=(518, 518)),
    "v3_small": _variant(12, 6, 384, 1536, **_THIRD),
    "v3_base": _variant(12, 12, 768, 3072, **_THIRD),
    "v3_large": _variant(24, 16, 1024, 4096, **_THIRD),
}
