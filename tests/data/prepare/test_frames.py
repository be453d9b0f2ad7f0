"""Columns of data frames and files: the same names however a number is stored or written."""

import numpy as np
import pandas as pd
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.data.prepare import frame_sources

LONG = [2**53 + i for i in range(4)]


@pytest.mark.parametrize(
    "column",
    [
        LONG,
        np.array(LONG),
        np.array(LONG, np.uint64),
        pd.Series(LONG),
        pd.Series(LONG, dtype=object),
        [-i for i in LONG],
        [*LONG, None],
        [*LONG, float("nan")],
        [*LONG, 0.5],
        pd.Series([*LONG, None], dtype="Int64"),
    ],
)
def test_long_numbers_are_names_that_stay_apart(tmp_path, column):
    """float64 merged those beyond 2**53 of a data frame, not those of a CSV file: 10 users became 2."""
    frame = frame_sources.read({"id": column})
    assert len(set(frame.texts("id").tolist())) == len(column)
    assert frame.kind("id") == "number"
    assert frame.numbers("id").dtype == np.float64
    made = pd.DataFrame({"id": pd.Series([*LONG, None], dtype="Int64")})
    made.to_parquet(tmp_path / "ids.parquet")
    assert frame_sources.read(tmp_path / "ids.parquet").texts("id").tolist() == [*map(str, LONG), None]


def test_the_groups_of_long_numbers_are_whole_patients():
    rows = {"who": np.repeat(2**60 + np.arange(10), 3), "x": range(30), "price": range(30)}
    splits = dl.data.table(rows, "price", group="who").table.splits
    assert dict(splits) == {"train": 24, "test": 6}


@pytest.mark.parametrize("dtype", ["float32", "Float32", "float16"])
def test_categories_of_a_short_float_are_those_of_a_file(tmp_path, dtype):
    """'0.10000000149011612' is no category that a file has."""
    rows = {"dose": pd.Series([0.1, 0.3, 2.0] * 5, dtype=dtype), "price": range(15)}
    (tmp_path / "new.csv").write_text("dose\n0.10\n0.3\n0.30\n2.00\n")
    for source in (rows, pd.DataFrame(rows)) + (({"dose": rows["dose"].to_numpy()} | rows,) * (dtype != "Float32")):
        data = dl.data.table(source, "price", categories=("dose",))
        codes = [example["categories"].tolist() for _, example in data.read_file(tmp_path / "new.csv")]
        assert codes == [[1], [2], [2], [3]]
        assert data.table.frame.numbers("dose").dtype == np.float64


def test_underscores_make_no_number(tmp_path):
    """Python reads 1_2 as 12."""
    (tmp_path / "rows.csv").write_text("well,price\n1_2,0\n1_3,1\n2_1,2\n2_2,3\n2_3,4\n")
    data = dl.data.table(tmp_path / "rows.csv", "price")
    assert data.columns == ()
    assert data.cardinalities == (5,)


def test_a_time_before_the_first_year_is_no_date(tmp_path):
    """It was an OverflowError."""
    (tmp_path / "rows.csv").write_text("t\n2024-01-01\n2024-01-02\n0001-01-01T00:00+02:00\n")
    with pytest.raises(
        UserError, match=r"row 4, column 't': '0001-01-01T00:00\+02:00', where 2 of 3 cells hold a date"
    ):
        frame_sources.read(tmp_path / "rows.csv").kind("t")
