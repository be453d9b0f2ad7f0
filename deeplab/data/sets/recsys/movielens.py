"""MovieLens 100K: its files, users and films, for the sets that are made of them.

Users and films keep their numbers, which begin at 1. Number 0 is a user outside the set, or the padding of films.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from deeplab.data.prepare.files import Archive
from deeplab.data.sets.fields import Field

CITATION = (
    "Harper and Konstan: The MovieLens datasets: history and context. ACM TiiS 5(4), 2015. "
    "https://doi.org/10.1145/2827872. For research only; not to be redistributed."
)
ARCHIVE = Archive(
    name="ml-100k.zip",
    url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    size=12_134_010,
    pattern=r"u\.(data|item|user)$|u[1-5]\.(base|test)$",
    sha256="467346be55cbf60318dd03f305b2e537af2c00eea7032beb3472527e56c9a3dd",
)
NUM_USERS, NUM_FILMS = 944, 1683  # with number 0

AGES = (18, 25, 35, 45, 50, 56)  # first year of each age group, as in MovieLens 1M
OCCUPATIONS = (
    *("administrator", "artist", "doctor", "educator", "engineer", "entertainment", "executive", "healthcare"),
    *("homemaker", "lawyer", "librarian", "marketing", "none", "other", "programmer", "retired", "salesman"),
    *("scientist", "student", "technician", "writer"),
)
YEARS = (1940, 1960, 1970, 1980, 1988, 1992, 1994, 1996, 1997)  # first year of each group of release years
_NUM_GENRES = 19
_TITLE = 81  # bytes of the longest title

PROFILE = len(AGES) + 1 + 2 + len(OCCUPATIONS)
FEATURES = _NUM_GENRES + len(YEARS) + 1
FIELDS: Mapping[str, Field] = {
    "user": Field((), "int32", below=NUM_USERS),
    "profile": Field((PROFILE,), "int8", below=2, per="user"),
    "catalogue": Field((), "int32", below=1),
    "films": Field((NUM_FILMS, FEATURES), "int8", below=2, per="catalogue"),
    "title": Field((NUM_FILMS, _TITLE), "uint8", per="catalogue"),
}
"""Fields of all MovieLens sets: `profile` encodes age group, gender and occupation as one-hot vectors; `films` the
genres and release years of all films; `title` their names in Latin-1."""


def tables(members: Mapping[str, bytes], users: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of `FIELDS` for examples of these users, [N] int32."""
    films, title = _films(members["u.item"])
    return {
        "user": users.astype(np.int32),
        "profile": _profiles(members["u.user"]),
        "catalogue": np.zeros(len(users), np.int32),
        "films": films[None],
        "title": title[None],
    }


def ratings(content: bytes) -> np.ndarray:
    """User, film, rating (1 to 5) and time (seconds) of each line of a file, [N, 4] int64."""
    return np.array(content.split(), np.int64).reshape(-1, 4)


def decode(title: np.ndarray) -> list[str]:
    """The titles of the films, from [V, bytes] uint8.

    Example:
      >>> decode(np.array([[0, 0, 0], [70, 228, 0]], np.uint8))
      ['', 'Fä']
    """
    return [row.tobytes().decode("latin-1").rstrip("\0") for row in title]


def match(wanted: str, titles: Sequence[str]) -> int:
    """The number of a film by its title, with or without the year, ignoring case; 0 where there is no such film.

    Example:
      >>> match("toy story", ["", "GoldenEye (1995)", "Toy Story (1995)"])
      2
    """
    wanted = wanted.strip().casefold()
    for names in (titles, [re.sub(r" \(\d{4}\)$", "", title) for title in titles]):
        # 18 titles have two numbers; the first is taken.
        found = next((i for i, name in enumerate(names) if i and name.casefold() == wanted), 0)
        if found:
            return found
    return 0


def _films(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    films, title = np.zeros((NUM_FILMS, FEATURES), np.int8), np.zeros((NUM_FILMS, _TITLE), np.uint8)
    for line in map(_latin1, content.splitlines()):
        number, name, released, _, _, *genres = line.split("|")
        row, encoded = int(number), name.strip().encode("latin-1")
        films[row, :_NUM_GENRES] = [int(g) for g in genres]
        if released:  # nothing is known of one film, "unknown"
            films[row, _NUM_GENRES + np.searchsorted(YEARS, int(released[-4:]), side="right")] = 1
        title[row, : len(encoded)] = np.frombuffer(encoded, np.uint8)
    return films, title


def _profiles(content: bytes) -> np.ndarray:
    profiles = np.zeros((NUM_USERS, PROFILE), np.int8)
    for line in map(_latin1, content.splitlines()):
        number, age, gender, occupation, _ = line.split("|")
        own = profiles[int(number)]
        own[np.searchsorted(AGES, int(age), side="right")] = 1
        own[len(AGES) + 1 + (gender == "M")] = 1
        own[len(AGES) + 3 + OCCUPATIONS.index(occupation)] = 1
    return profiles


def _latin1(line: bytes) -> str:
    return line.decode("latin-1")  # line by line: `str.splitlines` would also split at one of its characters
