"""Commands about more than one experiment: `deeplab list`, `runs`, `report RUN ...` and `chat FOLDER`."""

from __future__ import annotations

import argparse
import ast
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deeplab import report
from deeplab.cli import chat
from deeplab.core.errors import UserError
from deeplab.core.printable import plain_console


def run(argv: Sequence[str]) -> dict[str, Any]:
    """Runs the command `deeplab`.

    Args:
      argv: Words after the program's name.

    Returns:
      experiments, runs, report or messages, by the verb.

    Raises:
      UserError: A folder or a run directory does not exist.
    """
    parser = argparse.ArgumentParser("deeplab", description="Experiments, runs and their reports.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="list the experiments")
    runs = verbs.add_parser("runs", help="list the runs in a folder")
    runs.add_argument("root", nargs="?", type=Path, default=Path("runs"))
    pages = verbs.add_parser("report", help="write the report of a run, or a comparison of several runs")
    pages.add_argument("run", nargs="+", type=Path)
    pages.add_argument("--out", type=Path, default=Path("comparison.html"), help="path of a comparison")
    chat.add_flags(verbs)
    flags = parser.parse_args(argv)
    if flags.verb == "chat":
        return chat.run(flags)
    console = plain_console()
    if flags.verb == "list":
        return {"experiments": _list(console)}
    if flags.verb == "runs":
        if not flags.root.is_dir():
            raise UserError(f"{flags.root} is not a folder; give the folder of the runs: deeplab runs FOLDER")
        found = report.find(flags.root)
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
    names = []
    for path in sorted(p for folder in folders for p in folder.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "experiment" for node in tree.body):
            names.append(path.stem)
            table.add_row(path.stem, (ast.get_docstring(tree) or "").partition("\n")[0])
    console.print(table)
    console.print("\npython -m experiments.NAME --help shows the arguments of an experiment")
    return names
