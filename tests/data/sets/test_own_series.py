"""A series of one's own: windows, statistics, times, and what is missing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.sets.series.own import OwnSeries

HOURS = [f"2024-01-01T{hour:02}:00" for hour in range(24)]
SMALL = {"context": 3, "horizon": 2}


@given(
    rows=st.integers(30, 60), test=st.floats(0.15, 0.4), validation=st.sampled_from([0.0, 0.15]), seed=st.integers(0, 9)
)
@settings(max_examples=25, deadline=None)
def test_windows_never_cross_a_split_and_statistics_are_of_the_training_rows(rows, test, validation, seed):
    values = np.random.default_rng(seed).normal(size=(rows, 2)) + 100 * (np.arange(rows) > rows // 2)[:, None]
    dataset = OwnSeries(values, 3, 2, test=test, validation=validation)
    train = dataset.lengths[0]
    mean, std = dataset.statistics
    np.testing.assert_allclose(mean, values[:train].mean(axis=0))
    np.testing.assert_allclose(std, values[:train].std(axis=0))
    begin = 0
    for split in dataset.splits:
        source, end = dataset.open(split), dataset.end(split)
        batch = dataset.fetch(source, np.arange(source.size))
        first = begin + 3 * (split == "train")
        futures = values[first:end]
        np.testing.assert_allclose(dataset.unscaled(batch["target"][0]), futures[:2], atol=1e-3)
        np.testing.assert_allclose(dataset.unscaled(batch["target"][-1]), futures[-2:], atol=1e-3)
        assert len(batch["target"]) == len(futures) - 1
        begin = end
    assert sum(dataset.lengths) == rows


@pytest.mark.parametrize("fill", ["previous", "linear"])
def test_filled_values_are_masked_and_not_in_the_statistics(fill):
    values = np.arange(20.0)
    values[[0, 4, 5, 18]] = np.nan
    dataset = OwnSeries(values, 3, 2, fill=fill)
    source = dataset.open("test")
    batch = dataset.fetch(source, np.arange(source.size))
    assert batch["mask"][:, :, 0].tolist() == [[True, True], [True, False], [False, True]]
    assert dataset.statistics[0][0] == np.nanmean(values[:16])
    filled = dataset.unscaled(dataset.open("train").arrays["series"])[:, 0]
    expected = {"previous": [1, 1, 2, 3, 3, 3, 6], "linear": [1, 1, 2, 3, 4, 5, 6]}[fill]
    np.testing.assert_allclose(filled[:7], expected, atol=1e-5)
    assert dataset.fields["mask"].dtype == "bool"


@pytest.mark.parametrize(
    "times",
    [
        np.arange(12) * 0.1,
        np.arange("2023-01", "2024-01", dtype="M8[M]").astype("M8[D]"),
        np.arange("2023-02", "2024-02", dtype="M8[M]").astype("M8[D]") - 1,
        np.arange("2024-01-01T00:00", "2024-01-01T03:00", 15, dtype="M8[m]"),
    ],
)
def test_equal_steps_of_many_kinds(times):
    """Fractions, months by their first and their last day, and quarters of an hour."""
    frame = pd.DataFrame({"t": times, "a": np.arange(12.0)})
    assert OwnSeries(frame, time="t", test=0.25, **SMALL).columns == ("a",)


def test_rows_in_the_wrong_order_are_told_without_a_time_too(tmp_path):
    frame = {"date": [f"2024-01-{31 - day:02}" for day in range(30)], "a": np.arange(30.0)}
    with pytest.raises(UserError, match=r"comes after .*; sort the rows, the oldest first"):
        OwnSeries(frame, **SMALL)
    holes = {"date": ["2024-01-01", "2024-01-05", *[f"2024-02-{day:02}" for day in range(1, 29)]], "a": np.arange(30.0)}
    assert OwnSeries(holes, **SMALL).lengths == (24, 0, 6)


def test_a_series_from_every_source_is_the_same(tmp_path):
    columns = {"t": HOURS, "a": np.arange(24.0), "b": np.sin(np.arange(24))}
    frame = pd.DataFrame(columns)
    frame.to_csv(tmp_path / "own.csv", index=False)
    frame.to_parquet(tmp_path / "own.parquet")
    made = [OwnSeries(source, **SMALL) for source in (columns, frame, tmp_path / "own.csv", tmp_path / "own.parquet")]
    made.append(OwnSeries(np.stack([columns["a"], columns["b"]], axis=1), columns=("0", "1"), **SMALL))
    alone = OwnSeries(frame["a"], **SMALL).open("test").arrays["series"]
    np.testing.assert_allclose(alone[:, 0], made[0].open("test").arrays["series"][:, 0], rtol=1e-5)
    for each in made:
        np.testing.assert_allclose(each.open("test").arrays["series"], made[0].open("test").arrays["series"], rtol=1e-5)
    ((name, example),) = made[2].read_file(tmp_path / "own.parquet")
    assert name == "own.parquet"
    np.testing.assert_allclose(made[2].unscaled(example["history"])[:, 0], [21, 22, 23], atol=1e-5)


def test_a_constant_channel_is_not_scaled():
    with pytest.warns(UserWarning, match="the same in all rows for training, and not scaled: a"):
        dataset = OwnSeries({"a": np.full(20, 0.1), "b": np.arange(20.0)}, **SMALL)
    assert dataset.statistics[1][0] == 1


def test_a_channel_in_small_units_is_scaled():
    """Of 4.7 pF +- 0.3 pF, in farad, the deviation was taken for a rounding error."""
    farad = 4.7e-12 + 3e-13 * np.sin(np.arange(20.0))
    dataset = OwnSeries({"a": farad, "b": np.full(20, 0.0) + np.arange(20.0) * 1e-20}, **SMALL)
    np.testing.assert_allclose(dataset.statistics[1], [farad[:16].std(), 1e-20 * np.arange(16).std()], rtol=1e-6)


@pytest.mark.parametrize(("options", "split"), [({"test": 0.01}, "test"), ({"validation": 0.01}, "validation")])
def test_a_split_without_a_row_is_told(options, split):
    """It was a TypeError of Python's `min`, or there was no such split."""
    with pytest.raises(UserError, match=rf"split '{split}' of .* gets none of 20 rows, a share of 0.01; give more"):
        OwnSeries({"a": np.arange(20.0)}, **SMALL, **options)
