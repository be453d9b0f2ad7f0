"""What the configs and the files of many families have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deeplab.core.errors import UserError
from deeplab.models import configs
from deeplab.models.configs import Config
from deeplab.models.foreign import Names, Rule, linear, norm, one, under
from deeplab.nn.attention.rotary import Rotary
from deeplab.nn.attention.rotary_scaling import (
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    Scaling,
    YarnScaling,
    long_amplitude,
    yarn_amplitude,
)
from deeplab.nn.parts.stack import spans

KERNELS = ("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("o_proj", "out")


def sizes(config: Config, epsilon: float = 1e-6) -> dict[str, Any]:
    """The arguments of `Sizes`, where a config has the most usual names.

    Args:
      config: Config.
      epsilon: Number added to the variance in norms where the config says none.
    """
    return {
        "vocab_size": config["vocab_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "num_kv_heads": config.get("num_key_value_heads") or config["num_attention_heads"],
        "head_dim": head_dim(config),
        "width": config["hidden_size"],
        "hidden": config["intermediate_size"],
        "context": config["max_position_embeddings"],
        "epsilon": config.get("rms_norm_eps") or config.get("layer_norm_eps") or epsilon,
    }


def head_dim(config: Config) -> int:
    """Width of a head, where it is said or not."""
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def windows(config: Config, pattern: int | None, window: int | None) -> list[int | None]:
    """The window of each layer; None where it attends to all positions.

    Args:
      config: Config, which says the kind of each layer, or else has this pattern.
      pattern: Number of layers of which the last has no window; none has one when None.
      window: Window where the config says none.
    """
    number = config["num_hidden_layers"]
    wide = [pattern is None or (i + 1) % pattern == 0 for i in range(number)]
    kinds = config.get("layer_types") or ["full_attention" if full else "sliding_attention" for full in wide]
    window = config.get("sliding_window", window)
    return [window if kind == "sliding_attention" else None for kind in kinds]


def rotary_of(
    config: Config,
    width: int,
    base: float = 10_000.0,
    kind: str | None = None,
    partial: float | None = None,
    **turn: Any,
) -> Rotary:
    """The rotation that a config describes, in today's form or in the older one.

    Args:
      config: Config, with `rope_parameters`, or else with `rope_theta` and `rope_scaling`.
      width: Width of a head.
      base: Base of the wavelengths where the config says none.
      kind: Kind of the layer, where rotations differ by it.
      partial: Part of a head that turns where the config says none; None where all of it always turns.
      turn: Arguments of `Rotary`.

    Raises:
      UserError: The wavelengths are scaled in a way that is not known, or a part of a head turns where all of it does.
    """
    said = config.get("rope_parameters") or {}
    said = said.get(kind, said)
    old = config.get("rope_scaling") or {}
    scaling = {**old, **said}
    base = said.get("rope_theta") or config.get("rope_theta") or base
    part = said.get("partial_rotary_factor") or config.get("partial_rotary_factor") or partial or 1.0
    if partial is None:
        configs.only({"partial_rotary_factor": part}, partial_rotary_factor=1.0)
    return Rotary(int(width * part), base, _scaling(scaling, config), **turn)


def _scaling(said: Mapping[str, Any], config: Config) -> Scaling | None:
    kind = said.get("rope_type") or said.get("type") or "default"
    if kind == "default":
        return None
    # An entry of the config itself counts before that of the rotations, as in transformers.
    original = config.get("original_max_position_embeddings") or said.get("original_max_position_embeddings")
    original = original or config["max_position_embeddings"]
    if kind == "linear":
        return LinearScaling(said["factor"])
    if kind == "llama3":
        return Llama3Scaling(said["factor"], said["low_freq_factor"], said["high_freq_factor"], original)
    if kind == "yarn":
        factor = said.get("factor") or config["max_position_embeddings"] / original
        amplitude, weight, weight_of_all = (said.get(x) for x in ("attention_factor", "mscale", "mscale_all_dim"))
        if amplitude is None and weight and weight_of_all:
            amplitude = yarn_amplitude(factor, weight) / yarn_amplitude(factor, weight_of_all)
        return YarnScaling(
            factor, original, said.get("beta_fast") or 32.0, said.get("beta_slow") or 1.0,
            yarn_amplitude(factor) if amplitude is None else amplitude, said.get("truncate", True),
        )  # fmt: skip
    if kind in ("longrope", "su"):  # Phi 3's first configs have the second name
        factor = said.get("factor") or config["max_position_embeddings"] / original
        amplitude = said.get("attention_factor") or long_amplitude(factor, original)
        return LongScaling(tuple(said["short_factor"]), tuple(said["long_factor"]), original, amplitude)
    raise UserError(f"the config scales rotations by {kind!r}; known are default, linear, llama3, longrope and yarn")


def attention(theirs: str = "self_attn", bias: bool = False, out_bias: bool = False) -> tuple[Rule, ...]:
    """The four kernels of an attention, and their biases."""
    biases = (bias, bias, bias, out_bias)
    pairs = zip(KERNELS, biases, strict=True)
    return tuple(rule for (name, ours), has in pairs for rule in linear(f"attention/{ours}", f"{theirs}.{name}", has))


def gated(theirs: str = "mlp", bias: bool = False, ours: str = "feed_forward") -> tuple[Rule, ...]:
    """The three kernels of a gated feed-forward layer, and their biases."""
    names = ("gate", "up", "down")
    return tuple(rule for name in names for rule in linear(f"{ours}/{name}", f"{theirs}.{name}_proj", bias))


def experts(theirs: str, names: Sequence[str] = ("gate_proj", "up_proj", "down_proj")) -> tuple[Rule, ...]:
    """The three kernels of each expert."""
    pairs = zip(("gate", "up", "down"), names, strict=True)
    return tuple(
        rule
        for ours, name in pairs
        for rule in one(f"feed_forward/experts/{ours}_kernel[e]", f"{theirs}.experts.{{e}}.{name}.weight", "o c -> c o")
    )


def named(
    config: Config,
    layers: Callable[[Any], tuple[Rule, ...]],
    kinds: Sequence[Any],
    *,
    tied: bool = False,
    last: tuple[Rule, ...] | None = None,
    head_bias: bool = False,
    ignored: tuple[str, ...] = (r"rotary_emb\.inv_freq$",),
) -> Names:
    """The names of a model whose modules are called as Llama's are, which most families do.

    Args:
      config: Config.
      layers: Function from a layer's kind to its rules.
      kinds: Kind of each layer.
      tied: Whether the head has the embedding's weights where the config does not say.
      last: Rules of the norm after the last layer.
      head_bias: Whether the head has a bias.
      ignored: Regular expressions of names that are no parameters.
    """
    rules = one("token_embedding/embedding", "model.embed_tokens.weight")
    for span in spans(kinds):
        for path, kind, numbers in span.layers:
            rules += under(path, "model.layers", numbers, layers(kind))
    rules += norm("norm", "model.norm") if last is None else last
    if config.get("tie_word_embeddings", tied):
        return Names(rules, "model.", (("model.embed_tokens.weight", "lm_head.weight"),), ignored)
    return Names(rules + linear("head", "lm_head", head_bias), "model.", (), ignored)
