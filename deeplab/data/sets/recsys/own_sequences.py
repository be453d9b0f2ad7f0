"""A user's own events as the sequence of items of each user."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.core import blocks
from deeplab.core.errors import UserError
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.fields import Field
from deeplab.data.sets.recsys import histories
from deeplab.data.sets.recsys.events import OwnEvents
from deeplab.data.sets.recsys.movielens_ratings import based_on


@dataclasses.dataclass(frozen=True)
class OwnSequences(OwnEvents):
    """Items of each user in the order of time: the last for the test, the second last for validation.

    An example is a user: `sequence` [S] are the items so far, oldest first, then zeros; `target` is the next one, in
    training the third from the end. `count` [V] is the number of events of each item in training. Users with fewer than
    four events are in training alone. `data.features.interactions.next_items` makes questions of them. See
    `sets.recsys.one_line.interactions`.

    Args:
      source: Path of a CSV, TSV or Parquet file, a pandas data frame, or a dict of columns.
      user: Name of the column of the users.
      item: Name of the column of the items.
      time: Name of the column of the times; events of one time stay in the order of the rows.
      longest: Number of items before the target that are kept, the latest ones.
      missing: Texts that stand for a missing cell; an empty one always does.
    """

    source: Any
    user: str = "user"
    item: str = "item"
    time: str = "time"
    longest: int = 200
    missing: Sequence[Any] = ()
    name: str = "interactions"
    citation: str = ""

    def __post_init__(self) -> None:
        self.normalize_source()
        if self.longest < 1:
            raise UserError(f"longest is {self.longest}, expected 1 or more items")

    @property
    def value(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return ""

    @property
    def splits(self) -> Mapping[str, int]:
        sizes = [len(items) for items in self._seen]
        found = {split: len(histories.users_of(sizes, split)) for split in histories.AHEAD}
        if not found["test"]:
            raise UserError(
                f"none of the {len(sizes):,} users of {self._frame_of(self.source).where} has four events or more; "
                "expected a row for each event, and several events of a user"
            )
        return found

    @property
    def fields(self) -> Mapping[str, Field]:
        V, events = self.num_items, len(self.events.item)
        return {
            "user": Field((), "int32", 0, self.num_users),
            "catalogue": Field((), "int32", below=1),
            "sequence": Field((self._width,), "int32", below=V),
            "target": Field((), "int32", low=1, below=V),
            "count": Field((V,), "int32", below=events + 1, per="catalogue"),
        }

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        seen = self._seen
        users = 1 + histories.users_of([len(items) for items in seen], split)
        made = histories.leave_one_out(seen, split, self._width, self.num_items)
        return {"user": users.astype(np.int32), "catalogue": np.zeros(len(users), np.int32), **made}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """The histories of a user's file, as users outside the set: number 0. See `OwnEvents.histories`."""
        count = self.open("train", data_dir).arrays["count"][0]
        for name, history in self.histories(path).items():
            sequence = np.zeros(self._width, np.int32)
            recent = [item for item, _ in history][-self._width :]
            sequence[: len(recent)] = recent
            zero = np.zeros((), np.int32)
            yield name, {"user": zero, "catalogue": zero, "sequence": sequence, "count": count}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The items that rank highest, and the number of items that the ranking is based on."""
        return {
            "recommended": [self.items[int(item)] for item in prediction["top"] if item],
            "based on": based_on(int(prediction["num_known"]), "items"),
        }

    def show(self, batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[blocks.Card]:
        """Histories beside the recommended items, for a report; nothing where nothing is ranked."""
        return blocks.next_items(self.items, batch, predictions) if {"top", "rank"} <= predictions.keys() else []

    @functools.cached_property
    def _seen(self) -> list[np.ndarray]:
        return self.events.of_users(self.events.item)

    @property
    def _width(self) -> int:
        return min(self.longest, max(1, max(len(items) for items in self._seen) - 1))
