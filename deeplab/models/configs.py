"""What the configs of other libraries' models say: names and values of theirs, read here and in the families alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError
from deeplab.nn.activations import gelu


def quick_gelu(x: jax.Array) -> jax.Array:
    """x sigmoid(1.702 x), an approximation of the GELU (Hendrycks and Gimpel 2016)."""
    return x * jax.nn.sigmoid(1.702 * x)


Config = Mapping[str, Any]
"""What a config.json says."""

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": quick_gelu,
    "silu": nn.silu, "swish": nn.silu, "relu": nn.relu, "gelu": gelu, "gelu_new": nn.gelu, "gelu_pytorch_tanh": nn.gelu,
}  # fmt: skip
"""The activations of configs: names of another library, which `hub` alone reads."""


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The activation that a config names.

    Raises:
      UserError: It is not known.
    """
    if name not in ACTIVATIONS:
        raise UserError(f"the config's activation is {name!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def only(config: Config, **expected: Any) -> None:
    """Checks that a config asks for nothing that the family's model leaves out.

    Raises:
      UserError: An entry has another value than the one expected.
    """
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise UserError(f"the config says {name}={config[name]!r}; this family is written for {value!r} alone")


def architecture(config: Config) -> str:
    """What a model is for: "Model" without a head, else what follows "For" in the name of its class.

    Example:
      >>> [architecture({"architectures": [name]}) for name in ("BertModel", "BertForMaskedLM")], architecture({})
      (['Model', 'MaskedLM'], 'Model')
    """
    named = (config.get("architectures") or ["Model"])[0]
    return named.partition("For")[2] or "Model"


def with_head(config: Config, head: str, num_classes: int) -> dict[str, Any]:
    """The config of the same model with a head of so many classes.

    Args:
      config: Config.
      head: What follows "For" in the name of the class with that head.
      num_classes: Number of classes.
    """
    named = (config.get("architectures") or ["Model"])[0]
    stem = named.partition("For")[0].removesuffix("Model")
    names = {str(i): f"LABEL_{i}" for i in range(num_classes)}
    numbers = {name: int(i) for i, name in names.items()}
    return {**config, "architectures": [f"{stem}For{head}"], "id2label": names, "label2id": numbers}


def unknown_head(config: Config, known: tuple[str, ...]) -> UserError:
    """The error that a model has another head than those that are known."""
    return UserError(f"the config's model is {config['architectures'][0]!r}; known heads of it are {', '.join(known)}")


def num_classes(config: Config) -> int:
    """Number of classes, where it is said or not."""
    return len(config["id2label"]) if config.get("id2label") else config.get("num_labels") or 2


def image_size(config: Config, default: int = 224) -> tuple[int, int]:
    """Height and width of the images, in pixels."""
    size = config.get("image_size") or default
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def variant(
    config: Config, known: Mapping[str, Mapping[str, Any]], arguments: Mapping[str, str], pool: str = "avg"
) -> dict[str, Any]:
    """What timm's config says of a family's sizes: those of its architecture, and arguments that differ from them.

    Args:
      config: Config, with "architecture" and perhaps "model_args", among which timm repeats what it says beside them.
      known: Sizes by the names of architectures.
      arguments: Names of ours by those of timm's arguments.
      pool: How the family's head reads the states, in timm's words.

    Raises:
      UserError: An argument is not known, or contradicts what is said beside the arguments.
    """
    only(config, global_pool=pool)
    given, channels = dict(config.get("model_args") or {}), timm_inputs(config)[0].shape[-1]
    said = {"num_classes": config.get("num_classes", 1000), "in_chans": channels, "global_pool": pool}
    for name, value in said.items():
        if given.setdefault(name, value) != value:
            raise UserError(f"the config's model_args have {name}={given[name]!r}, where {value!r} was expected")
    given = {name: value for name, value in given.items() if name not in said}
    if unknown := sorted(set(given) - set(arguments)):
        raise UserError(f"the config's model_args have {', '.join(unknown)}; known are {', '.join(arguments)}")
    return {**known[config["architecture"]], **{arguments[name]: value for name, value in given.items()}}


def timm_inputs(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The shape of images by timm's config."""
    channels, height, width = (config.get("pretrained_cfg") or {}).get("input_size", (3, 224, 224))
    return (jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32),)


def unequal(config: Config, *names: str) -> UserError:
    """The error that entries differ that a family's model has as one."""
    said = ", ".join(f"{name}={config.get(name)!r}" for name in names)
    return UserError(f"the config says {said}; this family is written for equal values alone")
