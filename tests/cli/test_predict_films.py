"""`predict` on a user's own films: ten others, from nothing too, and a bad file is named while the others go on."""

import dataclasses

import pytest

import deeplab as dl
from deeplab.data.sets.recsys.movielens_ratings import MovieLensRatings
from experiments import recsys_ratings
from tests.data import fake_movielens


def ratings(learning_rate: float = 1e-2) -> dl.Experiment:
    made = recsys_ratings.experiment(width=4, epochs=1, learning_rate=learning_rate)
    dataset = MovieLensRatings(1, files=(fake_movielens.described(),))
    return dataclasses.replace(made, data=dataclasses.replace(made.data, dataset=dataset, num_steps=None))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The flags of a run, whose set lies in a folder."""
    folder, patch = tmp_path_factory.mktemp("films"), pytest.MonkeyPatch()
    patch.setenv("DEEPLAB_CACHE", str(folder / "cache"))
    fake_movielens.archive(folder)
    flags = ["--run-dir", str(folder / "run"), "--data-dir", str(folder)]
    dl.main(ratings, ["train", *flags])
    yield flags
    patch.undo()


@pytest.mark.slow
def test_ten_films(trained, tmp_path):
    (tmp_path / "mine.csv").write_text('film,rating\n"Film 1, The (1931)",5\n"film 9, the",1\n')
    (tmp_path / "nothing.csv").write_text("film,rating\n")
    (tmp_path / "numbers.csv").write_text("item,rating\n1,5\n9,1\n")
    (tmp_path / "wrong.csv").write_text("name\nFilm 1\n")
    result = dl.main(ratings, ["predict", str(tmp_path), *trained])
    told = {name.rpartition("/")[2]: value for name, value in result["predictions"].items()}
    assert set(told) == {"mine.csv", "nothing.csv", "numbers.csv"}
    assert all(len(each["recommended"]) == 10 == len(set(each["recommended"])) for each in told.values())
    assert not any("Film 1, The" in film or "Film 9, The" in film for film in told["mine.csv"]["recommended"])
    assert told["numbers.csv"] == told["mine.csv"]
    assert told["mine.csv"]["based on"] == "2 ratings"
    assert told["nothing.csv"]["based on"] == "no ratings of the set: what users like on average"
    assert [path.rpartition("/")[2] for path in result["failed"]] == ["wrong.csv"]
    assert 'expected a CSV file with a column "film"' in result["failed"][str(tmp_path / "wrong.csv")]


@pytest.mark.slow
def test_the_page_shows_lists_beside_histories(trained):
    page = dl.report.write(trained[1]).read_text()
    assert page.count("Film 1") > 20
    assert "user 1" in page
