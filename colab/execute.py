"""Executes notebooks from top to bottom and keeps what they show: `python colab/execute.py [01_ten_minutes ...]`.

All of them begin with `first_cell.py`, which is copied into each. Numbers of cells, times and progress are removed, so
that a notebook changes only where its code or its results do.
"""

from __future__ import annotations

import argparse
import base64
import re
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
FIRST_CELL = FOLDER / "first_cell.py"
MINUTES = 10


def prepared(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with today's first cell, and a badge under its title once the address is set."""
    code = FIRST_CELL.read_text(encoding="utf-8").strip()
    next(cell for cell in notebook.cells if cell.cell_type == "code").source = code
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
    return notebook


def kept(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """An output without what differs between two runs of the same code; None for what is written beside it."""
    if output.output_type == "stream":
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.text)
        output.text = "".join(line.rpartition("\r")[2] for line in text.splitlines(keepends=True))
        return output if output.name == "stdout" and output.text.strip() else None
    if "data" in output:
        output.metadata = {}
        if "image/png" in output.data:
            output.data = {"image/png": base64.b64encode(base64.b64decode(output.data["image/png"])).decode()}
    if "execution_count" in output:
        output.execution_count = None
    return output


def execute(path: Path) -> float:
    """Executes a notebook in an empty folder and writes its outputs into it.

    Args:
      path: Path of the notebook.

    Returns:
      Seconds that it took.
    """
    notebook = prepared(nbformat.read(path, as_version=4))
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=60 * MINUTES, resources={"metadata": {"path": folder}})
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(kept, cell.outputs) if output is not None]
            cell.execution_count = None
            cell.metadata = {key: cell.metadata[key] for key in cell.metadata if key != "execution"}
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(notebook, path)
    return time.monotonic() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="names of notebooks; all when left out")
    names = parser.parse_args().names or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        print(f"{name}: {execute(FOLDER / f'{name}.ipynb'):.0f} s")
