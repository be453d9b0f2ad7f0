"""The table of metrics: few metrics are its columns, many its rows."""

import html
import json
import re

import pytest

from deeplab import report


def table(directory):
    """The cells of the table of metrics, row by row."""
    body = re.search(r"<h2>Metrics</h2>.*?<table[^>]*>(.*?)</table>", report.write(directory).read_text(), re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


@pytest.mark.parametrize("count", [8, 9])
def test_many_metrics_are_rows_and_few_are_columns(make_run, count):
    directory = make_run()
    result = json.loads((directory / "result.json").read_text())
    more = {f"metric{i}": i / 8 for i in range(count - 2)}  # besides the loss and the accuracy
    result["metrics"]["test"] |= more
    (directory / "result.json").write_text(json.dumps(result))
    rows = table(directory)
    if count == 9:
        rows = [list(column) for column in zip(*rows, strict=True)]
    assert rows[0] == ["split", "step", "loss", "accuracy", *more]
    assert [row[:2] for row in rows[1:]] == [["test, last", "300"], ["train, last", "300"]]
    assert rows[1][4:] == [f"{value:#.4g}" for value in more.values()]
    assert rows[2][4:] == [""] * len(more)
