"""`deeplab reference`: a page of each room, of its README, its public names and their docstrings, to read offline."""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

import deeplab
from deeplab.cli.tools import public
from deeplab.core.errors import UserError

# Fields have no paragraph of their own: the constructor shows them, and `Args` tells what they are.
_TEMPLATE = """{% extends "default/module.html.jinja2" %}
{% macro is_public(doc) %}
{% if "." not in doc.qualname or doc.name == "__call__" %}true
{% elif doc.name == "__init__" %}{% if doc.signature_without_self.parameters %}true{% endif %}
{% elif doc.name.startswith("_") or doc.name == "parent" or not doc.taken_from[0].startswith("deeplab") %}
{% elif doc.docstring %}true
{% endif %}
{% endmacro %}
{% macro decorators(doc) %}{% for d in doc.decorators if "method" in d %}{{ d }} {% endfor %}{% endmacro %}"""
_STYLE = ".docstring blockquote {border: 0; padding-left: 0; margin-left: 0; color: inherit}"
_NAMES = re.compile(  # as highlighted, and as plain text
    r'<span class="nn?">(?:deeplab|dl)</span>(?:<span class="o">\.</span><span class="n">\w+</span>)+'
    r'|(?<![\w./#"-])(?:deeplab|dl)(?:\.\w+)+'
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `deeplab reference`."""
    parser.add_argument("folder", type=Path, help="where the pages are written; they are read without a network")


def run(flags: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Writes the pages.

    Args:
      flags: Flags of `add_flags`.
      console: Console of the command.

    Returns:
      reference: Path of the first page.
    """
    first = write(flags.folder)
    console.print(f"reference: {first}", soft_wrap=True)
    return {"reference": first}


def write(folder: Path) -> Path:
    """Writes the page of each room, and an index of words for their search box.

    Args:
      folder: Folder of the pages; made if need be.

    Returns:
      Path of the first page.

    Raises:
      UserError: pdoc is not installed.
    """
    try:
        from pdoc import render
    except ImportError as error:
        raise UserError("the reference is made by pdoc, which is not here: pip install 'deeplab[docs]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of annotations that pdoc cannot evaluate; it then shows the text
        found = public.rooms()
        pages = {name: _page(name, *room) for name, room in found.items()}
        readmes = _readmes(found)
        places = _places(found)
        values = [(value, key) for _, members in found.values() for key, value in members.items()]
        constants = {id(v): key for v, key in values if type(v).__module__.startswith("deeplab.")}
        for name, page in pages.items():
            _adapt(page, places, constants)
            page.submodules = [pages[other] for other in pages if other.rpartition(".")[0] == name]
            page.docstring = "\n\n".join([page.docstring, *readmes.get(name, ())])
        _configure(places)
        for name, page in pages.items():
            file = folder / (name.replace(".", "/") + ".html")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(render.html_module(page, pages), encoding="utf-8")
        (folder / "search.js").write_text(render.search_index(pages), encoding="utf-8")
        (folder / "index.html").write_text(render.html_index(pages), encoding="utf-8")
    return folder / "deeplab.html"


def _page(name: str, module: ModuleType, members: Mapping[str, Any]) -> Any:
    """The page of a room: what pdoc would make of a module of that name that defines them all."""
    from pdoc import doc, doc_ast

    page = doc.Module(module)
    page.modulename, page.taken_from, page._member_objects = name, (name, ""), dict(members)
    homes = [m for key, m in sys.modules.items() if key.startswith("deeplab.")]
    for key, value in members.items():
        shown = page.members[key]
        if inspect.isclass(value):  # under another name than its own, too
            page.members[key] = doc.Class(name, key, value, shown.taken_from)
        elif isinstance(shown, doc.Variable):
            told = (doc_ast.walk_tree(m).var_docstrings.get(key) for m in homes if vars(m).get(key) is value)
            shown.docstring = inspect.cleandoc(next(filter(None, told), shown.docstring))
    return page


def _readmes(found: public.Rooms) -> dict[str, list[str]]:
    """The README of each room, and those of folders in it that are no rooms; links to what is no page become text."""
    homes = {public.folder_of(module): room for room, (module, _) in found.items() if hasattr(module, "__path__")}
    top = public.folder_of(deeplab)
    files = {path: next(homes[p] for p in path.parents if p in homes) for path in sorted(top.rglob("README.md"))}
    if (top.parent / "pyproject.toml").exists():  # in a checkout
        files = {top.parent / "README.md": "deeplab"} | files
    told: dict[str, list[str]] = {}
    for file, room in files.items():

        def link(match: re.Match[str], file: Path = file, room: str = room) -> str:
            text, target = match.groups()
            page = files.get((file.parent / target).resolve())
            if "://" in target:
                return match[0]
            if match[0].startswith("!"):
                return ""
            return f"[{text}]({'../' * room.count('.')}{page.replace('.', '/')}.html)" if page else text

        text = re.sub(r"!?\[([^\]]*)\]\(([^)]+)\)", link, file.read_text(encoding="utf-8"))
        told.setdefault(room, []).append(re.sub(r"^```(\w+) .*$", r"```\1", text, flags=re.MULTILINE))
    return told


def _places(found: public.Rooms) -> dict[str, tuple[str, str]]:
    """Room and name by each full name that a public thing has: where it is public, and where it is defined."""
    places = {module.__name__: (name, "") for name, (module, _) in found.items()} | {n: (n, "") for n in found}
    for name, (_, members) in found.items():
        places |= {f"{name}.{key}": (name, key) for key in members}
        places |= {origin: (name, key) for key, value in members.items() if (origin := public.origin_of(value))}
    return places


def _configure(places: Mapping[str, tuple[str, str]]) -> None:
    """Settings of pdoc: public names only, and links from wherever a name is defined to where it is public."""
    import jinja2
    from pdoc import render, render_helpers

    render.configure(docformat="google", show_source=False)
    template = jinja2.DictLoader({"module.html.jinja2": _TEMPLATE, "custom.css": _STYLE})
    render.env.loader = jinja2.ChoiceLoader([template, *filter(None, [render.env.loader])])

    @jinja2.pass_context
    def linkify(context: Any, code: str, namespace: str = "", shorten: bool = True) -> str:
        def link(match: re.Match[str]) -> str:
            told = re.sub("<.*?>", "", match[0])
            room, name = places.get(re.sub(r"^dl\.", "deeplab.", told), ("", ""))
            if not room:
                return match[0]
            text = match[0] if told.startswith("dl.") else name or room.replace("deeplab", "dl", 1)
            there = render_helpers.relative_link(context["module"].modulename, room)
            return f'<a href="{there}{"#" * bool(name or not there)}{name}">{text}</a>'

        return render_helpers.linkify(context, _NAMES.sub(link, code), namespace, shorten)

    @jinja2.pass_context
    def link(context: Any, spec: tuple[str, str], text: str | None = None) -> str:
        room, name = places.get(".".join(spec).rstrip("."), ("", ""))
        short = text if text and "." not in text else name or spec[1]
        return render_helpers.link(context, (room, name), short) if room else short

    render.env.filters |= {"linkify": linkify, "link": link}


def _adapt(shown: Any, places: Mapping[str, tuple[str, str]], constants: Mapping[int, str]) -> None:
    """Says of all that a page or a class holds where it is public, and its signature; drops what says nothing."""
    for member in shown.members.values():
        if member.kind == "class":
            _adapt(member, places, constants)
        home, (name, dot, rest) = member.taken_from[0], member.taken_from[1].partition(".")
        room, key = places.get(f"{home}.{name}", (home, name))
        member.taken_from = room, f"{key}{dot}{rest}"
        if member.kind == "function" and inspect.isfunction(inspect.unwrap(member.obj)):
            member.signature = _signature(member.obj, places, constants)
        if re.match("Alias for field number|Create new instance of|Call self as a function", member.docstring):
            member.docstring = ""
        if member.kind == "variable" and "<function " in repr(member.default_value):
            member.default_value = inspect.Parameter.empty


class _Code(str):
    """Source that is shown as it is, without quotes."""

    __repr__ = str.__str__


def _signature(function: Any, places: Mapping[str, Any], constants: Mapping[int, str]) -> inspect.Signature:
    """The signature as its source tells it, with names of deeplab in full, so that they become links.

    Args:
      function: Function or method.
      places: Where each full name is public.
      constants: Names of public values that are no functions, by their `id`.
    """
    names = getattr(inspect.unwrap(function), "__globals__", {})

    def annotated(told: Any) -> Any:
        def full(match: re.Match[str]) -> str:
            origin = public.origin_of(names.get(match[0]))
            return origin if origin and origin in places else match[0]

        told = getattr(told, "__forward_arg__", told)
        return _Code(re.sub(r"(?<![\w.])[A-Za-z_]\w*", full, told)) if isinstance(told, str) else told

    def default(value: Any) -> Any:
        name = constants.get(id(value)) or (getattr(value, "__name__", None) if callable(value) else None)
        return _Code(name) if name and value is not inspect.Parameter.empty else value

    given = inspect.signature(function)
    flax = ("parent", "name") if "parent" in given.parameters else ()  # which every module of Flax has
    kept = [
        p.replace(annotation=annotated(p.annotation), default=default(p.default))
        for key, p in given.parameters.items()
        if key not in flax and (key == "self" or function.__module__ != "typing")  # that of a protocol
    ]
    result = given.empty if function.__name__ in ("__init__", "__new__") else annotated(given.return_annotation)
    return given.replace(parameters=kept, return_annotation=result)
