"""The file of the rows of many runs: a line for each, kept as they end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.core.errors import UserError
from deeplab.core.text import dumps, loads
from deeplab.report.document import save
from deeplab.report.text import duration
from deeplab.runs.lock import unwritable
from deeplab.scale import processes
from deeplab.search.setup import Row


def told(rows: Sequence[Row], varied: Sequence[str]) -> str:
    """One line of text about runs that have ended together."""
    same = [k for k in varied if len({str(row["arguments"][k]) for row in rows}) == 1]
    setting = ", ".join(f"{k} {rows[0]['arguments'][k]}" for k in same)
    counts = {
        "diverged": sum(row.get("diverged", False) for row in rows),
        "stopped": sum(r.get("stopped", False) for r in rows),
    }
    compiled = sum(sum(row.get("compiled", ())) for row in rows)
    parts = [
        f"seed {rows[0]['seed']}" if len(rows) == 1 else f"{len(rows)} runs",
        duration(sum(r["seconds"] for r in rows)),
    ]
    parts += [f"{count} {what}" for what, count in counts.items() if count]
    parts += [f"of which compiling {duration(compiled)}"] if compiled else []
    return f"{setting}: {', '.join(parts)}" if setting else ", ".join(parts)


def name(arguments: Mapping[str, Any], seed: int) -> str:
    """Identifier of a run: its arguments and seed as JSON."""
    return dumps({"arguments": dict(sorted(arguments.items())), "seed": seed}, str)


def finished(file: Path) -> dict[str, Row]:
    """Rows of a file by name; an incomplete last line, which a kill can leave, is removed."""
    lines = file.read_text(errors="replace", encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines):
        try:
            row = loads(line if line.endswith("\n") else "")
            rows[name(row["arguments"], row["seed"])] = row
        except (ValueError, KeyError, TypeError, AttributeError):
            if number + 1 < len(lines):
                raise UserError(
                    f"{file}: line {number + 1} is damaged; delete the line, and its run is trained again"
                ) from None
            save(file, "".join(lines[:number]))
    return rows


def append(file: Path | None, rows: Sequence[Row]) -> dict[str, Row]:
    """Keeps rows, and gives them as they will be read again."""
    lines = [dumps(row, str) for row in rows]
    if file and processes.is_primary():
        try:
            with file.open("a", encoding="utf-8") as out:
                out.write("".join(f"{line}\n" for line in lines))
                out.flush()
                os.fsync(out.fileno())  # the states of these runs are deleted next
        except OSError as error:
            raise unwritable(file, error) from error
    return {name(row["arguments"], row["seed"]): loads(line) for row, line in zip(rows, lines, strict=True)}
