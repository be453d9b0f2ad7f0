"""A user's own films as a CSV file, for the sets of MovieLens."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from deeplab.core.errors import UserError, nearest
from deeplab.data.prepare import tables, texts
from deeplab.data.sets.recsys import movielens

_WANTED = 'expected a CSV file with a column "film" (titles such as "Toy Story (1995)") or "item" (MovieLens numbers)'


def read(path: Path, titles: Sequence[str], rated: bool) -> list[tuple[int, float]]:
    """(film, rating) of each line of a CSV file, in its order; the rating is 0 where `rated` is False.

    A film that is not one of the 1,682 is left out, with a warning that names it and the nearest one. A file without
    lines is a user without history.

    Args:
      path: CSV file in UTF-8 with a line of column names.
      titles: Titles of the films by number.
      rated: Whether a column "rating", with numbers from 1 to 5, is required.

    Raises:
      UserError: the file is no CSV (see `prepare.tables.rows`), a column is missing or there twice, or a rating is not
        from 1 to 5.
    """
    table = tables.rows(texts.read_bytes(path), str(path))
    head = [name.strip().lower() for name in table[0][1]] if table else []
    by = next((name for name in ("film", "item") if name in head), None)
    if by is None or (rated and "rating" not in head):
        wanted = _WANTED + (' and a column "rating"' if rated else "")
        raise UserError(f"{path} has the columns {', '.join(head) or 'of an empty file'}; {wanted}")
    if twice := [name for name in (by, "rating") if head.count(name) > 1]:
        raise UserError(f"{path} has the column {twice[0]!r} twice; {_WANTED}")
    films = []
    for line, cells in table[1:]:
        row = dict(zip(head, cells, strict=True))
        film = _film(row[by], by, titles, f"{path}, row {line}")
        rating = _rating(row["rating"], f"{path}, row {line}") if rated else 0.0
        if film:
            films.append((film, rating))
    return films


def _film(given: str, by: str, titles: Sequence[str], where: str) -> int:
    if by == "item":
        known = given.strip().isdigit() and 0 < int(given) < movielens.NUM_FILMS
        film, hint = int(given) if known else 0, f"numbers are 1 to {movielens.NUM_FILMS - 1:,}"
    else:
        film = movielens.match(given, titles)
        hint = "" if film else nearest(given, titles[1:])
    if not film:
        warnings.warn(f"{where}: {given!r} is none of the films and is left out; {hint}", stacklevel=3)
    return film


def _rating(given: str, where: str) -> float:
    rating = tables.number(given, f"{where}, column 'rating'")
    if not 1 <= rating <= 5:
        raise UserError(f"{where}: the rating is {given!r}, expected a number from 1 to 5")
    return rating
