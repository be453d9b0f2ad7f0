"""How a family's parameters are called in other people's files: values, which `deeplab.hub` applies both ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Rule:
    """One of their tensors and what it is of ours.

    The transformation is a string that names axes, "theirs -> ours", as einops does; its inverse is the same string
    with its sides exchanged, so that the way back is bit-equal by construction.

    Args:
      ours: Path of a parameter, or of the several that one of theirs is cut into. Stacked axes come in brackets:
        "experts/gate_kernel[i,e]" is of layer i and expert e, where the name has {i} and {e}.
      theirs: Name of the tensor.
      axes: Transformation, such as "(h d) c -> c (h d)"; none when empty.
      cut: Axis of theirs that is cut into our parameters, in their order.
      parts: Sizes of the parts.
      sizes: Sizes of axes that the shapes do not tell.
      numbers: Numbers of the layers, the values of {i}.
      collection: Collection of ours: parameters, or statistics that are no parameters.
      dtype: Dtype in files, as safetensors spells it, where it is not that of ours.
    """

    ours: tuple[str, ...]
    theirs: str
    axes: str = ""
    cut: str = ""
    parts: tuple[int, ...] = (0,)
    sizes: tuple[tuple[str, int], ...] = ()
    numbers: range = range(0)
    collection: str = "params"
    dtype: str = ""


@dataclasses.dataclass(frozen=True)
class Names:
    """All names of a model.

    Args:
      rules: Rules, of which every parameter needs one.
      prefix: Beginning of names that some files leave out.
      ties: Pairs of names of one tensor: that of the rules, and another that a file may have instead or besides.
      ignored: Regular expressions of names that are no parameters.
      heads: Regular expressions of the tensors of heads, which are ignored where a model has another one.
      older: Pairs of ends of names: that of the rules, and the one that older files have instead.
    """

    rules: tuple[Rule, ...]
    prefix: str = ""
    ties: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    older: tuple[tuple[str, str], ...] = ()


def _tokens(config: Mapping[str, Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    del config
    return (jax.ShapeDtypeStruct((1, 1), jnp.int32),)


def texts(config: Mapping[str, Any]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The shapes of a source, of the segments of its tokens, and of a target."""
    return _tokens(config) * 3


def _as_it_is(config: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
    del names
    return config


@dataclasses.dataclass(frozen=True)
class Family:
    """What loads and writes a family of models.

    Args:
      model: Function from a config, as its JSON file says it, to a model.
      names: Function from a config to the names of the model's parameters.
      inputs: Function from a config to the shapes of inputs.
      classifier: What follows "For" in the name of the class whose head has classes; empty where none has.
      seen: Function from a config and the names of a folder's tensors to the config, where they say more than it does.
    """

    model: Callable[[Mapping[str, Any]], nn.Module]
    names: Callable[[Mapping[str, Any]], Names]
    inputs: Callable[[Mapping[str, Any]], tuple[jax.ShapeDtypeStruct, ...]] = _tokens
    classifier: str = ""
    seen: Callable[[Mapping[str, Any], Collection[str]], Mapping[str, Any]] = _as_it_is


def one(ours: str, theirs: str, axes: str = "") -> tuple[Rule]:
    """A parameter that is one of their tensors."""
    return (Rule((ours,), theirs, axes),)


def linear(ours: str, theirs: str, bias: bool = False) -> tuple[Rule, ...]:
    """A linear layer of PyTorch, whose kernel is transposed."""
    rules = one(f"{ours}/kernel", f"{theirs}.weight", "o c -> c o")
    return (*rules, *one(f"{ours}/bias", f"{theirs}.bias")) if bias else rules


def norm(ours: str, theirs: str, bias: bool = False) -> tuple[Rule, ...]:
    """A norm with a scale."""
    rules = one(f"{ours}/scale", f"{theirs}.weight")
    return (*rules, *one(f"{ours}/bias", f"{theirs}.bias")) if bias else rules


COUNTS = "batch_counts"
"""Collection of what no model of ours reads, and files have: numbers of batches. It is kept for the way back."""


def batch_norm(ours: str, theirs: str) -> tuple[Rule, ...]:
    """A batch norm of PyTorch, with its statistics."""
    return (
        *norm(ours, theirs, bias=True),
        Rule((f"{ours}/mean",), f"{theirs}.running_mean", collection="batch_stats"),
        Rule((f"{ours}/var",), f"{theirs}.running_var", collection="batch_stats"),
        Rule((f"{ours}/batches",), f"{theirs}.num_batches_tracked", collection=COUNTS, dtype="I64"),
    )


def conv(ours: str, theirs: str, bias: bool = False) -> tuple[Rule, ...]:
    """A convolution of PyTorch."""
    rules = one(f"{ours}/kernel", f"{theirs}.weight", "o i h w -> h w i o")
    return (*rules, *one(f"{ours}/bias", f"{theirs}.bias")) if bias else rules


def conv1d(ours: str, theirs: str, bias: bool = False) -> tuple[Rule, ...]:
    """A convolution of PyTorch over one axis."""
    rules = one(f"{ours}/kernel", f"{theirs}.weight", "o i k -> k i o")
    return (*rules, *one(f"{ours}/bias", f"{theirs}.bias")) if bias else rules


def pointwise(ours: str, theirs: str) -> tuple[Rule, ...]:
    """A linear layer that is a 1 x 1 convolution of PyTorch, with its bias."""
    ones = (("u", 1), ("v", 1))
    return (
        Rule((f"{ours}/kernel",), f"{theirs}.weight", "o i u v -> (u v i) o", sizes=ones),
        *one(f"{ours}/bias", f"{theirs}.bias"),
    )


def within(ours: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules of a module of ours that is a part of another."""
    return tuple(dataclasses.replace(r, ours=tuple(f"{ours}/{path}" for path in r.ours)) for r in rules)


def under(ours: str, theirs: str, numbers: range, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules of stacked layers from those of one of them.

    Example:
      >>> rule = under("blocks", "h", range(2), norm("norm1", "ln_1"))[0]
      >>> rule.ours, rule.theirs
      (('blocks/norm1/scale[i]',), 'h.{i}.ln_1.weight')
    """

    def stacked(path: str) -> str:
        path, _, axes = path.partition("[")
        return f"{ours}/{path}[i,{axes}" if axes else f"{ours}/{path}[i]"

    return tuple(
        dataclasses.replace(r, ours=tuple(map(stacked, r.ours)), theirs=f"{theirs}.{{i}}.{r.theirs}", numbers=numbers)
        for r in rules
    )
