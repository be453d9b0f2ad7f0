"""MovieLens: the divisions share no rating, the order is that of time, and a user's own file is read or refused."""

import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data.sets.recsys import movielens, movielens_files
from deeplab.data.sets.recsys.movielens_clicks import MovieLensClicks, past
from deeplab.data.sets.recsys.movielens_ratings import MovieLensRatings
from deeplab.data.sets.recsys.movielens_sequences import MovieLensSequences
from tests.data import fake_movielens

TITLES = ["", "Toy Story (1995)", "GoldenEye (1995)", "Alien (1979)", "Alien (1979)"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the archive, a cache, and what the archive is."""
    folder, patch = tmp_path_factory.mktemp("movielens"), pytest.MonkeyPatch()
    patch.setenv("DEEPLAB_CACHE", str(folder / "cache"))
    yield folder, (fake_movielens.archive(folder),)
    patch.undo()


def pairs(arrays, field):
    return {(int(arrays["user"][row]), int(film)) for row, film in np.argwhere(arrays[field] > 0)}


@pytest.mark.parametrize("part", ["test", "validation"])
def test_what_is_evaluated_is_not_known(folder, part):
    path, files = folder
    dataset = MovieLensRatings(2, part, files=files)
    train, held = dataset.open("train", path).arrays, dataset.open(part, path).arrays
    assert not pairs(train, "known") & pairs(held, "rating")
    assert pairs(held, "known") <= pairs(train, "known") == pairs(train, "rating")
    every = {(int(user), int(film)) for user, film in fake_movielens.lines()[:, :2]}
    if part == "test":
        assert pairs(train, "known") | pairs(held, "rating") == every
    else:
        test = MovieLensRatings(2, files=files).open("test", path).arrays
        assert pairs(train, "known") | pairs(held, "rating") == every - pairs(test, "rating")
        share = len(pairs(held, "rating")) / len(every - pairs(test, "rating"))
        assert 0.15 < share < 0.25


def test_ratings_are_those_of_the_file(folder):
    path, files = folder
    held = MovieLensRatings(1, files=files).open("test", path).arrays
    truth = {(user, film): rating for user, film, rating, _ in fake_movielens.lines().tolist()}
    for row, film in np.argwhere(held["rating"] > 0)[::97]:
        assert held["rating"][row, film] == truth[int(held["user"][row]), int(film)]


def test_features(folder):
    path, files = folder
    arrays = MovieLensRatings(1, files=files).open("train", path).arrays
    assert movielens.decode(arrays["title"][0])[:2] == ["", "Film 1, The (1931)"]
    assert arrays["films"][0, 1:].sum(axis=1).tolist() == [2 - (film == 267) for film in range(1, 1683)]
    assert (arrays["profile"][1:].sum(axis=1) == 3).all()
    assert not arrays["profile"][0].any()
    assert np.flatnonzero(arrays["profile"][1]).tolist() == [0, 7, 9 + 1]  # 11 years, "F", artist


def test_sequences_are_in_the_order_of_time(folder):
    path, files = folder
    splits = {
        split: MovieLensSequences(files=files).open(split, path).arrays for split in ("train", "validation", "test")
    }
    lines = fake_movielens.lines()
    for user in (1, 500, 943):
        own = lines[lines[:, 0] == user]
        films = own[np.argsort(own[:, 3], kind="stable"), 1].tolist()
        for ahead, arrays in enumerate(reversed(splits.values())):
            known = arrays["sequence"][user - 1]
            assert known[known > 0].tolist() == films[: len(films) - 1 - ahead]
            assert arrays["target"][user - 1] == films[len(films) - 1 - ahead]
    seen = np.concatenate([splits["train"]["sequence"].reshape(-1), splits["train"]["target"]])
    assert np.bincount(seen[seen > 0], minlength=1683).tolist() == splits["test"]["count"][0].tolist()


def test_clicks_are_predicted_from_what_was_known_before(folder):
    """Each row as a loop over earlier seconds finds it; ids that training lacks are empty slots."""
    path, files = folder
    lines = fake_movielens.lines()
    order = lines[np.argsort(lines[:, 3], kind="stable")]
    ends = np.searchsorted(order[:, 3], [880_000_004, 880_000_009])
    parts = (int(ends[0]), int(ends[1] - ends[0]), int(len(order) - ends[1]))
    dataset = MovieLensClicks(parts, files=files)
    found = {split: dataset.open(split, path).arrays for split in dataset.splits}
    numbers, ids, label = (np.concatenate([arrays[name] for arrays in found.values()]) for name in dataset.fields)
    assert label[:, 0].tolist() == (order[:, 2] >= 4).tolist()
    for k in (0, 1):
        given = np.stack(past(order[:, k], order[:, 2], order[:, 3]), axis=1)
        for row in (0, 7000, 12_345, 22_000, len(order) - 1):
            own = order[(order[:, k] == order[row, k]) & (order[:, 3] < order[row, 3])]
            pause = order[row, 3] - own[:, 3].max() if len(own) else 0
            by_hand = np.log1p(len(own)), (own[:, 2].sum() + 15) / (len(own) + 5), np.log1p(pause)
            np.testing.assert_allclose(given[row], by_hand, rtol=1e-6)
        learned = given[: ends[0]]
        expected = (given - learned.mean(axis=0)) / learned.std(axis=0)
        np.testing.assert_allclose(numbers[:, 1 + 3 * k : 4 + 3 * k], expected, rtol=1e-3, atol=1e-5)
        known = np.isin(order[:, k], order[: ends[0], k])
        assert ids[:, k].tolist() == np.where(known, order[:, k], -1).tolist()
    assert ids[0, 2:].tolist() == [int(order[0, 0] % 2 == 0), order[0, 0] % 21, 0, *_of_film(order[0, 1]), *[-1] * 5]


def _of_film(number):
    """Group of years, hour and weekday of the first rating (a Thursday), and the one genre that films have."""
    return 1 + np.searchsorted(movielens.YEARS, 1930 + number % 69, side="right"), 4, 3, number % 19


def test_films_of_ones_own_are_a_sequence(folder, tmp_path):
    path, files = folder
    dataset = MovieLensSequences(files=files)
    ((name, example),) = dataset.read_file(write(tmp_path, 'film\n"film 9, the"\nunknown\n'), path)
    assert (name, example["sequence"][:3].tolist(), int(example["user"])) == ("mine.csv", [9, 267, 0], 0)
    assert {key: value.shape for key, value in example.items()} == {
        key: field.shape for key, field in dataset.fields.items() if key != "target"
    }
    told = dataset.describe({"top": np.array([2, 1]), "num_known": np.array(0)})
    assert told["recommended"] == ["Film 2, The (1932)", "Film 1, The (1931)"]
    assert told["based on"] == "no films of the set: what users like on average"


def test_there_are_five_folds():
    with pytest.raises(UserError, match="no fold 6, only 1 to 5"):
        MovieLensRatings(6)


def write(tmp_path, text):
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8")
    return tmp_path / "mine.csv"


def test_a_file_of_ones_own(tmp_path):
    path = write(tmp_path, '\ufeffrating,Film\n5,toy story\n2.5,"Alien (1979)"\n\n')
    assert movielens_files.read(path, TITLES, rated=True) == [(1, 5.0), (3, 2.5)]
    assert movielens_files.read(write(tmp_path, "item\n2\n1\n"), TITLES, rated=False) == [(2, 0.0), (1, 0.0)]
    assert movielens_files.read(write(tmp_path, "film,rating\n"), TITLES, rated=True) == []


def test_a_film_never_seen_is_named_and_left_out(tmp_path):
    path = write(tmp_path, "film,rating\nToy Stori (1995),5\nGoldenEye,4\n")
    with pytest.warns(UserWarning, match=r"row 2: 'Toy Stori \(1995\)' is none of the films .* 'Toy Story \(1995\)'"):
        assert movielens_files.read(path, TITLES, rated=True) == [(2, 4.0)]
    with pytest.warns(UserWarning, match=r"'1683' is none of the films and is left out; numbers are 1 to 1,682"):
        assert movielens_files.read(write(tmp_path, "item\n1683\n"), TITLES, rated=False) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns of an empty file; expected a CSV file with a column"),
        ("name,rating\nAlien,5\n", 'has the columns name, rating; expected .* "film"'),
        ("film\nAlien\n", 'has the columns film; expected .* and a column "rating"'),
        ("film,rating\nAlien,nan\n", "row 2, column 'rating': 'nan', expected a finite number"),
        ("film,rating\nAlien,5\nAlien,6\n", "row 3: the rating is '6', expected a number from 1 to 5"),
        ("film,rating\nAlien\n", "row 2 has 1 cells, expected 2"),
        ("film,rating\nAlien, The,5\n", "row 2 has 3 cells, expected 2 .* quote cells that hold commas"),
        ("film,rating,Film\nAlien,5,Alien\n", "has the column 'film' twice"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        movielens_files.read(write(tmp_path, text), TITLES, rated=True)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00film")
    with pytest.raises(UserError, match=r"x\.csv is not UTF-8 text"):
        movielens_files.read(tmp_path / "x.csv", TITLES, rated=True)
