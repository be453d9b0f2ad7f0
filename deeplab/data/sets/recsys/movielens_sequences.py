"""MovieLens 100K as the sequence of films that each user rated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deeplab.data.prepare.files import Original
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field
from deeplab.data.sets.recsys import histories, movielens, movielens_files
from deeplab.data.sets.recsys.movielens_ratings import based_on

_LONGEST = 736  # films before a user's last


@dataclasses.dataclass(frozen=True)
class MovieLensSequences(ExampleSet):
    """The films of 943 users in the order of time: the last for the test, the second last for validation.

    An example is a user: `sequence` [736] are the films so far, oldest first, then zeros; `target` is the next one. In
    training the target is the user's third film from the end, in "validation" the second, in "test" the last. `count`
    [1683] is the number of users of each film within the training part.

    Half of the films have the same time, in seconds, as the one before. Such films are in the order of u.data, which is
    random; ordered by number they would show a pattern that a sequence model learns, and that no user has.
    """

    name: str = "movielens_100k_sequences"
    version: str = "1.0.0"
    citation: str = movielens.CITATION
    files: tuple[Original, ...] = (movielens.ARCHIVE,)

    @property
    def splits(self) -> Mapping[str, int]:
        return dict.fromkeys(histories.AHEAD, movielens.NUM_USERS - 1)

    @property
    def fields(self) -> Mapping[str, Field]:
        films = movielens.NUM_FILMS
        return {
            **movielens.FIELDS,
            "sequence": Field((_LONGEST,), "int16", below=films),
            "target": Field((), "int32", low=1, below=films),
            "count": Field((films,), "int32", below=movielens.NUM_USERS, per="catalogue"),
        }

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        members = content.members("ml-100k.zip")
        lines = movielens.ratings(members["u.data"])
        lines = lines[np.lexsort((np.arange(len(lines)), lines[:, 3], lines[:, 0]))]
        users = np.arange(1, movielens.NUM_USERS)
        seen = np.split(lines[:, 1], np.searchsorted(lines[:, 0], users[1:]))
        more = histories.leave_one_out(seen, split, _LONGEST, movielens.NUM_FILMS)
        more["sequence"] = more["sequence"].astype(np.int16)
        return movielens.tables(members, users) | more

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """A CSV file of films, oldest first, as a user outside the set: number 0, without a profile."""
        arrays = self.open("test", data_dir).arrays
        films = [film for film, _ in movielens_files.read(path, movielens.decode(arrays["title"][0]), rated=False)]
        example = {name: np.zeros(field.shape, field.dtype) for name, field in self.fields.items() if name != "target"}
        example |= {name: arrays[name][0] for name, field in self.fields.items() if field.per == "catalogue"}
        recent = films[-_LONGEST:]
        example["sequence"][: len(recent)] = recent
        yield path.name, example

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The films that rank highest, and the number of films that the ranking is based on."""
        titles = movielens.decode(self.open("test").arrays["title"][0])  # in the cache since `read_file`
        return {
            "recommended": [titles[int(film)] for film in prediction["top"]],
            "based on": based_on(int(prediction["num_known"]), "films"),
        }


MOVIELENS_SEQUENCES = MovieLensSequences()
