"""MovieLens 100K as a matrix of ratings with a row for each user."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.prepare.files import Original
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field
from deeplab.data.sets.recsys import movielens, movielens_files

Part = Literal["test", "validation"]

_TEST_USERS = {1: 459, 2: 653, 3: 869, 4: 923, 5: 927}  # with a rating in u1.test, ...
_VALIDATION_USERS = 471


@dataclasses.dataclass(frozen=True)
class MovieLensRatings(ExampleSet):
    """100,000 ratings of 1,682 films by 943 users, in one of GroupLens' five divisions into 80,000 and 20,000.

    An example is a user: `known` are the given ratings and `rating` the ratings to predict, [1683] each, 1 to 5 by the
    film's number and 0 where there is none. In training both are the user's ratings in the base part, and `prepare`
    chooses which to hide. In the test part `rating` holds the ratings that the base part lacks.

    A validation part for choosing recipes is cut from the base part as the tests are (a part of the users, and many of
    their ratings): two of five ratings of each user with an even number, in the order of the films.

    Args:
      fold: Division, 1 to 5: u1.base and u1.test, ...
      part: Part to evaluate on, a split of that name; "validation" is excluded from the training part.

    Raises:
      UserError: there is no such fold.

    Example:
      >>> MovieLensRatings(fold=2, part="validation").name
      'movielens_100k_u2_validation'
    """

    fold: int = 1
    part: Part = "test"
    version: str = "1.0.0"
    citation: str = movielens.CITATION
    files: tuple[Original, ...] = (movielens.ARCHIVE,)

    def __post_init__(self) -> None:
        if self.fold not in _TEST_USERS:
            raise UserError(f"MovieLens 100K has no fold {self.fold}, only 1 to 5")

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (one copy for each fold and part)
        return f"movielens_100k_u{self.fold}_{self.part}"

    @property
    def splits(self) -> Mapping[str, int]:
        held = _TEST_USERS[self.fold] if self.part == "test" else _VALIDATION_USERS
        return {"train": movielens.NUM_USERS - 1, self.part: held}

    @property
    def fields(self) -> Mapping[str, Field]:
        row = Field((movielens.NUM_FILMS,), "int8", below=6)
        return {**movielens.FIELDS, "known": row, "rating": row}

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        members = content.members("ml-100k.zip")
        known, held = self._divide(members)
        users = np.arange(1, movielens.NUM_USERS) if split == "train" else np.unique(held[:, 0])
        rating = known if split == "train" else held
        rows = {"known": _rows(known)[users], "rating": _rows(rating)[users]}
        return movielens.tables(members, users) | rows

    def _divide(self, members: Mapping[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Training and evaluation ratings: lines of [N, 4]."""
        base = movielens.ratings(members[f"u{self.fold}.base"])
        if self.part == "test":
            return base, movielens.ratings(members[f"u{self.fold}.test"])
        base = base[np.lexsort((base[:, 1], base[:, 0]))]
        users, first = np.unique(base[:, 0], return_index=True)
        rank = np.arange(len(base)) - first[np.searchsorted(users, base[:, 0])]  # within the user's ratings
        held = (base[:, 0] % 2 == 0) & (rank % 5 < 2)
        return base[~held], base[held]

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """A CSV file of films and ratings as a user outside the set: number 0, without a profile."""
        arrays = self.open(self.part, data_dir).arrays
        example = {name: np.zeros(field.shape, field.dtype) for name, field in self.fields.items() if name != "rating"}
        example |= {"films": arrays["films"][0], "title": arrays["title"][0]}
        for film, rating in movielens_files.read(path, movielens.decode(arrays["title"][0]), rated=True):
            example["known"][film] = round(rating)
        yield path.name, example

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The films with the highest predicted ratings, and the number of ratings that they are predicted from."""
        titles = movielens.decode(self.open(self.part).arrays["title"][0])  # in the cache since `read_file`
        ranked = zip(prediction["top"], prediction["top_rating"], strict=True)
        return {
            "recommended": [f"{titles[int(film)]}: {float(rating):.2f}" for film, rating in ranked],
            "based on": based_on(int(prediction["num_known"]), "ratings"),
        }


def based_on(count: int, what: str) -> str:
    """How much a prediction for a user outside the set is based on.

    Example:
      >>> based_on(0, "films")
      'no films of the set: what users like on average'
    """
    return f"{count} {what}" if count else f"no {what} of the set: what users like on average"


def _rows(ratings: np.ndarray) -> np.ndarray:
    """[users, films] int8 from lines of user, film, rating."""
    rows = np.zeros((movielens.NUM_USERS, movielens.NUM_FILMS), np.int8)
    rows[ratings[:, 0], ratings[:, 1]] = ratings[:, 2]
    return rows
