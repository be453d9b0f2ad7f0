"""The README stays true: what it tells to run is there, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_modules_and_links_exist(page):
    text = page.read_text()
    for module in re.findall(r"python -m ((?:experiments|deeplab)(?:\.\w+)+)", text):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / link).exists(), link


def test_the_two_commands_are_marked():
    text = (ROOT / "README.md").read_text()
    assert text.count("```sh first-run\n") == text.count("```sh test\n") == 1
