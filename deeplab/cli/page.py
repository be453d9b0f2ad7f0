"""`report`: writes the report of a run again."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from deeplab import report
from deeplab.cli.arguments import Invocation
from deeplab.core.errors import UserError


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Writes the report of the run with these arguments again.

    Returns:
      run_dir, report.
    """
    directory = call.directory
    if not (directory / "run.json").exists():
        raise UserError(f"{directory} is no run directory; train first:\n{call.command('train')}")
    page = report.write(directory)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    return {"run_dir": directory, "report": page}
