"""CSV files: good ones read as Python's csv module does, bad ones named by row and column."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.prepare import tables


def test_columns_in_any_order(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffb, "a",more\n1,2.5,x\n\n-3,1e2,\n', encoding="utf-8")
    read = tables.read(path, ("a", "b"))
    assert {name: column.tolist() for name, column in read.items()} == {"a": [2.5, 100.0], "b": [1.0, -3.0]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_end_in_any_way(end, last):
    content = end.join(["a,note,b", '1,"two', 'lines",2', "", "3,\u2028,4", ",,", *[""] * last]).encode()
    assert {k: v.tolist() for k, v in tables.parse(content, ("a", "b"), "a.csv").items()} == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,bb\n1,2\n", "has no column 'b'; did you mean 'bb'"),
        (b"a,b,a\n1,2,3\n", "has the column 'a' twice"),
        (b"a;b\n1,5;2,5\n", "separates its cells by ';'; write commas instead, and decimals with a point"),
        (b"a\tb\n1\t2\n", r"separates its cells by '\\t'"),
        (b"a,b\n1,2\n1,nan\n", "row 3, column 'b': 'nan', expected a finite number"),
        (b"a,b\n1,2\n\n,2\n", "row 4, column 'a': empty, expected a finite number"),
        (b"a,b\n1,2\n,\n3,4\n", "row 3, column 'a': empty, expected a finite number"),
        (b"a,b\n1,2,5\n", "row 2 has 3 cells, expected 2 as in the first row; write decimals with a point"),
        (b"a,b\n1,2,\n", "row 2 has 3 cells, expected 2"),
        (b"a,b,\n1,2\n", "row 2 has 2 cells, expected 3"),
        (b"a,b\n1\n", "row 2 has 1 cells, expected 2"),
        (b"a,b,c\n1,2\n", "row 2 has 2 cells, expected 3"),
        (b'a,b\n"1,234",2\n', "row 2, column 'a': '1,234', expected a finite number"),
        (b"a,b\n1_000,2\n", "row 2, column 'a': '1_000', expected a finite number"),
        (b"a,b\n1,about 2\n", "row 2, column 'b': 'about 2', expected a finite number"),
        (b'a,b,c\n1,2,"\n3,4,5\n', "row 3 cannot be read as CSV .unexpected end of data"),
        (b"a,b\n", "has no rows of numbers"),
        (b"", "has no column 'a', 'b'; it is empty"),
        (b"\n\n", "has no column 'a', 'b'; it is empty"),
        (b"a,b\n1,\x002\n", "is no text: a NUL character in line 2"),
        ("a,b\n1,2\n".encode("utf-16"), "is not UTF-8 text: byte 0xff in line 1"),
        (b"a,b\r\n1,2\r\n3,\xb54\n", "is not UTF-8 text: byte 0xb5 in line 3, at 12 of the file"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        tables.read(path, ("a", "b"))
    assert "bad.csv" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"gone.csv cannot be read \(No such file"):
        tables.read(tmp_path / "gone.csv", ("a",))


CELLS = st.one_of(
    st.floats(-1e6, 1e6).map(str),
    st.integers(-99, 99).map(str),
    st.sampled_from(["", " ", "nan", "inf", "1,5", "1.5 ", '"', "x\ny", "1_0", "é", "\u2028", "0x1", "٣"]),
)


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_tables_are_what_pythons_csv_makes_of_them(data):
    """Written with any separator, line end, quotes and ragged rows: the same numbers, or an error with the name."""
    width = data.draw(st.integers(1, 4))
    head = data.draw(st.permutations(["a", "b", "c", "d"]))[:width]
    ragged = st.integers(max(1, width - 1), width + 1) if data.draw(st.booleans()) else st.just(width)
    body = data.draw(st.lists(ragged.flatmap(lambda n: st.lists(CELLS, min_size=n, max_size=n)), max_size=5))
    end, mark = data.draw(st.sampled_from(["\n", "\r\n"])), data.draw(st.sampled_from(",,,;"))
    out = io.StringIO()
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(out, delimiter=mark, lineterminator=end, quoting=quoting).writerows([head, *body])
    content = out.getvalue().encode(data.draw(st.sampled_from(["utf-8", "utf-8-sig"])))
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    rows = [row for row in rows if len(row) > 1 or "".join(row).strip()]
    while len(rows) > 1 and not "".join(rows[-1]).strip():
        rows.pop()
    try:
        cells = [row[rows[0].index("a")] for row in rows[1:]]
        expected = [float(cell) for cell in cells if "_" not in cell]
        whole = {len(row) for row in rows} == {len(rows[0])} and 0 < len(cells) == len(expected)
        good = whole and all(abs(value) < 1e9 for value in expected)
    except (ValueError, IndexError):
        good = False
    if good:
        assert tables.parse(content, ("a",), "mine.csv")["a"].tolist() == expected
    else:
        with pytest.raises(UserError, match=r"mine\.csv"):
            tables.parse(content, ("a",), "mine.csv")
