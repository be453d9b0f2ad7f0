"""What is printed is what was named: no bracket of a name is markup, and no colon an emoji."""

import ast
import warnings
from pathlib import Path

import pytest
from rich.table import Table

import deeplab
import deeplab as dl
from deeplab.cli import index
from deeplab.cli.main import _or_exit
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable, plain_console, print_message
from tests import toys

ROOT = Path(deeplab.__file__).parent
NAMES = ["exp[1]", "[red]a", "[/]", "[/red]", "[link=x]y", ":warning:", "a\\[b", "\\", "[bold red]error:[/]", "[[x]]"]


class Named(Printable):
    def __init__(self, name):
        self.name = name

    def __rich__(self):
        table = Table("name", self.name, title=self.name, box=None)
        table.add_row("row", self.name)
        return table


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(name, capsys):
    assert [line.split() for line in str(Named(name)).splitlines()] == [[name], ["name", name], ["row", name]] or (
        " " in name and str(Named(name)).count(name) == 3
    )
    print_message("error", "bold red", name)
    assert capsys.readouterr().err == f"error: {name}\n"
    plain_console().print(name)
    assert capsys.readouterr().out == f"{name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_errors_and_warnings_are_printed_as_they_are(name, capsys):
    def fail():
        warnings.warn(name, stacklevel=1)
        raise UserError(f"{name} is wrong")

    with warnings.catch_warnings(action="always"), pytest.raises(SystemExit):
        _or_exit(fail)
    assert capsys.readouterr().err == f"warning: {name}\nerror: {name} is wrong\n"


def bracketed(steps: int = 12, name: str = "[red]x[/]") -> dl.Experiment:
    return toys.experiment(steps=steps)


def test_the_verbs_print_the_paths_of_a_run(tmp_path, capsys):
    """A run in a folder of brackets is trained, evaluated and listed under its name."""
    folder = tmp_path / "[red]exp[1]:x:"
    flags = ["--run-dir", str(folder), "--smoke"]
    with warnings.catch_warnings(action="ignore"):
        for verb in ("train", "eval", "report", "summary"):
            dl.main(bracketed, [verb, *flags])
            out = capsys.readouterr().out
            assert verb == "summary" or str(folder) in out.replace("\n", "") or verb == "eval", out
        assert str(folder) in str(dl.load(folder, bracketed)).replace("\n", "")
        index.run(["runs", str(tmp_path)])
        assert "[red]exp[1]:x:" in capsys.readouterr().out
        index.run(["report", str(folder)])
        assert f"report: {folder}/report.html" in capsys.readouterr().out.replace("\n", "")


def test_every_console_is_plain():
    """Consoles are made by `plain_console` only, and no text is read as markup."""
    for path in ROOT.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        made = {getattr(call, "id", getattr(call, "attr", None)) for call in calls}
        assert not made & {"from_markup", "render_markup"}, path
        assert "Console" not in made or path.name == "printable.py", path
