"""The command `deeplab`: `new`, `doctor`, `data`, `chat`, `reference`; `list`, `runs`, `report` of many experiments."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deeplab import report
from deeplab.cli import chat, data
from deeplab.cli.tools import doctor, new, reference
from deeplab.core.errors import UserError
from deeplab.core.printable import plain_console
from deeplab.core.text import dumps

_TOOLS = {"new": new.run, "doctor": doctor.run, "data": data.run, "chat": chat.run, "reference": reference.run}


def run(argv: Sequence[str]) -> dict[str, Any]:
    """Runs the command `deeplab`.

    Args:
      argv: Words after the program's name.

    Returns:
      experiments, runs, report, files, checks, reference or what `deeplab.cli.data.run` returns, by the verb; and
      exit_code, where it is not 0.

    Raises:
      UserError: A folder or a run directory does not exist, or a file of a new experiment does.
    """
    parser = argparse.ArgumentParser("deeplab", description="Experiments, runs and their reports.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="list the experiments")
    runs = verbs.add_parser("runs", help="list the runs in a folder")
    runs.add_argument("root", nargs="?", type=Path, default=Path("runs"))
    runs.add_argument("--json", action="store_true", help="print a list of objects, one a run, as JSON")
    pages = verbs.add_parser("report", help="write the report of a run, or a comparison of runs, sweeps and studies")
    pages.add_argument("run", nargs="+", type=Path)
    pages.add_argument("--out", type=Path, default=Path("comparison.html"), help="path of a comparison")
    data.add(verbs)
    new.add_flags(verbs.add_parser("new", help="write an experiment, its test and a notebook"))
    doctor.add_flags(
        verbs.add_parser("doctor", help="what is installed and missing here, and the commands that mend it")
    )
    reference.add_flags(verbs.add_parser("reference", help="write the pages of all public names, to read offline"))
    chat.add_flags(verbs)
    flags = parser.parse_args(argv)
    console = plain_console()
    if flags.verb in _TOOLS:
        return _TOOLS[flags.verb](flags, console)
    if flags.verb == "list":
        return {"experiments": _list(console)}
    if flags.verb == "runs":
        if not flags.root.is_dir():
            raise UserError(f"{flags.root} is not a folder; give the folder of the runs: deeplab runs FOLDER")
        found = report.find(flags.root)
        if flags.json:
            print(dumps([dataclasses.asdict(summary) for summary in found], str, indent=1))
        else:
            console.print(report.table(found))
        return {"runs": [str(summary.directory) for summary in found]}
    page = report.write(flags.run[0]) if len(flags.run) == 1 else report.compare(flags.run, flags.out)
    console.print(f"report: {page}", soft_wrap=True)
    return {"report": page}


def _list(console: Console) -> list[str]:
    """Prints the experiments, found by parsing their files; none is imported."""
    spec = importlib.util.find_spec("experiments")
    folders = [Path(p) for p in spec.submodule_search_locations or ()] if spec else []
    table = Table("experiment", "description", box=None)
    names, broken = [], []
    for path in sorted(p for folder in folders for p in folder.glob("[!_]*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError) as error:
            broken.append(f"{path} is left out, since it cannot be read: {error}")
            continue
        if any(isinstance(node, ast.FunctionDef) and node.name == "experiment" for node in tree.body):
            names.append(path.stem)
            table.add_row(path.stem, (ast.get_docstring(tree) or "").partition("\n")[0])
    console.print(table)
    for line in broken:
        console.print(line, soft_wrap=True)
    console.print("\npython -m experiments.NAME --help shows the arguments of an experiment")
    return names
