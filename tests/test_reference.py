"""The reference: one command writes it, its links lead somewhere, and of each public name it tells something."""

import doctest
import inspect
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from deeplab.cli import index
from deeplab.cli.tools import public


class Page(HTMLParser):
    """The anchors of a page, the addresses of its links, and the anchors of what has a docstring."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.told, self.names = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if found.get("id"):
            self.anchors.append(found["id"])
        if tag == "section" and found.get("id"):
            self.names.append(found["id"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if found.get("class") == "docstring" and self.names:
            self.told.add(self.names[-1])


def broken(pages):
    """Links of pages by their paths that lead to no page, or to no place in it."""
    found = []
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            there = (path.parent / unquote(target)).resolve() if target else path
            if "://" not in link and not (there in pages and (not anchor or unquote(anchor) in pages[there].anchors)):
                found.append(f"{path.name}: {link}")
    return found


@pytest.mark.gate
def test_every_name_is_told_once_and_every_link_leads_somewhere(tmp_path, capsys):
    pytest.importorskip("pdoc")
    first = index.run(["reference", str(tmp_path)])["reference"]
    assert str(first) in capsys.readouterr().out
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in tmp_path.rglob("*.html")}
    assert broken(pages) == []
    untold = set()
    for room, (module, names) in public.rooms().items():
        page = pages[(tmp_path / (room.replace(".", "/") + ".html")).resolve()]
        assert sorted(page.names) == sorted(names), room
        shown = {name for name in names if name.isupper() and not hasattr(module, "__all__")}  # by their values
        untold |= {f"{room}.{name}" for name in set(names) - shown - page.told}
    assert untold == set()


def test_the_search_for_broken_links(tmp_path):
    texts = {"a.html": '<a href="b.html#x"></a><a href="#y"></a><p id="y"><a href="https://a.b/#z">', "b.html": "<p>"}
    pages = {tmp_path / name: Page(text) for name, text in texts.items()}
    assert broken(pages) == ["a.html: b.html#x"]
    pages[tmp_path / "a.html"].links.append("c.html")
    pages[tmp_path / "b.html"].anchors.append("x")
    assert broken(pages) == ["a.html: c.html"]


def test_a_name_that_two_rooms_export_is_listed_once():
    names = [public.origin_of(value) for _, members in public.rooms().values() for value in members.values()]
    assert len(names) - names.count(None) == len({*names} - {None})
    found = public.rooms()
    assert "Archive" in found["deeplab.data"][1]
    assert "Archive" not in found["deeplab.data.sets"][1]
    assert "ResNet" in found["deeplab.models"][1]
    assert found["deeplab.models.resnet"][0].__name__ == "deeplab.models.vision.convolutional.resnet"


def test_a_class_in_capitals_is_listed_where_it_is_defined():
    found = public.rooms()
    assert "IO" not in found["deeplab.data.prepare.archives"][1]
    assert "P" not in found["deeplab.models.attention_rnn"][1]
    assert "LSTM" in found["deeplab.nn.recurrent.layers"][1]


def runs(text):
    """Whether a docstring has an example whose last line runs: lines before it may make ready what is skipped."""
    lines = doctest.DocTestParser().get_examples(text)
    return bool(lines) and not lines[-1].options.get(doctest.SKIP)


def test_every_function_and_class_has_an_example_that_runs():
    named = {
        f"{room}.{name}": value
        for room, (_, names) in public.rooms().items()
        for name, value in names.items()
        if inspect.isclass(value) or (inspect.isroutine(value) and not name.isupper())  # a constant: an initializer
    }
    assert {name for name, value in named.items() if not runs(value.__doc__ or "")} == set()
