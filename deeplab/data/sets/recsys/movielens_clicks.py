"""MovieLens 100K as clicks in the order of time: did the user rate the film 4 or better?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from deeplab.data.prepare.files import Original
from deeplab.data.prepare.originals import Content
from deeplab.data.sets import fields as field_checks
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field
from deeplab.data.sets.recsys import movielens

_LIKED = 4
_GENRES = 6  # the most of a film
_DAY = 86_400
_PRIOR = 3.0, 5.0  # rating that a mean of few ratings is drawn to, and the number of ratings that it counts as
_YEARS = len(movielens.YEARS) + 1
_FIELDS: dict[str, tuple[int, int]] = {  # ids, and ids of an example
    "user": (movielens.NUM_USERS, 1),
    "film": (movielens.NUM_FILMS, 1),
    "gender": (2, 1),
    "occupation": (len(movielens.OCCUPATIONS), 1),
    "zip": (11, 1),  # its first digit; 10 for a Canadian letter
    "year": (_YEARS + 1, 1),
    "hour": (24, 1),
    "weekday": (7, 1),
    "genres": (19, _GENRES),
}
NUMBERS = ("age", "user_count", "user_mean", "user_pause", "film_count", "film_mean", "film_pause", "film_age")


@dataclasses.dataclass(frozen=True)
class MovieLensClicks(ExampleSet):
    """100,000 ratings as clicks: `label` [1] is 1 where the rating is 4 or 5.

    The parts are cut by time, at 80 and 90 % of the ratings, as a model that is in use meets them: it learns from the
    past and predicts the future. GroupLens' own divisions are random, and would let a model learn from what users did
    later. Five of six ratings to predict are of users whom the training part does not have.

    `categories` [14] are the ids of `cardinalities`' fields: user and film, both -1 where the training part does not
    have them; gender, occupation, first digit of the zip code, group of years of the film's release, hour and weekday
    (UTC), and up to six genres, -1 where there are fewer. `numbers` [8] are those of `NUMBERS`, standardized by the
    training part: the age; of the user and of the film the logarithm of the number of earlier ratings, their mean, and
    the logarithm of the time since the last; the age of the film. Earlier ratings are those of earlier seconds.

    Args:
      parts: Number of ratings of each part, the earliest first; no second is in two parts.
    """

    parts: tuple[int, int, int] = (79_999, 10_001, 10_000)

    name: str = "movielens_100k_clicks"
    version: str = "1.0.0"
    citation: str = movielens.CITATION
    files: tuple[Original, ...] = (movielens.ARCHIVE,)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of ids of each categorical field."""
        return tuple(size for size, _ in _FIELDS.values())

    @property
    def slots(self) -> tuple[int, ...]:
        """Number of ids of each categorical field in an example."""
        return tuple(slots for _, slots in _FIELDS.values())

    @property
    def splits(self) -> Mapping[str, int]:
        return dict(zip(("train", "validation", "test"), self.parts, strict=True))

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "numbers": Field((len(NUMBERS),)),
            "categories": Field((sum(self.slots),), "int32", -1, movielens.NUM_FILMS),
            "label": Field((1,), "int8", below=2),
        }

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        members = content.members("ml-100k.zip")
        lines = movielens.ratings(members["u.data"])
        lines = lines[np.argsort(lines[:, 3], kind="stable")]
        user, film, rating, time = lines.T
        ages, users = _users(members["u.user"])
        released, films = _films(members["u.item"])
        age = np.log1p(np.maximum(time - released[film], 0) / _DAY)
        numbers = np.stack([ages[user], *past(user, rating, time), *past(film, rating, time), age], axis=1)
        learned, kept = slice(self.parts[0]), self._rows(split)
        known = [np.where(np.isin(ids, ids[learned]), ids, -1) for ids in (user, film)]
        train = numbers[learned]
        clock = np.stack([time % _DAY // 3600, (time // _DAY + 3) % 7], axis=1)  # 1970 began on a Thursday
        categories = np.concatenate(
            [np.stack(known, axis=1), users[user], films[film, :1], clock, films[film, 1:]], axis=1
        )
        return {
            "numbers": ((numbers - train.mean(axis=0)) / train.std(axis=0))[kept].astype(np.float32),
            "categories": categories[kept].astype(np.int32),
            "label": (rating >= _LIKED)[kept, None].astype(np.int8),
        }

    def check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        super().check(split, arrays)
        columns = np.repeat([*_FIELDS], self.slots)
        for name, ids in zip(columns, arrays["categories"].T, strict=True):
            where = f"'categories' of split {split!r} of {self.name}"
            field_checks.check_values(name, Field((), "int32", -1, _FIELDS[name][0]), ids, where)

    def _rows(self, split: str) -> slice:
        first = sum(self.parts[: [*self.splits].index(split)])
        return slice(first, first + self.splits[split])


def past(
    whose: Int[ndarray, " N"], rating: Int[ndarray, " N"], time: Int[ndarray, " N"]
) -> tuple[Float[ndarray, " N"], Float[ndarray, " N"], Float[ndarray, " N"]]:
    """What is known of a user, or of a film, at each of their ratings: from earlier seconds alone.

    Args:
      whose: Number of the user or film of each rating.
      rating: Ratings.
      time: Seconds of the ratings, in ascending order.

    Returns:
      log(1 + n) of the number n of the earlier ratings; their mean, drawn to 3 by five ratings of it; and log(1 + t) of
      the seconds t since the last of them, 0 where there is none.

    Example:
      >>> count, mean, pause = past(np.array([1, 1, 1]), np.array([5, 5, 1]), np.array([10, 10, 12]))
      >>> np.expm1(count).round(6).tolist(), mean.round(3).tolist(), np.expm1(pause).round(6).tolist()
      ([0.0, 0.0, 2.0], [3.0, 3.0, 3.571], [0.0, 0.0, 2.0])
    """
    order = np.lexsort((time, whose))
    owner, score, when = whose[order], rating[order], time[order]
    at = np.arange(len(order))
    new = np.ones(len(order), bool)
    new[1:] = owner[1:] != owner[:-1]
    begin = np.maximum.accumulate(np.where(new, at, 0))  # of the owner
    new[1:] |= when[1:] != when[:-1]
    second = np.maximum.accumulate(np.where(new, at, 0))  # of the ratings of that second
    total = np.concatenate([[0], np.cumsum(score)])
    count = second - begin
    prior, strength = _PRIOR
    mean = (total[second] - total[begin] + prior * strength) / (count + strength)
    pause = np.where(count > 0, when - when[np.maximum(second - 1, 0)], 0)
    back = np.empty_like(order)
    back[order] = at
    return np.log1p(count)[back], mean[back], np.log1p(pause)[back]


def _users(content: bytes) -> tuple[Float[ndarray, " U"], Int[ndarray, "U 3"]]:
    """Ages, and the ids of gender, occupation and zip code."""
    ages, ids = np.zeros(movielens.NUM_USERS), np.zeros((movielens.NUM_USERS, 3), np.int64)
    for line in content.decode("latin-1").split("\n"):
        if line:
            number, age, gender, occupation, code = line.split("|")
            digit = int(code[0]) if code[0].isdigit() else 10
            ages[int(number)] = int(age)
            ids[int(number)] = gender == "M", movielens.OCCUPATIONS.index(occupation), digit
    return ages, ids


def _films(content: bytes) -> tuple[Shaped[ndarray, " V"], Int[ndarray, "V 7"]]:
    """Seconds of the release, and the ids of the group of years and of the genres."""
    released = np.zeros(movielens.NUM_FILMS, np.int64)
    ids = np.full((movielens.NUM_FILMS, 1 + _GENRES), -1, np.int64)
    for line in content.decode("latin-1").split("\n"):
        if line:
            number, _, date, _, _, *genres = line.split("|")
            year = int(date[-4:]) if date else 0
            released[int(number)] = (np.datetime64(str(year or 1998), "s") - np.datetime64(0, "s")).astype(np.int64)
            ids[int(number), 0] = 1 + np.searchsorted(movielens.YEARS, year, side="right") if year else 0
            found = np.flatnonzero([int(g) for g in genres])
            ids[int(number), 1 : 1 + len(found)] = found
    return released, ids
