"""Which of their tensors is which of our parameters: the rules of a family for one model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from deeplab.core.errors import UserError
from deeplab.hub.axes import Axes
from deeplab.hub.files import DTYPES, Header
from deeplab.models.foreign import COUNTS, Names, Rule


class Part(NamedTuple):
    """A place in our parameters.

    Attributes:
      path: Path of the parameter.
      index: Numbers along its stacked axes.
    """

    path: str
    index: tuple[int, ...]


class Tensor(NamedTuple):
    """One of their tensors.

    Attributes:
      name: Its name.
      shape: Its shape.
      parts: Our parameters that it holds.
      axes: Transformation between the two.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    axes: Axes


def flat(tree: Any) -> dict[str, Any]:
    """The leaves of a tree of parameters by their paths.

    Example:
      >>> flat({"norm": {"scale": 1}})
      {'norm/scale': 1}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def leaves(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of all collections: parameters by their paths, others by theirs after the collection's name.

    Example:
      >>> leaves({"params": {"norm": {"scale": 1}}, "batch_stats": {"norm": {"mean": 2}}})
      {'batch_stats/norm/mean': 2, 'norm/scale': 1}
    """
    return {path.removeprefix("params/"): leaf for path, leaf in flat(dict(variables)).items()}


def places(rule: Rule) -> list[str]:
    """The paths of a rule as `leaves` spells them, without stacked axes."""
    collection = "" if rule.collection == "params" else f"{rule.collection}/"
    return [f"{collection}{path.partition('[')[0]}" for path in rule.ours]


def counts(names: Names, given: Mapping[str, Header]) -> dict[str, Any]:
    """The shapes of what no model reads and a file has, as a tree; see `deeplab.models.foreign.COUNTS`."""
    tree: dict[str, Any] = {}
    for rule in names.rules:
        if rule.collection == COUNTS and rule.theirs in given:
            *path, last = rule.ours[0].split("/")
            inner = tree
            for name in path:
                inner = inner.setdefault(name, {})
            inner[last] = jax.ShapeDtypeStruct((), np.int32)
    return tree


def of(names: Names, collection: str) -> Names:
    """The names of one collection's tensors, as if they were parameters; those of the others are ignored."""
    others = tuple(f"^{re.escape(rule.theirs)}$" for rule in names.rules if rule.collection != collection)
    rules = [dataclasses.replace(r, collection="params") for r in names.rules if r.collection == collection]
    return dataclasses.replace(names, rules=tuple(rules), ignored=(*names.ignored, *others))


def tensors(names: Names, params: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Their tensors by name, and our parameters without a rule.

    Args:
      names: Names of a family.
      params: Parameters and other variables, or their shapes, as `leaves` gives them.

    Raises:
      UserError: A rule does not fit our parameters, or two are of one tensor or of one parameter: a folder would hold
        the last one's numbers alone.
    """
    found: dict[str, Tensor] = {}
    owners: dict[Part, str] = {}
    twice: list[str] = []
    for rule in names.rules:
        if not all(path in params for path in places(rule)):
            continue
        for tensor in _of_rule(rule, params):
            if tensor.name in found:
                both = (one.parts[0] for one in (found[tensor.name], tensor))
                twice.append(f"{tensor.name} is of our {' and of our '.join(map(_spelled, both))}")
            for part in tensor.parts:
                if owners.setdefault(part, tensor.name) != tensor.name:
                    twice.append(f"our {_spelled(part)} is of {owners[part]} and of {tensor.name}")
            found[tensor.name] = tensor
    if twice:
        raise UserError("a family's rules need one tensor for each parameter:\n  " + "\n  ".join(twice))
    filled = {part.path for part in owners}
    return found, [path for path in params if path not in filled]


def _of_rule(rule: Rule, params: Mapping[str, Any]) -> list[Tensor]:
    """The tensors of a rule, one for each index of its stacked axes."""
    paths, axes = places(rule), Axes(rule)
    shapes = [tuple(params[path].shape) for path in paths]
    stacked = rule.ours[0].partition("[")[2].rstrip("]").split(",") if "[" in rule.ours[0] else []
    depth = len(stacked)
    try:
        if len({shape[:depth] for shape in shapes}) > 1:
            raise ValueError(f"the axes [{','.join(stacked)}] have several sizes")
        shape = axes.shape([shape[depth:] for shape in shapes])
        return [
            Tensor(rule.theirs.format(**numbers), shape, tuple(Part(path, index) for path in paths), axes)
            for index, numbers in _numbers(rule, stacked, shapes[0])
        ]
    except (IndexError, KeyError, ValueError) as error:
        ours = ", ".join(f"{path} {list(shape)}" for path, shape in zip(rule.ours, shapes, strict=True))
        raise UserError(
            f"the rule of {rule.theirs!r} ({rule.axes!r}) does not fit our {ours}: {type(error).__name__}: {error}"
        ) from error


def _numbers(
    rule: Rule, stacked: Sequence[str], shape: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], dict[str, int]]]:
    """All indices of the stacked axes, with the numbers that their names have."""
    for index in np.ndindex(*shape[: len(stacked)]):
        numbers = dict(zip(stacked, index, strict=True))
        if "i" in numbers:
            numbers["i"] = rule.numbers[numbers["i"]]
        yield index, numbers


def _spelled(part: Part) -> str:
    return f"{part.path}{list(part.index) if part.index else ''}"


def matched(names: Names, wanted: Mapping[str, Tensor], given: Mapping[str, Header]) -> dict[str, str]:
    """For each tensor that is wanted, the name that a file has for it: its own, without the prefix, or a tied one."""
    found = {}
    for name in wanted:
        for candidate in (name, *(other for own, other in names.ties if own == name)):
            for spelled in spellings(names, candidate):
                if spelled in given:
                    found.setdefault(name, spelled)
    return found


def spellings(names: Names, name: str) -> Iterator[str]:
    """The names that a file may have for a tensor: without the prefix or with it, and as older files have it."""
    for spelled in (name, name.removeprefix(names.prefix), f"{names.prefix}{name}"):
        yield spelled
        for today, older in names.older:
            if spelled.endswith(today):
                yield spelled.removesuffix(today) + older


def differences(
    names: Names, wanted: Mapping[str, Tensor], given: Mapping[str, Header], found: Mapping[str, str]
) -> Iterable[str]:
    """What is missing, what is more, and what has another shape or no known dtype, a sentence each."""
    for name, tensor in wanted.items():
        ours = ", ".join(map(_spelled, tensor.parts))
        if name not in found:
            yield f"missing: {name} {list(tensor.shape)}, for our {ours}"
            continue
        header = given[found[name]]
        if header.shape != tensor.shape:
            yield f"shape: {name} is {list(header.shape)}, expected {list(tensor.shape)} for our {ours}"
        if header.dtype not in DTYPES:
            yield f"dtype: {name} is {header.dtype}, expected one of {', '.join(DTYPES)}; dequantize it first"
    spare = {spelled for pair in names.ties for tie in pair for spelled in spellings(names, tie)}
    used = set(found.values()) | spare
    for name, header in given.items():
        if name not in used and not any(re.search(pattern, name) for pattern in names.ignored):
            yield f"unexpected: {name} {header}; no rule reads it"
