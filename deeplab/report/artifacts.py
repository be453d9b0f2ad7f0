"""The blocks of a run: `artifacts/*.json`, or those that the files of older runs give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deeplab.core import blocks
from deeplab.core.errors import UserError
from deeplab.core.text import loads
from deeplab.report.record import RunRecord
from deeplab.report.render import Site, render
from deeplab.report.text import Html, is_number, join, tag

Block = blocks.Block


class Artifact(NamedTuple):
    """The blocks of one file.

    Attributes:
      file: Path of the file in the run directory.
      blocks: Its blocks; empty where it cannot be read.
      problem: Reason why it cannot be read; empty where it can.
    """

    file: str
    blocks: list[Block]
    problem: str = ""


def load(run: RunRecord) -> list[Artifact]:
    """The artifacts of a run, in the order of the record's "artifacts", then by name.

    A run without a folder `artifacts/` shows what its `predictions.npz` holds, recognized by the names of its arrays.
    `cards.json` and `samples.json` are read in either case.
    """
    files = sorted((run.directory / "artifacts").glob("*.json"))
    listed = run.record.get("artifacts")
    order = [str(name) for name in listed] if isinstance(listed, list) else []
    files.sort(key=lambda file: order.index(file.stem) if file.stem in order else len(order))
    found = [_read(run, f"artifacts/{file.name}", _blocks) for file in files] or [_predictions(run)]
    return [*found, _read(run, "samples.json", _samples), _read(run, "cards.json", _blocks)]


def headlines(artifacts: Sequence[Artifact]) -> list[Block]:
    """The headlines outside any section: they belong to the top of the page."""
    return [block for artifact in artifacts for block in artifact.blocks if _is_headline(block)]


def sections(artifacts: Sequence[Artifact], folder: Path) -> Html:
    """All other blocks, and notices about files that cannot be shown.

    Args:
      artifacts: Artifacts from `load`.
      folder: Folder for the figures' files.
    """
    return join(*(_drawn(artifact, Site(f"artifact-{i}", folder=folder)) for i, artifact in enumerate(artifacts)))


def _is_headline(block: Block) -> bool:
    """Whether a block is a headline with all its fields; a damaged one is drawn, and so gets a notice."""
    return block["kind"] == "headline" and {"label", "value", "note"} <= block.keys() and is_number(block["value"])


def _drawn(artifact: Artifact, site: Site) -> Html:
    if artifact.problem:
        return tag("p", artifact.problem, class_="notice")
    shown = [block for block in artifact.blocks if not _is_headline(block)]
    try:
        return join(*(render(block, site.inner(i)) for i, block in enumerate(shown)))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        return tag("p", _damaged(artifact.file, error), class_="notice")


def _read(run: RunRecord, file: str, parse: Callable[[Any], list[Block]]) -> Artifact:
    try:
        return Artifact(file, parse(loads(run.text(file) or "[]")))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Artifact(file, [], _damaged(file, error))


def _damaged(file: str, error: Exception) -> str:
    return f"{file} is damaged and not shown ({type(error).__name__}: {error})."


def _blocks(value: Any) -> list[Block]:
    """A block or a list of them; `{"heading", "cards"}` is a section of cards."""
    given = [value] if isinstance(value, Mapping) else value
    if not isinstance(given, list) or not all(isinstance(block, Mapping) for block in given):
        raise ValueError("expected a block or a list of blocks")
    return [dict(block) if "kind" in block else blocks.section(block["heading"], blocks.cards(block["cards"]))
            for block in given if "kind" in block or block["cards"]]  # fmt: skip


def _samples(value: Any) -> list[Block]:
    """`samples.json`: a list of {"prompt", "text"}."""
    given = [each for each in value if isinstance(each, Mapping) and "text" in each] if isinstance(value, list) else []
    prompts, texts = ([str(each.get(name, "")) for each in given] for name in ("prompt", "text"))
    return [blocks.samples(prompts, texts)] if given else []


def _predictions(run: RunRecord) -> Artifact:
    """The blocks of `predictions.npz`."""
    file, split = "predictions.npz", run.splits[0] if run.splits else "test"
    try:
        arrays = run.predictions() or {}
        made = blocks.classification(arrays, run.record.get("class_names") or (), split)
        if "token_loss" in arrays:
            made += blocks.loss_by_position(arrays["token_loss"], split)
        return Artifact(file, made)
    except UserError as error:
        return Artifact(file, [], str(error))
    except (ValueError, TypeError, IndexError, KeyError) as error:
        return Artifact(file, [], _damaged(file, error))
