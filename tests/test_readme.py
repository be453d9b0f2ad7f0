"""The pages stay true: what they tell to run is there, their links lead somewhere, and their Python runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [path for path in sorted(ROOT.rglob("README.md")) if not any(part.startswith(".") for part in path.parts)]
RUNNABLE = [page for page in PAGES if "```python" in page.read_text() and page.parent.name != "data"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_links_exist(page):
    text = page.read_text()
    for module in re.findall(r"python -m ((?:experiments|deeplab)(?:\.\w+)+)", text):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    """Its blocks in their order, as a reader pastes them."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        exec(compile(block, str(page.relative_to(ROOT)), "exec", dont_inherit=True), names)


def test_the_first_page_is_short_and_marks_its_two_commands():
    text = (ROOT / "README.md").read_text()
    assert text.count("```sh first-run\n") == text.count("```sh test\n") == 1
    assert len(text.splitlines()) <= 200
