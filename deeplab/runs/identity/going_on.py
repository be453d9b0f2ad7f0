"""Whether a run directory holds this very run, so that a session may go on with it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deeplab.core.errors import UserError
from deeplab.runs.identity import provenance


def check_same_run(
    directory: Path, old: Mapping[str, Any], new: Mapping[str, Any], source: str, allow_change: bool
) -> None:
    """Refuses to continue the run in the directory with different arguments or a different source."""
    path = directory / "source.py"
    table = provenance.differences(
        old, new, path.read_text(errors="replace", encoding="utf-8") if path.exists() else source, source
    )
    if table and not allow_change:
        raise UserError(
            f"{directory} holds a run with other settings:\n{table}\n"
            "Nothing was changed. Continue it with the new settings by --allow-change, start again by --fresh (the old "
            "run is moved aside, not deleted), or give another --run-dir (in Python: allow_change=True, "
            "fresh=True, run_dir=)"
        )
    if table:
        warnings.warn(f"{directory} continues with other settings than before:\n{table}", stacklevel=4)
    if "measured" in new and "measured" not in old:
        warnings.warn(
            f"{directory} was begun by an earlier version, which did not record what a study measures: its rows are "
            f"told as those of the split {new['measured']['split']!r} by {new['measured']['probe']}",
            stacklevel=4,
        )
    warn_of_bit_changes(old, new)


def warn_of_bit_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Warns if a resumed run is not bitwise equal to an uninterrupted one, see `provenance.bit_changes`."""
    changes = provenance.bit_changes(old, new)
    if changes:
        warnings.warn(
            f"the run was begun with {', '.join(changes)}: it continues with the same examples in the same order, but "
            "is not bitwise equal to an uninterrupted run",
            stacklevel=4,
        )
