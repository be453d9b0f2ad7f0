"""The examples of the room's page run, one after another, as a reader would type them."""

import re
from pathlib import Path

import deeplab
from deeplab.data.sets import SETS

PAGE = (Path(deeplab.__file__).parent / "data" / "README.md").read_text()


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "deeplab/data/README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith("63 (32,) ")
    assert "('cat', 'dog') ['id', 'image', 'weight']" in printed
    assert "'local': (64, 4, 4, 1)" in printed
    assert "[750, 250] True (8, 32, 32, 3)" in printed


def test_every_set_by_name_is_in_the_table():
    table = PAGE[PAGE.index("## The sets") : PAGE.index("## From an example")]
    assert set(re.findall(r"`(\w+)`", table)) >= SETS.keys()


def test_paths_exist():
    folder = Path(deeplab.__file__).parent / "data"
    for path in re.findall(r"`([\w/]+(?:\.py|/))`", PAGE):
        assert (folder / path).exists(), path
