"""`deeplab new NAME --kind KIND`: an experiment of one screen, its test and a notebook, which run as they are."""

from __future__ import annotations

import argparse
import importlib.util
import json
import keyword
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from deeplab.core.errors import UserError

KINDS = ("images", "text", "sound", "table", "series")
_TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `deeplab new`."""
    parser.add_argument("name", help="name of the experiment, which becomes that of its file")
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0], help="what the data are (default: images)")
    parser.add_argument("--folder", type=Path, default=Path("."), help="where the files are written (default: here)")


def run(flags: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Writes the three files of a new experiment.

    Args:
      flags: Flags of `add_flags`.
      console: Console of the command.

    Returns:
      files.
    """
    files = write(flags.name, flags.kind, flags.folder)
    console.print(f"wrote {', '.join(map(str, files))}", soft_wrap=True)
    enter = "" if flags.folder.resolve() == Path.cwd() else f"cd {flags.folder} && "
    for command, meaning in (
        (f"{enter}python {files[0].name} --smoke", "the whole way in seconds, on synthetic data"),
        (f"{enter}python -m pytest {files[1].name}", "its test"),
        (f"{enter}python {files[0].name}", "trains; the same command again goes on, or says that it is done"),
    ):
        console.print(f"  {command:40}  # {meaning}", soft_wrap=True)
    return {"files": [str(file) for file in files]}


def write(name: str, kind: str, folder: Path) -> list[Path]:
    """Writes `NAME.py`, `test_NAME.py` and `NAME.ipynb` into a folder; nothing is overwritten.

    Args:
      name: Name of the experiment: one of a module, which no other module has.
      kind: One of `KINDS`.
      folder: Folder of the files; made if need be.

    Raises:
      UserError: The name is none of a module, another module has it, or a file exists.
    """
    _check_name(name)
    texts = {
        f"{name}.py": _text(kind, name, kind),
        f"test_{name}.py": _text("check", name, kind),
        f"{name}.ipynb": json.dumps(_notebook(_text("notebook", name, kind)), indent=1) + "\n",
    }
    files = {folder / file: text for file, text in texts.items()}
    if there := [str(file) for file in files if file.exists()]:
        raise UserError(f"{', '.join(there)} exists, and nothing is overwritten; give another name, or a --folder")
    if importlib.util.find_spec(name) is not None:
        raise UserError(f"another module is called {name!r}, which this one would hide; {_instead(f'my_{name}')}")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    return list(files)


def _check_name(name: str) -> None:
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        words = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
        raise UserError(
            f"{name!r} is no name of a module, which has letters, digits and _, and begins with a letter; "
            f"{_instead(words if words[:1].isalpha() and not keyword.iskeyword(words) else f'my_{words}'.rstrip('_'))}"
        )
    if name.startswith(("test_", "_")):
        raise UserError(f"{name!r} begins like a test or a private module; {_instead('my_' + name.lstrip('_'))}")


def _instead(name: str) -> str:
    return f"write, for example, deeplab new {name}"


def _text(template: str, name: str, kind: str) -> str:
    """A template with the user's name in place of that of its kind."""
    text = (_TEMPLATES / f"{template}.py").read_text(encoding="utf-8")
    text = text.replace("from deeplab.templates.images import", f"from {name} import")
    old = kind if template == kind else "images"
    for pattern in (
        rf"(?<=^\"\"\"){old}(?=:)",
        rf"(?<=python ){old}(?=\.py)",
        rf"(?<=Tests of ){old}",
        rf"(?<=# # ){old}",
    ):
        text = re.sub(pattern, name, text)
    return text.replace(f"`{old}.py`", f"`{name}.py`").replace(f'"runs/{old}"', f'"runs/{name}"')


def _notebook(script: str) -> dict[str, Any]:
    """A notebook of a script whose cells begin with `# %%`."""
    cells = []
    for number, part in enumerate(re.split(r"^# %%", script, flags=re.MULTILINE)[1:]):
        head, _, body = part.partition("\n")
        lines = re.sub(r"  # noqa.*", "", body.strip("\n")).splitlines(keepends=True)
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
        if "[markdown]" in head:
            cells.append(cell | {"cell_type": "markdown", "source": [line.removeprefix("# ") for line in lines]})
        else:
            cells.append(cell | {"cell_type": "code", "source": lines, "outputs": [], "execution_count": None})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
