"""A user's own ratings or events in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deeplab.core.errors import UserError
from deeplab.data.sets.recsys.own_ratings import OwnRatings
from deeplab.data.sets.recsys.own_sequences import OwnSequences


def interactions(
    source: Any,
    user: str = "user",
    item: str = "item",
    value: str = "",
    time: str = "",
    *,
    test: float = 0.2,
    validation: float = 0.0,
    fold: int = 0,
    seed: int = 0,
    longest: int = 200,
    missing: Sequence[Any] = (),
) -> OwnRatings | OwnSequences:
    """Ratings, where there is a `value`, and else the sequence of each user's items, in the order of `time`.

    Users and items are names or numbers, and keep them: lists of recommended items hold names. `num_items` and
    `num_users` are for models, with number 0, which is padding, or a user outside the set.

    Args:
      source: Path of a CSV, TSV or Parquet file with a row for each event, a pandas data frame, or a dict of columns.
      user: Name of the column of the users.
      item: Name of the column of the items.
      value: Name of the column of the ratings, for `dl.tasks.RatingPrediction`.
      time: Name of the column of the times: numbers or dates. Sequences need it, for `dl.tasks.Ranking`: the last item
        of each user is in the test split, the second last in "validation". Of ratings the latest are tested.
      test: Share of each user's ratings in the split "test", in (0, 1); drawn by `seed` where there is no `time`.
      validation: Share of each user's ratings in the split "validation", in [0, 1).
      fold: Index of the part of the ratings that is the test split: 0 to 4 hold each once, where `test` is 0.2.
      seed: Seed of the shuffle before the split of ratings.
      longest: Number of items of a sequence that are kept, the latest ones.
      missing: Texts that stand for a missing cell; an empty one always does.

    Raises:
      UserError: the source cannot be read, a column or a cell is missing, or a split is empty.

    Example:
      >>> log = {"who": [*"aaaabbbb"], "what": ["tea", "milk", "jam", "egg"] * 2, "at": [*range(8)]}
      >>> bought = interactions(log, "who", "what", time="at")
      >>> bought.items, dict(bought.splits)
      (('', 'egg', 'jam', 'milk', 'tea'), {'train': 2, 'validation': 2, 'test': 2})
      >>> rated = interactions(log | {"stars": [1, 2, 3, 4] * 2}, "who", "what", "stars", test=0.25)
      >>> dict(rated.splits), rated.fields["known"].shape
      ({'train': 2, 'test': 2}, (5,))
    """
    if value:
        return OwnRatings(source, user, item, value, time, test, validation, fold, seed, missing)
    if not time:
        raise UserError(
            'interactions need a value or a time; give value="rating" for ratings, or time="date" for the sequence of '
            "each user's items"
        )
    if (test, validation, fold, seed) != (0.2, 0.0, 0, 0):
        raise UserError(
            "test, validation, fold and seed are for ratings; of a sequence the last item is the test, and the second "
            "last is for validation"
        )
    return OwnSequences(source, user, item, time, longest, missing)
