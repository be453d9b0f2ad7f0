"""What was read from a table, to print."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from deeplab.core.printable import Printable
from deeplab.data.prepare.frames import Frame, text_of

_SHOWN = 3  # first rows, and names of categories


@dataclasses.dataclass(frozen=True)
class TableSummary(Printable):
    """What was read from a table.

    Attributes:
      frame: The columns as they were given.
      kinds: What each column is: "number", "category", "date", "target", "class", "ignored", ...
      sizes: Number of rows of each split.
      class_names: Names of the classes, if the target has any.
      notes: What may be wrong with the table.
    """

    frame: Frame
    kinds: Mapping[str, str]
    sizes: Mapping[str, int]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        shown = Table("column", "kind", "missing", "values", "first rows", box=None)
        for name, kind in self.kinds.items():
            missing = int(self.frame.missing(name).sum())
            first = ", ".join(_cell(cell) for cell in self.frame.columns[name][:_SHOWN])
            shown.add_row(name, kind, f"{missing:,}" if missing else "", self._values(name, kind), first)
        splits = f" ({', '.join(f'{split} {size:,}' for split, size in self.sizes.items())})" if self.sizes else ""
        classes = f"; classes {', '.join(self.class_names)}" if self.class_names else ""
        head = f"{self.frame.where}: {len(self.frame):,} rows{splits}{classes}"
        return Group(head, shown, *(f"note: {note}" for note in self.notes))

    def _values(self, name: str, kind: str) -> str:
        """The range of numbers and dates; the number of distinct texts, and the most frequent ones."""
        if kind in ("number", "target", "date"):
            values = self.frame.dates(name) if kind == "date" else self.frame.numbers(name)
            present = values[~self.frame.missing(name)]
            return f"{_cell(present.min())} to {_cell(present.max())}" if len(present) else ""
        cells = [cell for cell in self.frame.texts(name).tolist() if cell is not None]
        distinct, counts = np.unique(np.array(cells, str), return_counts=True)
        most = distinct[np.argsort(-counts, kind="stable")][:_SHOWN]
        return f"{len(distinct):,}: {', '.join(most)}{', ...' if len(distinct) > _SHOWN else ''}"


def _cell(cell: Any) -> str:
    if cell is None or (isinstance(cell, np.datetime64) and np.isnat(cell)):
        return "missing"
    if isinstance(cell, np.datetime64):
        return str(cell).replace("T00:00:00", "")
    return f"{cell:.6g}" if isinstance(cell, float | np.floating) else text_of(cell)
