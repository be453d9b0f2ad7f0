"""The page of a sweep or a study: its command, its facts and the sections that it brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.report import header
from deeplab.report.document import document, save
from deeplab.report.text import Html, folded, join, note, shell, tag


def write(
    directory: Path,
    name: str,
    *,
    source: str,
    command: str,
    facts: Mapping[str, Any],
    sections: Sequence[Html],
    kind: str = "study",
) -> Path:
    """Writes `report.html`.

    Args:
      directory: Folder of the study.
      name: Name of the experiment.
      source: Source of the experiment's file; the first line of its docstring is shown below the name.
      command: Command that made the study.
      facts: Facts by name, shown side by side.
      sections: Body of the page.
      kind: Kind of page, such as "sweep".

    Returns:
      The path of the page.

    Raises:
      UserError: The page cannot be written.
    """
    top = join(
        tag("p", f"{directory.name} · {kind}", class_="eyebrow"),
        tag("h1", name),
        note(header.summary(source)),
        shell(command),
        header.facts(list(facts.items())),
    )
    kept = folded("Source of the experiment", source)
    body = join(top, *sections, tag("h2", "Record"), kept)
    return save(directory / "report.html", document(f"{name} · {kind}", body))
