"""The data of a run in its record: the content of each split, and the names that its numbers stand for."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from deeplab.core.errors import UserError
from deeplab.data.base import Data, Source
from deeplab.data.digest import digest
from deeplab.runs.non_primary import NonPrimaryRun
from deeplab.runs.record import Run

_SHOWN = 8  # differing classes that a message lists


@runtime_checkable
class HasVocabulary(Protocol):
    """Data sets of tokens, with a vocabulary that decodes them to text."""

    def open_vocabulary(self, data_dir: Path | None = None) -> Any: ...


def class_names(data: Data) -> tuple[str, ...]:
    """Names of the classes of a data set, in order; () if it has none."""
    return tuple(map(str, getattr(data, "class_names", None) or ()))


def described(data: Data, sources: Mapping[str, Source], data_dir: Path | None = None) -> dict[str, Any]:
    """What the record of a run holds of its data.

    Args:
      data: Data set.
      sources: Opened splits, by name.
      data_dir: Folder with the original files.

    Returns:
      JSON values: `class_names`, and `data` with the `splits` (number of `examples` and `digest` of each) and the
      identity of the `vocabulary`, which is null if there is none.
    """
    vocabulary = data.open_vocabulary(data_dir).key if isinstance(data, HasVocabulary) else None
    return {
        "class_names": class_names(data) or None,
        "data": {"splits": {name: _split(data, one) for name, one in sources.items()}, "vocabulary": vocabulary},
    }


def _split(data: Data, source: Source) -> dict[str, Any]:
    return {"examples": source.size, "digest": digest(data, source)}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Differences between the data of a run's record and those of `described`, one line each.

    What only one of the two holds is not compared: earlier versions recorded no content.

    Example:
      >>> changes({"class_names": ["cat", "dog"]}, {"class_names": ["cat", "wolf"]})
      ["class 1: 'dog', now 'wolf'"]
    """
    before, after = old.get("class_names") or (), new.get("class_names") or ()
    pairs = itertools.zip_longest(before, after) if before and after else ()
    lines = [f"class {k}: {a!r}, now {b!r}" for k, (a, b) in enumerate(pairs) if a != b]
    lines = lines[:_SHOWN] + [f"and {len(lines) - _SHOWN} more classes"] * (len(lines) > _SHOWN)
    was, now = (each.get("data") or {} for each in (old, new))
    if was.get("vocabulary") and now.get("vocabulary") and was["vocabulary"] != now["vocabulary"]:
        lines.append(f"vocabulary: {was['vocabulary']}, now {now['vocabulary']}")
    splits = was.get("splits") or {}, now.get("splits") or {}
    for split in [name for name in splits[0] if name in splits[1] and splits[0][name] != splits[1][name]]:
        a, b = (f"{each[split]['examples']:,} examples with digest {each[split]['digest']}" for each in splits)
        lines.append(f"split {split!r}: {a}, now {b}")
    return lines


def check_training(
    run: Run | NonPrimaryRun,
    data: Data,
    sources: Mapping[str, Source],
    data_dir: Path | None = None,
    *,
    allow_change: bool = False,
) -> None:
    """Refuses to go on with a run whose data have changed, and records the data; in process 0 only.

    Args:
      run: Opened run.
      data: Data set of this session.
      sources: Opened splits, by name.
      data_dir: Folder with the original files.
      allow_change: Whether the run goes on with the changed data, with a warning.

    Raises:
      UserError: A split, a class or the vocabulary differs.
    """
    if isinstance(run, NonPrimaryRun):
        return
    now = described(data, sources, data_dir)
    lines = changes(run.manifest, now)
    table = "\n".join(f"  {line}" for line in lines)
    if lines and not allow_change:
        raise UserError(
            f"{run.directory} holds a run on other data:\n{table}\nNothing was trained. Restore the data, continue "
            "with the changed data by --allow-change, start again by --fresh (the old run is moved aside, not "
            "deleted), or give another --run-dir (in Python: allow_change=True, fresh=True, run_dir=)"
        )
    if lines:
        warnings.warn(f"{run.directory} continues with other data than before:\n{table}", stacklevel=3)
    run.update(now)


def check_loaded(directory: Path, manifest: Mapping[str, Any], data: Data, data_dir: Path | None = None) -> None:
    """Refuses data whose numbers cannot stand for those of the run: another number of classes, or another vocabulary.

    Classes of other names are no error here, because a run tells its own names.
    """
    old, new = tuple(manifest.get("class_names") or ()), class_names(data)
    if old and new and len(old) != len(new):
        raise UserError(
            f"{directory} was trained with the {len(old)} classes {', '.join(old)}, and the data now have the "
            f"{len(new)} classes {', '.join(new)}; restore the data, or train again"
        )
    key = (manifest.get("data") or {}).get("vocabulary")
    if key and isinstance(data, HasVocabulary) and (found := data.open_vocabulary(data_dir).key) != key:
        raise UserError(
            f"{directory} was trained with the vocabulary {key}, and the data now have {found}, whose tokens stand for "
            "other text; restore the data, or train again"
        )


def check_evaluated(
    directory: Path, manifest: Mapping[str, Any], data: Data, split: str, source: Source
) -> dict[str, Any]:
    """Refuses to evaluate on classes of other names than the run's, and warns of a split that has changed.

    Returns:
      What identifies the split: number of `examples` and `digest`.

    Raises:
      UserError: The classes differ in name or order; the message lists both.
    """
    old, new = tuple(manifest.get("class_names") or ()), class_names(data)
    if old and new and old != new:
        raise UserError(
            f"{directory} was trained with the classes {', '.join(old)}, and the data now have {', '.join(new)}: one "
            "class would be counted as another. Give the classes the names and the order of the run, or train again"
        )
    found = _split(data, source)
    if lines := changes({"data": manifest.get("data")}, {"data": {"splits": {split: found}}}):
        warnings.warn(
            f"{directory}: the data have changed since the run ({lines[0]}); these are metrics of the data of today",
            stacklevel=3,
        )
    return found
