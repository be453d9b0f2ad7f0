"""What a set holds, to print: its splits, fields, classes and first examples, and what may be wrong with them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core.printable import Printable
from deeplab.data.sets.fields import Field
from deeplab.data.sets.leaks import digests, equal_examples, shared_groups

_CHUNK = 2**24  # bytes of examples in memory at once
_STORED, _MADE = 2**32, 2**28  # bytes of a split that are looked at: of arrays, and of examples that are made from them
_SHOWN = 3  # first examples
_CLASSES = 40  # classes with a row each
_UNEQUAL = 20  # times as many examples that the largest class has as the smallest
_TARGETS = frozenset({"boxes", "classes", "ignored", "label", "label_length", "mask", "target"})

Fetch = Callable[[Any, np.ndarray], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class SetSummary(Printable):
    """What a set holds.

    Attributes:
      name: Name of the set.
      sizes: Number of examples of each split; bytes of running text.
      rows: Name, shape and dtype, range, and values of the first examples, of each field.
      counts: Number of examples (of masks, of pixels; of transcripts, of characters; of boxes) of each class in each
        split.
      notes: What may be wrong.
      unit: What the sizes count.
    """

    name: str
    sizes: Mapping[str, int]
    rows: Sequence[tuple[str, str, str, str]] = ()
    counts: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unit: str = "examples"

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        parts: list[Any] = [f"{self.name}: " + ", ".join(f"{s} {n:,} {self.unit}" for s, n in self.sizes.items())]
        if self.rows:
            fields = Table("field", "shape", "range", "first examples", box=None)
            for row in self.rows:
                fields.add_row(*row)
            parts.append(fields)
        if self.counts:
            classes = Table("class", *self.sizes, box=None)
            shown = [*self.counts.items()]
            for name, each in shown[:_CLASSES]:
                classes.add_row(name, *(f"{each.get(split, 0):,}" for split in self.sizes))
            if len(shown) > _CLASSES:
                classes.add_row(f"and {len(shown) - _CLASSES} more")
            parts.append(classes)
        return Group(*parts, *(f"note: {note}" for note in self.notes))


@dataclasses.dataclass
class _Seen:
    """What was found in one split, chunk by chunk."""

    looked_at: int = 0
    low: dict[str, Any] = dataclasses.field(default_factory=dict)
    high: dict[str, Any] = dataclasses.field(default_factory=dict)
    flat: dict[str, int] = dataclasses.field(default_factory=dict)
    counts: Any = 0
    digests: list[np.ndarray] = dataclasses.field(default_factory=list)
    first: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def summarize(
    name: str,
    sizes: Mapping[str, int],
    fields: Mapping[str, Field],
    class_names: Sequence[str],
    sources: Mapping[str, Any],
    fetch: Fetch,
    groups: Mapping[str, Any],
) -> SetSummary:
    """What a set holds; only a few megabytes of it are in memory at once.

    Args:
      name: Name of the set.
      sizes: Number of examples of each split.
      fields: The arrays of an example.
      class_names: Names of the classes.
      sources: Opened splits.
      fetch: Function from an opened split and numbers of examples to their fields.
      groups: Group of each example of each split, where the set knows them.
    """
    seen = {split: _look(source, sizes[split], fields, class_names, fetch) for split, source in sources.items()}
    first = seen.get("train") or next(iter(seen.values()))
    rows = [
        (
            field,
            f"{np.dtype(f.dtype)}{list(f.shape)}",
            _range(seen.values(), field),
            ", ".join(first.first.get(field, ())),
        )
        for field, f in fields.items()
    ]
    counted = {split: one.counts for split, one in seen.items() if np.ndim(one.counts)}
    counts = {c: {split: int(n[k]) for split, n in counted.items()} for k, c in enumerate(class_names) if counted}
    looked = [
        f"the first {one.looked_at:,} of {sizes[split]:,} examples of split {split!r} were looked at"
        for split, one in seen.items()
        if one.looked_at < sizes[split]
    ]
    told = {split: np.concatenate(one.digests) for split, one in seen.items() if one.digests}
    notes = [*looked, *equal_examples(told), *shared_groups(groups), *_constant(first, fields)]
    if not _of_characters(fields, class_names):
        notes += _unequal(counts)
    return SetSummary(name, dict(sizes), rows, counts, tuple(notes))


def _look(source: Any, size: int, fields: Mapping[str, Field], class_names: Sequence[str], fetch: Fetch) -> _Seen:
    """Looks at the examples of a split, chunk by chunk."""
    seen = _Seen()
    each = sum(math.prod(f.shape) * np.dtype(f.dtype).itemsize for f in fields.values()) or 1
    most = (_STORED if source.arrays.keys() == fields.keys() else _MADE) // each
    inputs, spelled = _inputs(fields), _of_characters(fields, class_names)
    for ids in _chunks(min(size, max(1, most)), max(1, _CHUNK // each)):
        batch = {name: np.asarray(value) for name, value in fetch(source, ids).items() if name in fields}
        for name, values in batch.items():
            shown = seen.first.setdefault(name, [])
            shown += [_cell(name, value, class_names, spelled) for value in values[: _SHOWN - len(shown)]]
            if values.dtype.kind in "iufb" and values.size:
                low, high = values.min(), values.max()
                seen.low[name], seen.high[name] = (
                    min(low, seen.low.get(name, low)),
                    max(high, seen.high.get(name, high)),
                )
            if name in inputs and values[0].size >= 16:
                rows = values.reshape(len(values), -1)
                seen.flat[name] = seen.flat.get(name, 0) + int((rows.min(axis=1) == rows.max(axis=1)).sum())
            if (counts := _counts(name, fields[name], values, len(class_names))) is not None:
                seen.counts = seen.counts + counts
        if inputs:
            seen.digests.append(digests([batch[name] for name in inputs]))
        seen.looked_at += len(ids)
    return seen


def _chunks(size: int, rows: int) -> Iterator[np.ndarray]:
    for start in range(0, size, rows):
        yield np.arange(start, min(start + rows, size), dtype=np.int32)


def _inputs(fields: Mapping[str, Field]) -> list[str]:
    """The fields that make an example what it is: arrays, else single numbers, without targets."""
    named = [name for name, field in fields.items() if name not in _TARGETS and field.per is None]
    return [name for name in named if fields[name].shape] or named


def _of_characters(fields: Mapping[str, Field], class_names: Sequence[str]) -> bool:
    """Whether labels are rows of tokens, of which 0 is none."""
    label = fields.get("label")
    return label is not None and label.below == len(class_names) + 1 and len(label.shape) == 1


def _counts(name: str, field: Field, values: np.ndarray, classes: int) -> np.ndarray | None:
    """Number of examples, pixels, tokens or objects of each class, [K]; None for a field that is no class."""
    if classes and name == "classes" and field.low < 0 and values.dtype.kind == "i":
        return np.bincount(values[values >= 0], minlength=classes)[:classes]
    if not classes or name not in ("label", "mask"):
        return None
    if field.dtype == "bool":
        return values.sum(axis=0) if field.shape == (classes,) else None
    if values.dtype.kind not in "iu" or field.below not in (classes, classes + 1):
        return None
    found = np.bincount(values.reshape(-1), minlength=classes + 1)
    return found[1:] if name == "label" and field.below > classes else found[:classes]


def _cell(name: str, value: np.ndarray, class_names: Sequence[str], spelled: bool) -> str:
    if name == "label" and class_names:
        if value.dtype == bool and value.shape == (len(class_names),):
            return "+".join(c for c, there in zip(class_names, value, strict=True) if there) or "none"
        if spelled:
            return repr("".join(class_names[int(token) - 1] for token in value if token))
        if not value.ndim and value.dtype.kind in "iu" and 0 <= value < len(class_names):
            return class_names[int(value)]
    if name == "classes" and class_names and value.dtype.kind == "i":
        counts = np.bincount(value[value >= 0], minlength=len(class_names))
        return "+".join(f"{n} {c}" for c, n in zip(class_names, counts, strict=False) if n) or "none"
    if not value.ndim:
        return f"{value:.6g}" if value.dtype.kind == "f" else str(value)
    return f"mean {np.abs(value).mean() if value.dtype.kind == 'c' else value.mean(dtype=np.float64):.4g}"


def _range(seen: Any, name: str) -> str:
    low = [one.low[name] for one in seen if name in one.low]
    high = [one.high[name] for one in seen if name in one.high]
    return f"{min(low):.6g} to {max(high):.6g}" if low and not isinstance(low[0], np.bool_) else ""


def _constant(train: _Seen, fields: Mapping[str, Field]) -> list[str]:
    same = [name for name in _inputs(fields) if name in train.low and train.low[name] == train.high[name]]
    notes = [f"{name!r} is {train.low[name]} in all training examples" for name in same]
    return notes + [
        f"{count:,} training examples have a {name!r} of one value only"
        for name, count in train.flat.items()
        if count and name not in same
    ]


def _unequal(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Notes on classes without training examples, and on classes of very unequal size."""
    train = {name: each["train"] for name, each in counts.items() if "train" in each}
    untaught = [name for name, count in train.items() if not count]
    notes = [f"classes without training examples: {', '.join(untaught[:10])}"] * bool(untaught)
    taught = {name: count for name, count in train.items() if count}
    if len(taught) > 1:
        few, many = min(taught, key=taught.__getitem__), max(taught, key=taught.__getitem__)
        if taught[many] >= _UNEQUAL * taught[few]:
            ratio = taught[many] / taught[few]
            notes.append(
                f"class {many!r} is {ratio:,.0f} times as frequent as {few!r}; class_weights of the task count"
            )
    return notes
