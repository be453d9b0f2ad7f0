"""`explain`: what predictions of a trained run are made of, as a page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.predict import loaded
from deeplab.core.errors import UserError, raise_all
from deeplab.explain.trust.compare import STANDARD
from deeplab.verbs.explaining.explain import explain_run, page
from deeplab.verbs.explaining.explained import METHODS
from deeplab.verbs.explaining.subject import ClassScore
from deeplab.verbs.load import Checkpoint
from deeplab.verbs.predict import examples_of


@dataclasses.dataclass(frozen=True)
class ExplainFlags(CommonFlags):
    """Flags of explain.

    Args:
      files: Files of your own, or folders of them; examples of a split when there are none.
      ids: Examples of the split; its worst mistakes when left out.
      count: Number of mistakes.
      measured: Number of further examples of the split on which the methods are measured too.
      methods: Names of the methods; all that can explain the model when left out.
      metrics: Further columns of the report, such as infidelity or road; sensitivity_n takes the most time.
      score: What is explained of a class: its logit, or its log-probability, which falls with the logits of the others.
      split: Name of the split; the one that training evaluates on when left out.
      checkpoint: Last checkpoint, or the best by the experiment's monitor.
      out: Path of the page; explain.html in the run directory when left out.
    """

    files: tyro.conf.Positional[tuple[Path, ...]] = ()
    ids: tuple[int, ...] = ()
    count: int = 4
    measured: int = 0
    methods: tuple[str, ...] = METHODS
    metrics: tuple[str, ...] = STANDARD
    score: ClassScore = "logit"
    split: str | None = None
    checkpoint: Checkpoint = "last"
    out: Path | None = None


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Explains the worst mistakes of a run, chosen examples or files of your own, and tells which maps to trust.

    Returns:
      run_dir, page, ranking (insertion - deletion by method), insane (methods that survive randomized weights).
    """
    flags: ExplainFlags = call.flags
    inputs, titles = _read(call) if flags.files else (None, ())
    chosen = {"ids": flags.ids, "count": flags.count, "measured": flags.measured, "split": flags.split}
    chosen |= {"methods": flags.methods, "metrics": flags.metrics, "score": flags.score}
    found = explain_run(loaded(call, flags.checkpoint), inputs, titles=titles, **chosen)
    path = page(found, call.name, flags.out or call.directory / "explain.html")
    console.print(f"{found}\npage: {path}", highlight=False, soft_wrap=True)
    ranking = {name: row["faithful"][0] for name, row in found.report.rows.items()}
    return {"run_dir": call.directory, "page": path, "ranking": ranking, "insane": found.report.insane()}


def _read(call: Invocation) -> tuple[dict[str, np.ndarray], list[str]]:
    """The examples of the files by field, and their names."""
    failed: dict[str, str] = {}
    examples = examples_of(call.recipe, call.flags.files, failed)
    raise_all([UserError(f"{file}: {why}") for file, why in failed.items()])
    return {name: np.stack([example[name] for _, example in examples]) for name in examples[0][1]}, [
        name for name, _ in examples
    ]
