"""A table of one's own: kinds of columns, statistics of training rows alone, splits, errors by row and column."""

import functools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deeplab as dl
from deeplab.core.errors import UserError

HOMES = """price,size,town,sold,pool
100,50,Ulm,2020-01-31,true
110,,Bonn,2021-02-28,false
120,70,Ulm,,true
130,90,,2020-03-01,
140,110,Köln,2022-12-24T18:00:00,false
"""


@pytest.fixture
def homes(tmp_path):
    path = tmp_path / "homes.csv"
    path.write_text(HOMES, encoding="utf-8")
    return path


def rows_of(data, split):
    return data.open(split).arrays


def by_column(source, **options):
    """Rows 0 to 3 for training, and row 4 to test."""
    columns = {name: list(column) for name, column in source.items()}
    columns["part"] = ["train"] * (len(columns["price"]) - 1) + ["test"]
    return dl.data.table(columns, "price", split="part", **options)


CELLS = [line.split(",") for line in HOMES.splitlines()]
COLUMNS = {name: [row[i] for row in CELLS[1:]] for i, name in enumerate(CELLS[0])}


def test_every_kind_of_column_is_encoded_by_the_training_rows():
    data = by_column(COLUMNS)
    table = data.table
    assert table.features.names == (
        "size",
        "size is missing",
        "sold year",
        "sold is missing",
        "sold month",
        "sold weekday",
    )
    assert table.features.cardinalities == (4, 4)  # unknown, Bonn, Ulm, missing; unknown, false, true, missing
    train, test = rows_of(data, "train"), rows_of(data, "test")
    size = np.array([50, 70, 90])  # 110 is a test row
    np.testing.assert_allclose(
        train["numbers"][:, 0], [*(size[:1] - 70) / size.std(), 0, *(size[1:] - 70) / size.std()]
    )
    np.testing.assert_allclose(test["numbers"][0, 0], 40 / size.std(), rtol=1e-6)
    assert train["numbers"][:, [1, 3]].tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]
    year, month, weekday = np.array([2020, 2021, 2020]), np.array([1, 2, 3]), np.array([4, 6, 6])
    for column, values, new in ((2, year, 2022), (4, month, 12), (5, weekday, 5)):
        scaled = (values - values.mean()) / values.std()
        np.testing.assert_allclose(train["numbers"][[0, 1, 3], column], scaled, rtol=1e-5)
        np.testing.assert_allclose(test["numbers"][0, column], (new - values.mean()) / values.std(), rtol=1e-5)
    assert train["categories"].tolist() == [[2, 2], [1, 1], [2, 2], [3, 3]]
    assert test["categories"].tolist() == [[0, 1]]  # Köln is in no training row
    assert train["target"].tolist() == [100, 110, 120, 130]
    assert table.scale == (115, pytest.approx(np.std([100, 110, 120, 130])))


def test_every_source_gives_the_same_batches(homes, tmp_path):
    frame = pd.read_csv(homes, parse_dates=["sold"], date_format="ISO8601").convert_dtypes()
    frame["town"] = frame["town"].astype("category")
    frame.to_parquet(tmp_path / "homes.parquet")
    make = functools.partial(dl.data.table, target="price", test=0.4, batch_size=2)
    expected = next(make(str(homes)).batches("test"))
    for source in (homes, frame, tmp_path / "homes.parquet", COLUMNS):
        jax_free = next(make(source).batches("test"))
        for name, array in expected.items():
            np.testing.assert_array_equal(jax_free[name], array)


def test_predict_reads_a_file_without_the_target(homes, tmp_path):
    data = dl.data.table(homes, "price", test=0.4)
    new = tmp_path / "new.csv"
    new.write_text("pool,town,more,sold,size\ntrue,Rom,1,2020-01-31,50\n,Ulm,2,,\n", encoding="utf-8")
    (name, first), (_, second) = data.read_file(new)
    assert (name, sorted(first)) == ("new.csv:1", ["categories", "numbers"])
    assert first["categories"][0] == 0
    everything = np.concatenate([rows_of(data, split)["numbers"] for split in ("train", "test")])
    assert first["numbers"].tolist() in everything.tolist()  # those of the first row
    assert second["numbers"][0] == 0
    new.write_text("pool,towns,sold,size\ntrue,Ulm,2020-01-31,50\n")
    with pytest.raises(UserError, match=r"new.csv has no column 'town', .*; did you mean 'towns'"):
        list(data.read_file(new))
    new.write_text("pool,town,sold,size\ntrue,Ulm,2020-01-31,about 50\n")
    with pytest.raises(UserError, match=r"new.csv, row 2, column 'size': 'about 50', expected a number"):
        list(data.read_file(new))


