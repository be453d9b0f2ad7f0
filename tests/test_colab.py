"""Notebooks run from top to bottom, in a process of their own."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "colab").glob("*.ipynb"))


def daily(path):
    """What the other one does is on the first page and in tests of their own."""
    return pytest.param(path, marks=() if path.stem == "your_own" else pytest.mark.slow, id=path.stem)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own client, and not of ours
@pytest.mark.parametrize("path", [*map(daily, NOTEBOOKS)])
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are kept without their outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
