"""A user's own ratings as a row of ratings for each user."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from deeplab.core import blocks
from deeplab.core.errors import UserError
from deeplab.data.base import Source
from deeplab.data.prepare.frames import Frame
from deeplab.data.prepare.originals import Content
from deeplab.data.sets import fields as field_checks
from deeplab.data.sets.fields import Field
from deeplab.data.sets.recsys.events import OwnEvents
from deeplab.data.sets.recsys.movielens_ratings import based_on
from deeplab.data.sets.tabular import splitting


@dataclasses.dataclass(frozen=True)
class OwnRatings(OwnEvents):
    """Ratings of V items by each user: those that are known, and those to predict.

    An example is a user: `known` and `rating` [V] are the ratings by the item's number, with the masks `given` and
    `rated` [V]. In training both are the user's ratings in the training part, and
    `data.features.interactions.hide_ratings` chooses which to hide. `profile` [1] and `features` [V, 1] are 0: nothing
    else is known of users and items. Stored are the ratings alone. See `sets.recsys.one_line.interactions`.

    Of an item that a user has rated twice, the latest rating counts (without `time`, that of the last row).

    Args:
      source: Path of a CSV, TSV or Parquet file, a pandas data frame, or a dict of columns.
      user: Name of the column of the users.
      item: Name of the column of the items.
      value: Name of the column of the ratings.
      time: Name of the column of the times. With it, the test split holds the latest ratings of each user, and without
        it a random share of them.
      test: Share of each user's ratings in the split "test", in (0, 1).
      validation: Share of each user's ratings in the split "validation", in [0, 1); with `time` those before.
      fold: Index of the part that is the test split, without `time`: 0 to 4 hold each rating once, where `test` is 0.2.
      seed: Seed of the shuffle before the split.
      missing: Texts that stand for a missing cell; an empty one always does.
    """

    source: Any
    user: str = "user"
    item: str = "item"
    value: str = "rating"
    time: str = ""
    test: float = 0.2
    validation: float = 0.0
    fold: int = 0
    seed: int = 0
    missing: Sequence[Any] = ()
    name: str = "interactions"
    citation: str = ""

    def __post_init__(self) -> None:
        self.normalize_source()
        splitting.shares(self.test, self.validation, self.fold)
        if self.fold and self.time:
            raise UserError(
                f"fold is {self.fold} with time={self.time!r}; the latest ratings are one part: leave fold at 0"
            )

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that the models of ratings read: `dl.tasks.RatingPrediction(fields=...)`."""
        return ("user", "known", "profile", "features", "given")

    @property
    def low(self) -> float:
        """Lowest rating of the training part."""
        return float(self._made.value[self._made.rows["train"]].min())

    @property
    def high(self) -> float:
        """Highest rating of the training part."""
        return float(self._made.value[self._made.rows["train"]].max())

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(np.unique(self._made.user[rows])) for split, rows in self._made.rows.items()}

    @property
    def fields(self) -> Mapping[str, Field]:
        V = self.num_items
        row, mask = Field((V,)), Field((V,), "bool")
        return {
            "user": Field((), "int32", 0, self.num_users),
            "profile": Field((1,), "int8", below=1),
            "features": Field((V, 1), "int8", below=1),
            "known": row, "given": mask, "rating": row, "rated": mask,
        }  # fmt: skip

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        """`user` [N], and the numbers and values of the known and the held-out ratings, [N, K] each, padded with 0."""
        made = self._made
        users, held = np.unique(made.user[made.rows[split]]), made.rows[split]
        items, values = _padded(made, made.rows["train"], users)
        held_items, held_values = (items, values) if split == "train" else _padded(made, held, users)
        lists = {"items": items, "values": values, "held_items": held_items, "held_values": held_values}
        return {"user": users.astype(np.int32), **lists}

    def fetch(self, source: Source, ids: Any) -> dict[str, Any]:
        arrays = {name: array[ids] for name, array in source.arrays.items()}
        known, given = _rows(arrays["items"], arrays["values"], self.num_items)
        rating, rated = _rows(arrays["held_items"], arrays["held_values"], self.num_items)
        known_to_predict = {"known": known, "given": given, "rating": rating, "rated": rated}
        return {"user": arrays["user"], **self._nothing(len(ids)), **known_to_predict}

    def check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            below = self.num_users if name == "user" else None if "values" in name else self.num_items
            where = f"split {split!r} of {self.name}"
            field_checks.check_values(name, Field((), array.dtype.name, 0, below), array, where)

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """The ratings of a user's file, as users outside the set: number 0. See `OwnEvents.histories`."""
        for name, history in self.histories(path).items():
            items, values = (np.array([pair[k] for pair in history])[None] for k in (0, 1))
            known, given = _rows(items.astype(np.int32), values.astype(np.float32), self.num_items)
            nothing = {name: array[0] for name, array in self._nothing(1).items()}
            yield name, {"user": np.zeros((), np.int32), **nothing, "known": known[0], "given": given[0]}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The items with the highest predicted ratings, and the number of ratings that they are predicted from."""
        ranked = zip(prediction["top"], prediction["top_rating"], strict=True)
        return {
            "recommended": [f"{self.items[int(item)]}: {float(rating):.2f}" for item, rating in ranked if item],
            "based on": based_on(int(prediction["num_known"]), "ratings"),
        }

    def show(self, batch: Mapping[str, Any], predictions: Mapping[str, Any]) -> list[blocks.Card]:
        """Ratings beside the recommended items, for a report; nothing where no rating is predicted."""
        told = {"top", "top_rating", "loss"} <= predictions.keys()
        return blocks.rated_items(self.items, batch, predictions) if told else []

    def _nothing(self, size: int) -> dict[str, np.ndarray]:
        return {"profile": np.zeros((size, 1), np.int8), "features": np.zeros((size, self.num_items, 1), np.int8)}

    @functools.cached_property
    def _made(self) -> _Made:
        return _made(self, self._frame_of(self.source))


class _Made(NamedTuple):
    """Ratings, each user and item once, [N] each, and which of them are in each split."""

    user: np.ndarray
    item: np.ndarray
    value: np.ndarray
    rows: splitting.Rows


@functools.lru_cache(maxsize=8)
def _made(dataset: OwnRatings, frame: Frame) -> _Made:
    """Cuts the splits, and keeps them: a function of hyper-parameters is called often."""
    events = dataset.events
    pairs = events.user * len(events.items) + events.item
    latest = len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]  # one of each pair, and sorted by user
    user, item, value = (column[latest] for column in (events.user, events.item, events.value))
    shares = splitting.shares(dataset.test, dataset.validation, dataset.fold)
    if dataset.time:
        order = np.lexsort((latest, user))  # events are in the order of time within a user
        size, first = np.bincount(user)[user[order]], np.searchsorted(user[order], user[order])
        after = size - (np.arange(len(order)) - first)  # 1 for the latest of a user
        part = np.zeros(len(order), np.int64)
        for number, share in reversed([*enumerate(np.cumsum([*shares.values()]), start=1)]):
            part[order[after <= np.round(share * size)]] = number
    else:
        part = splitting.by_chance(user, shares, dataset.fold, dataset.seed)
    rows = {name: np.flatnonzero(part == number) for number, name in enumerate(("train", *shares))}
    if empty := [name for name, chosen in rows.items() if not len(chosen)]:
        raise UserError(f"split {empty[0]!r} of {frame.where} gets none of {len(user):,} ratings; give other shares")
    return _Made(user, item, value, rows)


def _padded(made: _Made, rows: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items and values of these rows of each user, [N, K] each, then zeros."""
    rows = rows[np.isin(made.user[rows], users)]
    place = np.searchsorted(users, made.user[rows])  # sorted, as the rows are
    rank = np.arange(len(rows)) - np.searchsorted(place, place)
    shape = len(users), 1 + max(rank, default=0)
    items, values = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    items[place, rank], values[place, rank] = made.item[rows], made.value[rows]
    return items, values


def _rows(items: Any, values: Any, size: int) -> tuple[Any, Any]:
    """Ratings [B, V] and their mask, from lists [B, K] of items and values that are padded by item 0."""
    if isinstance(items, np.ndarray):
        known, given = np.zeros((len(items), size), np.float32), np.zeros((len(items), size), bool)
        np.put_along_axis(known, items, values, axis=1)
        np.put_along_axis(given, items, items > 0, axis=1)
        return known, given
    user = jnp.arange(len(items))[:, None]
    known = jnp.zeros((len(items), size), jnp.float32).at[user, items].set(values)
    return known, jnp.zeros((len(items), size), bool).at[user, items].set(items > 0)
