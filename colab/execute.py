"""Executes notebooks from top to bottom and keeps what they show: `python colab/execute.py [01_ten_minutes ...]`.

All of them begin with `first_cell.py`, which is copied into each. Numbers of cells, times and progress are removed, so
that a notebook changes only where its code or its results do. Once `first_cell.py` has the address of the repository,
each notebook and the first page get a badge that opens them in Colab.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
FIRST_CELL = FOLDER / "first_cell.py"
PAGE = FOLDER.parent / "README.md"
MINUTES = 30  # of a cell, on a machine that others use, too

LARGE = 60_000  # characters of a picture


def badge(code: str, name: str) -> str:
    """The badge that opens a notebook in Colab.

    Args:
      code: Text of the first cell, which has the address of the repository.
      name: Name of the notebook, without its suffix.

    Returns:
      A line of Markdown; "" where the address is a placeholder.
    """
    found = re.search(r"git\+https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?@([\w.-]+)", code)
    if not found or found[1] == "OWNER":
        return ""
    owner, repository, tag = found.groups()
    image = "![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)"
    return f"[{image}](https://colab.research.google.com/github/{owner}/{repository}/blob/{tag}/colab/{name}.ipynb)"


def badged(text: str, line: str) -> str:
    """A page with the badge below its title, in place of an older one."""
    text = re.sub(r"\n\n\[!\[Open in Colab\].*", "", text)
    title, _, rest = text.partition("\n")
    return f"{title}\n\n{line}\n{rest}" if line else text


def prepared(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The notebook with today's first cell, and a badge under its title once the address is set."""
    code = FIRST_CELL.read_text(encoding="utf-8").strip()
    next(cell for cell in notebook.cells if cell.cell_type == "code").source = code
    notebook.cells[0].source = badged(notebook.cells[0].source, badge(code, name))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
    return notebook


def kept(output: nbformat.NotebookNode, folder: str = "") -> nbformat.NotebookNode | None:
    """An output without what differs between two runs of the same code, in any folder; None where nothing is left."""
    if output.output_type == "stream":
        output.text = without_times(output.text, folder)
        return output if output.name == "stdout" and output.text.strip() else None
    if "data" in output:
        output.metadata = {}
        if re.search(r" at 0x[0-9a-f]+>", output.data.get("text/plain", "")) and len(output.data) == 1:
            return None  # an object without a text of its own, told by its address
        if "<iframe" in output.data.get("text/html", ""):  # a page of its own, which readers on the web do not see
            return None
        if len(output.data.get("image/png", "")) > LARGE:
            output.data["image/png"] = in_few_colors(output.data["image/png"])
        for kind in ("text/plain", "text/html"):
            if kind in output.data:
                output.data[kind] = without_times(output.data[kind], folder)
    if "execution_count" in output:
        output.execution_count = None
    return output


def in_few_colors(png: str) -> str:
    """A picture in 256 colors, in base 64 as it is given: a third of the size, and to the eye the same."""
    file = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def without_times(text: str, folder: str = "") -> str:
    """A text without the folder, colors, progress (written over and over on one line), and rows of seconds."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace(f"{folder}/", "") if folder else text)
    lines = []
    for line in text.split("\n"):
        shown = line.rpartition("\r")[2]
        dropped = r"(\s*|step [\d,]+/.*|[\d,]+ of [\d,]+ runs.*)$" if "\r" in line else r"\s*seconds +[\d,.]+\s*$"
        if not re.match(dropped, shown):
            lines.append(shown)
    return "\n".join(lines)


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with the pieces of a stream, which come as the system passes them on, in one."""
    made: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and made and made[-1].get("name") == output.name:
            made[-1].text += output.text
        else:
            made.append(output)
    return made


def execute(path: Path) -> float:
    """Executes a notebook in an empty folder and writes its outputs into it.

    Args:
      path: Path of the notebook.

    Returns:
      Seconds that it took.
    """
    notebook = prepared(nbformat.read(path, as_version=4), path.stem)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        folder = os.path.realpath(made)
        client = NotebookClient(notebook, timeout=60 * MINUTES, resources={"metadata": {"path": folder}})
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [found for output in joined(cell.outputs) if (found := kept(output, folder)) is not None]
            cell.execution_count = None
            cell.metadata = {key: cell.metadata[key] for key in cell.metadata if key != "execution"}
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(notebook, path)
    return time.monotonic() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="names of notebooks; all when left out")
    parser.add_argument(
        "--prepare", action="store_true", help="write first cells and badges alone, and execute nothing"
    )
    flags = parser.parse_args()
    names = flags.names or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    os.environ.pop("MPLBACKEND", None)  # figures are shown in the notebook
    for path in (FOLDER / f"{name}.ipynb" for name in names):
        if flags.prepare:
            nbformat.write(prepared(nbformat.read(path, as_version=4), path.stem), path)
        else:
            print(f"{path.stem}: {execute(path):.0f} s", flush=True)
    page = PAGE.read_text(encoding="utf-8")
    if (now := badged(page, badge(FIRST_CELL.read_text(encoding="utf-8"), "01_ten_minutes"))) != page:
        PAGE.write_text(now, encoding="utf-8")
