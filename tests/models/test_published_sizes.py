"""Every size has as many parameters as its paper or its authors' weights say, in millions; only shapes are made."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from deeplab.models.text.decoders import deepseek, falcon, gemma, gpt, gpt_oss, mixtral, neox, olmo, opt, phi, qwen
from deeplab.models.text.encoders import bert, distilbert, modernbert
from deeplab.models.text.recurrent import mamba
from deeplab.models.vision.convolutional import convnext, densenet, efficientnet, lenet, mobilenet, resnet, vgg
from deeplab.models.vision.segmentation import segformer
from deeplab.models.vision.transformers import dino, mixer, swin, vit
from deeplab.nn.parts.heads import Pooled, States


class Table(NamedTuple):
    """A family, and what is said of its sizes, to the digits that are written.

    Attributes:
      make: Function from the numbers of a size to a model.
      variants: Its sizes.
      published: Millions of parameters of each.
    """

    make: Callable[..., nn.Module]
    variants: dict[str, dict[str, Any]]
    published: dict[str, str]


def of_images(
    make: Callable[..., nn.Module], variants: Any, published: dict[str, str], num_classes: int = 1000
) -> Table:
    return Table(functools.partial(make, num_classes=num_classes), variants, published)


def of_tokens(make: Callable[..., nn.Module], variants: Any, published: dict[str, str], vocab_size: int) -> Table:
    return Table(functools.partial(make, vocab_size=vocab_size), variants, published)


def pooled_bert(**sizes: Any) -> nn.Module:
    return bert.Bert(head=States(Pooled(width=sizes["width"])), **sizes)


# Convolutional and other networks of images: the tables of timm, of torchvision, and of the papers.
IMAGES = {
    "convnext": of_images(convnext.ConvNeXt, convnext.VARIANTS, {
        "atto": "3.70", "femto": "5.22", "pico": "9.05", "nano": "15.59", "tiny": "28.59", "small": "50.22",
        "base": "88.59", "large": "197.77", "xlarge": "350.20"}),
    "convnext2": of_images(functools.partial(convnext.ConvNeXt, second=True), convnext.VARIANTS, {
        "atto": "3.71", "femto": "5.23", "pico": "9.07", "nano": "15.62", "tiny": "28.64", "base": "88.72",
        "large": "197.96", "huge": "660.29"}),
    "densenet": of_images(densenet.DenseNet, densenet.VARIANTS, {
        "121": "7.98", "161": "28.68", "169": "14.15", "201": "20.01"}),
    "efficientnet": of_images(efficientnet.EfficientNet, efficientnet.VARIANTS, {
        "b0": "5.29", "b1": "7.79", "b2": "9.11", "b3": "12.23", "b4": "19.34", "b5": "30.39", "b6": "43.04",
        "b7": "66.35", "lite0": "4.65", "lite1": "5.42", "lite2": "6.09", "lite3": "8.20", "lite4": "13.01"}),
    "lenet": Table(lenet.LeNet, lenet.VARIANTS, {"5": "0.0617"}),
    "mixer": of_images(mixer.Mixer, mixer.VARIANTS, {
        "s32": "19.10", "s16": "18.53", "b32": "60.29", "b16": "59.88", "l32": "206.94", "l16": "208.20"}),
    "mixer_without_head": Table(mixer.Mixer, mixer.VARIANTS, {"b16": "59", "l16": "207", "h14": "431"}),
    "mobilenet2": of_images(mobilenet.MobileNetV2, mobilenet.VARIANTS_2, {
        "50": "1.97", "75": "2.64", "100": "3.50", "140": "6.11"}),
    "mobilenet3": of_images(mobilenet.MobileNetV3, mobilenet.VARIANTS_3, {
        "large_075": "3.99", "large_100": "5.48", "large_minimal_100": "3.92", "small_075": "2.04",
        "small_100": "2.54", "small_minimal_100": "2.04"}),
    "resnet": of_images(resnet.ResNet, resnet.VARIANTS, {
        "18": "11.69", "34": "21.80", "50": "25.56", "101": "44.55", "152": "60.19", "wide50": "68.88",
        "wide101": "126.89", "next50_32x4d": "25.03", "next101_32x4d": "44.18", "next101_32x8d": "88.79",
        "next101_64x4d": "83.46"}),
    "segformer": of_images(segformer.SegFormer, segformer.VARIANTS, {
        "b0": "3.8", "b1": "13.7", "b2": "27.5", "b3": "47.3", "b4": "64.1", "b5": "84.7"}, 150),
    "swin": of_images(swin.Swin, swin.VARIANTS, {
        "tiny": "28.29", "small": "49.61", "base": "87.77", "large": "196.53"}),
    "vgg": of_images(vgg.VGG, vgg.VARIANTS, {
        "11": "132.86", "13": "133.05", "16": "138.36", "19": "143.67", "11_bn": "132.87", "13_bn": "133.05",
        "16_bn": "138.37", "19_bn": "143.68"}),
    "vit": of_images(vit.ViT, vit.VARIANTS, {
        "tiny": "5.72", "small": "22.05", "base": "86.57", "large": "304.33", "huge": "632.05"}),
    "dino": Table(dino.Dino, dino.VARIANTS, {
        "v2_small": "22.06", "v2_base": "86.58", "v2_large": "304.37", "v3_small": "21.60", "v3_base": "85.66",
        "v3_large": "303.13"}),
}  # fmt: skip

# Models of text: what the Hub says of the authors' files.
TEXTS = {
    "bert": of_tokens(pooled_bert, bert.VARIANTS, {
        "tiny": "4.39", "mini": "11.17", "small": "28.76", "medium": "41.37", "minilm": "22.71", "base": "109.48",
        "large": "335.14"}, 30_522),
    "deepseek": of_tokens(deepseek.DeepSeekV3, deepseek.VARIANTS, {"v3": "671026"}, 129_280),
    "distilbert": of_tokens(distilbert.DistilBert, distilbert.VARIANTS, {"base": "66.36"}, 30_522),
    "falcon": of_tokens(falcon.Falcon, falcon.VARIANTS, {"7b": "6921.72", "40b": "41303.29"}, 65_024),
    "gemma2": of_tokens(gemma.SandwichGemma, gemma.VARIANTS, {"gemma2_2b": "2614.34", "gemma2_9b": "9241.71"}, 256_000),
    "gemma3": of_tokens(gemma.SandwichGemma, gemma.VARIANTS, {"gemma3_1b": "999.89"}, 262_144),
    "gpt2": of_tokens(functools.partial(gpt.GPT, scanned=True), gpt.VARIANTS, {
        "small": "124.44", "medium": "354.82", "large": "774.03", "xl": "1557.61"}, 50_257),
    "gpt_oss": of_tokens(gpt_oss.GPTOss, gpt_oss.VARIANTS, {"20b": "20914.76", "120b": "116829.16"}, 201_088),
    "mamba": of_tokens(mamba.Mamba, mamba.VARIANTS, {
        "130m": "129.14", "370m": "371.52", "790m": "793.20", "1.4b": "1372.18", "2.8b": "2768.35"}, 50_280),
    "mixtral": of_tokens(mixtral.Mixtral, mixtral.VARIANTS, {"8x7b": "46702.79", "8x22b": "140620.63"}, 32_000),
    "modernbert": of_tokens(modernbert.ModernBert, modernbert.VARIANTS, {"base": "149.01", "large": "394.78"}, 50_368),
    "neox": of_tokens(neox.NeoX, neox.VARIANTS, {
        "pythia_70m": "70.43", "pythia_410m": "405.33", "pythia_1.4b": "1414.65"}, 50_304),
    "neox_20b": of_tokens(neox.NeoX, neox.VARIANTS, {"pythia_6.9b": "6857.30", "neox_20b": "20554.57"}, 50_432),
    "olmo": of_tokens(olmo.OLMo2, olmo.VARIANTS, {"olmo2_7b": "7298.62", "olmo2_13b": "13716.20"}, 100_352),
    "opt": of_tokens(opt.OPT, opt.VARIANTS, {
        "125m": "125.24", "1.3b": "1315.76", "6.7b": "6658.47", "30b": "29974.54"}, 50_272),
    "phi": of_tokens(phi.Phi, phi.VARIANTS, {"phi1.5": "1418.27", "phi2": "2779.68"}, 51_200),
    "qwen": of_tokens(qwen.Qwen, qwen.VARIANTS, {
        "qwen2_0.5b": "494.03", "qwen3_0.6b": "596.05", "qwen3_8b": "8190.74", "qwen3_30b_a3b": "30532.12"}, 151_936),
    "qwen2_7b": of_tokens(qwen.Qwen, qwen.VARIANTS, {"qwen2_7b": "7615.62"}, 152_064),
}  # fmt: skip

DAILY = {
    "bert": "base", "dino": "v2_small", "gpt2": "small", "mixer": "b16", "mobilenet2": "100", "resnet": "50",
    "swin": "tiny", "vgg": "16", "vit": "base",
}  # fmt: skip
"""One size of a family that is quick to trace; the others are looked at with `-m slow`."""
TABLES = {**IMAGES, **TEXTS}
ROWS = [
    pytest.param(family, variant, marks=() if DAILY.get(family) == variant else pytest.mark.slow)
    for family, table in TABLES.items()
    for variant in table.published
]


def inputs(family: str, variant: str) -> jax.ShapeDtypeStruct:
    if family in TEXTS:
        return jax.ShapeDtypeStruct((1, 4), jnp.int32)
    side = 28 if family == "lenet" else 518 if variant.startswith("v2_") else 224
    return jax.ShapeDtypeStruct((1, side, side, 1 if family == "lenet" else 3), jnp.float32)


@pytest.mark.parametrize(("family", "variant"), ROWS)
def test_the_number_of_parameters(family, variant):
    table = TABLES[family]
    model, published = table.make(**table.variants[variant]), table.published[variant]
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs(family, variant))["params"]
    millions = sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) / 1e6
    assert f"{millions:.{len(published.partition('.')[2])}f}" == published
