"""An archive with MovieLens' layout and numbers, but made-up content: the real one may not be shared."""

from __future__ import annotations

import functools
import re
import zipfile
from pathlib import Path

import numpy as np

from deeplab.data.prepare import originals
from deeplab.data.prepare.files import Archive
from deeplab.data.sets.recsys import movielens
from deeplab.data.sets.recsys.movielens_ratings import _TEST_USERS

PER_USER = 24


def lines() -> np.ndarray:
    """[943 * 24, 4]: each user rates 24 films, two and two in the same second, the lines in random order."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(1, movielens.NUM_USERS), PER_USER)
    films = np.concatenate([rng.permutation(movielens.NUM_FILMS - 1)[:PER_USER] + 1 for _ in range(943)])
    times = 880_000_000 + np.tile(np.arange(PER_USER) // 2, 943)
    return rng.permutation(np.stack([users, films, rng.integers(1, 6, len(users)), times], axis=1))


@functools.cache
def members() -> dict[str, bytes]:
    """The files that are read; in u1 to u5 a user's test part is a third of their films."""
    data = lines()
    files = {"u.data": data}
    for fold, count in _TEST_USERS.items():
        held = (data[:, 0] <= count) & ((data[:, 1] + fold) % 3 == 0)
        files |= {f"u{fold}.base": data[~held], f"u{fold}.test": data[held]}
    content = {name: "".join("\t".join(map(str, row)) + "\n" for row in rows).encode() for name, rows in files.items()}
    films = [f"{n}|Film {n}, The ({1930 + n % 69})|01-Jan-{1930 + n % 69}||http|{_genres(n)}" for n in range(1, 1683)]
    films[266] = f"267|unknown||||{_genres(0)}"
    users = [f"{n}|{10 + n % 60}|{'MF'[n % 2]}|{movielens.OCCUPATIONS[n % 21]}|00000" for n in range(1, 944)]
    texts = {"u.item": "\n".join(films), "u.user": "\n".join(users)}
    return content | {name: text.encode("latin-1") for name, text in texts.items()}


def archive(folder: Path) -> Archive:
    """Writes the archive, and describes it."""
    with zipfile.ZipFile(folder / "ml-100k.zip", "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in (members() | {"README": b"", "ua.base": b"1\t1\t1\t1\n"}).items():
            target.writestr(f"ml-100k/{name}", content)
    return described()


@functools.cache
def described() -> Archive:
    """What `archive` writes, as the real one is described."""
    files = members()
    assert all(re.search(movielens.ARCHIVE.pattern, f"ml-100k/{name}") for name in files)
    size = sum(map(len, files.values()))
    return Archive("ml-100k.zip", "http://data.invalid/", size, movielens.ARCHIVE.pattern, originals.digest(files))


def _genres(number: int) -> str:
    return "|".join(str(int(number % 19 == g)) for g in range(19))
