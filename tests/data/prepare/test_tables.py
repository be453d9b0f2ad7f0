"""CSV files: good ones read, bad ones named by row and column."""

import pytest

from deeplab.core.errors import UserError
from deeplab.data.prepare import tables


def test_columns_in_any_order(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffb, "a",more\n1,2.5,x\n\n-3,1e2,\n', encoding="utf-8")
    read = tables.read(path, ("a", "b"))
    assert {name: column.tolist() for name, column in read.items()} == {"a": [2.5, 100.0], "b": [1.0, -3.0]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,bb\n1,2\n", "has no column 'b'; did you mean 'bb'"),
        (b"a,b,a\n1,2,3\n", "has the column 'a' twice"),
        (b"a,b\n1,2\n1,nan\n", "row 3, column 'b': nan, expected a finite number"),
        (b"a,b\n1,2\n\n,2\n", "row 4, column 'a': empty, expected a number"),
        (b"a,b\n1\n", "row 2, column 'b': empty"),
        (b"a,b\n1,about 2\n", "row 2, column 'b': 'about 2', expected a number"),
        (b"a,b\n", "has no rows of numbers"),
        (b"", "has no rows of numbers"),
        (b"\x89PNG\xff\xfe\n", "cannot be read as CSV"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        tables.read(path, ("a", "b"))
    assert "bad.csv" in str(caught.value)
