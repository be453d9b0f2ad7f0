"""The names of residual networks in the files of timm and torchvision, which are the same."""

from __future__ import annotations

from typing import Any

from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Family, Names, Rule, batch_norm, conv, linear
from deeplab.models.vision.convolutional.resnet import VARIANTS, ResNet


def _arguments(config: Config) -> dict[str, Any]:
    return configs.variant(config, ARCHITECTURES, {"layers": "stage_sizes"})


def _model(config: Config) -> ResNet:
    return ResNet(num_classes=config.get("num_classes", 1000) or None, **_arguments(config))


def _names(config: Config) -> Names:
    rules: tuple[Rule, ...] = (*conv("stem/conv", "conv1"), *batch_norm("stem/norm", "bn1"))
    for stage, size in enumerate(_arguments(config)["stage_sizes"], start=1):
        for i in range(size):
            ours, theirs = f"stage{stage}_block{i + 1}", f"layer{stage}.{i}"
            for number in (1, 2, 3):
                rules += conv(f"{ours}/conv{number}", f"{theirs}.conv{number}")
                rules += batch_norm(f"{ours}/norm{number}", f"{theirs}.bn{number}")
            rules += conv(f"{ours}/projection", f"{theirs}.downsample.0")
            rules += batch_norm(f"{ours}/projection_norm", f"{theirs}.downsample.1")
    return Names((*rules, *linear("head", "fc", True)), heads=(r"^fc\.",))


FAMILY = Family(_model, _names, configs.timm_inputs)

ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{f"resnet{size}": VARIANTS[size] for size in ("18", "34", "50", "101", "152")},
    **{f"wide_resnet{size}_2": VARIANTS[f"wide{size}"] for size in ("50", "101")},
    **{f"res{size}": VARIANTS[size] for size in VARIANTS if size.startswith("next")},
}
