"""`robustness`: how far the predictions of a trained run can be trusted, as a page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.predict import loaded
from deeplab.verbs.load import Checkpoint
from deeplab.verbs.robustness.robustness import PARTS, page, robustness


@dataclasses.dataclass(frozen=True)
class RobustnessFlags(CommonFlags):
    """Flags of robustness.

    Args:
      parts: Parts of the page, of attacked, corrupted, certified, reliable and unfamiliar.
      examples: Number of examples, spread over the split.
      radii: Radii of the attacks: parts of white for images, and else standard deviations.
      attack_steps: Number of steps of an attack.
      auto_attack: Whether AutoAttack takes the place of these steps, of classifiers.
      severities: Severities of the corruptions, of 1 to 5.
      noise: Standard deviation of the noise of certificates by smoothing, in the same unit.
      draws: Number of draws of that noise for each example.
      alpha: Share of misses that conformal sets allow.
      split: Name of the split; the one that training evaluates on when left out.
      checkpoint: Last checkpoint, or the best by the experiment's monitor.
      out: Path of the page; robustness.html in the run directory when left out.
    """

    parts: tuple[str, ...] = PARTS
    examples: int = 256
    radii: tuple[float, ...] = ()
    attack_steps: int = 20
    auto_attack: bool = False
    severities: tuple[int, ...] = (1, 3, 5)
    noise: float = 0.25
    draws: int = 200
    alpha: float = 0.1
    split: str | None = None
    checkpoint: Checkpoint = "last"
    out: Path | None = None


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Attacks a run, corrupts what it reads, certifies, calibrates, and shows it what it has never seen.

    Returns:
      run_dir, page, parts (a sentence by name), left_out (a reason by name).
    """
    flags: RobustnessFlags = call.flags
    found = robustness(
        loaded(call, flags.checkpoint),
        flags.parts,
        examples=flags.examples,
        radii=flags.radii,
        steps=flags.attack_steps,
        auto_attack=flags.auto_attack,
        severities=flags.severities,
        noise=flags.noise,
        draws=flags.draws,
        alpha=flags.alpha,
        split=flags.split,
    )
    path = page(found, call.name, flags.out or call.directory / "robustness.html")
    console.print(f"{found}\npage: {path}", highlight=False, soft_wrap=True)
    told = {name: part.lead for name, part in found.parts.items()}
    return {"run_dir": call.directory, "page": path, "parts": told, "left_out": dict(found.left_out)}