def test_text_and_truth_are_classes_and_a_number_is_one_where_told():
    rows = {"x": range(40), "y": [i % 2 == 0 for i in range(40)], "z": [i % 3 for i in range(40)]}
    data = dl.data.table(rows, "y")
    assert data.class_names == ("false", "true")
    assert set(rows_of(data, "train")["label"].tolist()) == {0, 1}
    assert dl.data.table(rows, "z").class_names == ()
    assert "give classes=('0', '1', '2')" in str(dl.data.table(rows, "z").summary())
    told = dl.data.table(rows, "z", classes=(2, 0, 1))
    assert told.class_names == ("2", "0", "1")
    label = np.concatenate([rows_of(told, split)["label"] for split in ("train", "test")])
    assert sorted(np.bincount(label).tolist()) == [13, 13, 14]
    with pytest.raises(UserError, match="the class '2'; known are 0, 1"):
        _ = dl.data.table(rows, "z", classes=(0, 1)).class_names


def test_a_category_is_the_same_however_its_number_is_written(tmp_path):
    """A data frame makes 1.0 of a whole number where another row is missing."""
    rows = {"zip": [1.0, 2.0, np.nan] * 5, "free": [True, False, True] * 5, "price": range(15)}
    data = dl.data.table(rows, "price", categories=("zip",))
    (tmp_path / "new.csv").write_text("zip,free\n1,TRUE\n1.0,true\n2,False\n,false\n")
    codes = [example["categories"].tolist() for _, example in data.read_file(tmp_path / "new.csv")]
    assert codes == [[1, 2], [1, 2], [2, 1], [3, 1]]


def test_a_number_may_stand_for_a_missing_cell(tmp_path):
    rows = {"x": [1, 2, -999, 4, 5], "price": range(5)}
    (tmp_path / "rows.csv").write_text("x,price\n1,0\n2,1\n-999,2\n4,3\n5,4\n")
    (tmp_path / "pandas.csv").write_text("x,price\n1.0,0\n2.0,1\n-999.0,2\n4.0,3\n5.0,4\n")
    files = tmp_path / "rows.csv", tmp_path / "pandas.csv"
    for source in (rows, pd.DataFrame(rows), pd.DataFrame(rows, dtype=object), *files):
        for told in ("-999", "-999.0", -999, -999.0):
            data = dl.data.table(source, "price", missing=(told,))
            assert data.table.frame.missing("x").tolist() == [False, False, True, False, False]
    series = dl.data.series(files[1], context=1, horizon=1, test=0.4, fill="previous", missing=(-999,))
    assert series.frame.missing("x").sum() == 1


def test_truth_values_are_classes_in_a_given_order():
    """Cells are "true" and "false", and the classes were "True" and "False"."""
    rows = {"x": range(40), "y": [i % 2 == 0 for i in range(40)]}
    assert dl.data.table(rows, "y", classes=(True, False)).class_names == ("true", "false")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'price,size\n1,"1,5"\n2,"2,5"\n3,4\n4,"1,5"\n5,\n',
            r"row 2, column 'size': '1,5', and 3 of 4 cells are numbers with a comma; write decimals with a point",
        ),
        (HOMES.replace("140,110", "140,big"), r"row 6, column 'size': 'big', where 3 of 4 cells hold a number"),
        (HOMES.replace("2022-12-24T18:00:00", "soon"), r"row 6, column 'sold': 'soon', where 3 of 4 .* a date"),
        (HOMES.replace("140,", ","), r"row 6, column 'price': the target is missing \(1 such rows\)"),
        (HOMES.replace("140,110", "140,inf"), r"row 6, column 'size': inf, expected a finite number"),
        (HOMES.replace("140,110", "140"), r"row 6 has 4 cells, expected 5"),
        (HOMES.replace("pool", "town"), r"the column 'town' more than once"),
        (HOMES.replace("price", "cost"), r"no column 'price', which is the target; known are cost"),
        ("price,size\n1,2\n1,3\n1,4\n1,5\n1,6\n", r"target 'price' of .* is the same in all training rows"),
        ("price,size\n1,2\n3,2\n4,2\n5,2\n6,2\n", r"no column to predict 'price' from"),
        ("price,size\n1,2\n3,4\n", r"split 'test' of .* gets none of 2 rows"),
        ("price,size\n", r"has no rows"),
    ],
)
def test_errors_name_the_row_and_the_column(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        dl.data.table(tmp_path / "bad.csv", "price")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": 0.0}, "test is 0.0"),
        ({"test": 0.5, "validation": 0.5}, "shares that leave some for training"),
        ({"fold": 5}, "fold is 5, expected 0 to 4"),
        ({"time": "sold", "group": "town"}, "give one of split, group and time"),
        ({"group": "twon"}, "no column 'twon', which is the group; did you mean 'town'"),
        ({"ignore": ("sizes",)}, "no column 'sizes', which is named in ignore; did you mean 'size'"),
        ({"dates": "sold"}, "dates is 'sold', expected a tuple of names"),
        ({"time": "town"}, "column 'town' of .* splits by time"),
        ({"split": "pool"}, "row 5, column 'pool': empty, expected the name of the row's split"),
    ],
)
def test_wrong_options(homes, options, message):
    with pytest.raises(UserError, match=message):
        dl.data.table(homes, "price", **options)
    with pytest.raises(UserError, match="there is no file"):
        dl.data.table(homes.with_name("hose.csv"), "price")


def test_a_changed_file_is_read_anew(homes):
    before = dl.data.table(homes, "price")
    assert before.num_examples("train") == 4
    homes.write_text(HOMES + "150,60,Ulm,2020-01-31,true\n" * 5, encoding="utf-8")
    assert dl.data.table(homes, "price").num_examples("train") == 8
    assert dl.data.table(homes, "price").builder.version != dl.data.table(COLUMNS, "price").builder.version


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["1", "2.5", "", "7", "-3"]), min_size=5, max_size=20))
def test_no_statistic_is_of_a_test_row(cells):
    """Another last row changes nothing of the training rows."""
    columns = {"price": range(len(cells) + 1), "c": [*(f"c{i}" for i in range(len(cells))), "z"]}
    made = [rows_of(by_column({**columns, "x": [*cells, last]}), "train") for last in ("1", "1e6")]
    for name, array in made[0].items():
        np.testing.assert_array_equal(array, made[1][name])


def test_the_summary_tells_what_was_read_and_what_leaks(homes):
    homes.write_text(HOMES + "150,50,Ulm,2020-01-31,true\n" * 6, encoding="utf-8")
    text = str(dl.data.table(homes, "price", test=0.4).summary())
    assert f"{homes}: 11 rows (train 7, test 4)" in text.replace("\n", "")
    assert "2020-01-31 to 2022-12-24T18:00:00" in text
    assert "of 4 rows of split 'test' are equal to a training row" in text
    grouped = {"g": list("aabb"), "x": range(4), "price": range(4), "part": ["train", "test", "train", "train"]}
    told = str(dl.data.table(grouped, "price", split="part", group="g").summary())
    assert "groups of 'g' in training and in another split: 1" in told


def test_constant_columns_and_identifiers_are_told():
    rows = {"price": range(100), "x": range(100), "same": [1.5] * 100, "name": [f"n{i}" for i in range(100)]}
    data = dl.data.table(rows, "price")
    assert data.columns == ("x",)
    text = str(data.summary())
    assert "column 'same' is the same in all training rows, and left out" in text
    assert "give ignore=('name',)" in text
    assert dl.data.table(rows, "price", ignore=("name",)).cardinalities == ()


def test_a_column_in_small_units_is_no_constant():
    """Of 4.7 pF +- 0.3 pF, in farad, the deviation was taken for a rounding error."""
    rows = {"price": range(20), "farad": 4.7e-12 + 3e-13 * np.sin(np.arange(20)), "same": [4.7e-12] * 20}
    data = dl.data.table(rows, "price")
    assert data.columns == ("farad",)
    np.testing.assert_allclose(rows_of(data, "train")["numbers"].std(), 1, rtol=1e-5)


def test_smoke_has_the_spec_of_the_table(homes):
    data = dl.data.table(homes, "price", test=0.4)
    twin = data.synthetic(batch_size=4)
    assert {name: (s.shape[1:], s.dtype) for name, s in twin.spec().items()} == {
        name: (s.shape[1:], s.dtype) for name, s in data.spec().items()
    }
    assert (twin.cardinalities, twin.scale) == (data.cardinalities, data.scale)
    batch = next(twin.batches())
    assert batch["categories"].max() < max(data.cardinalities)


def test_a_column_that_is_missing_in_all_training_rows_is_left_out():
    rows = {"x": ["", "", "1"], "y": [1, 2, 3], "price": [1, 2, 3], "part": ["train", "train", "test"]}
    data = dl.data.table(rows, "price", split="part")
    assert data.columns == ("y",)
    assert "column 'x' is the same in all training rows" in str(data.summary())
