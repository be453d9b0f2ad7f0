"""`probe`: what each layer of a trained run tells, as a page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from deeplab.cli.arguments import CommonFlags, Invocation
from deeplab.cli.predict import loaded
from deeplab.verbs.load import Checkpoint
from deeplab.verbs.probing.probe import page, probe


@dataclasses.dataclass(frozen=True)
class ProbeFlags(CommonFlags):
    """Flags of probe.

    Args:
      layers: Names of taps, or "input"; the parts of the model in their order when left out.
      label: Name of the field of classes.
      train_examples: Number of training examples that probes learn from.
      test_examples: Number of examples that they classify.
      k: Number of neighbors that vote.
      probe_seed: Seed of the initial weights and of the shuffled labels.
      split: Name of the split of the test examples; the one that training evaluates on when left out.
      checkpoint: Last checkpoint, or the best by the experiment's monitor.
      on: Directory of a run on whose data the features are probed; the run's own data when left out.
      beside: Directory of a run to whose layers those of the run are compared, such as one of another seed.
      look: Adds few labels, the spread of features, a map of neighborhoods, and, of images, filters and units.
      out: Path of the page; probe.html in the run directory when left out.
    """

    layers: tuple[str, ...] = ()
    label: str = "label"
    train_examples: int = 2000
    test_examples: int = 1000
    k: int = 20
    probe_seed: int = 0
    split: str | None = None
    checkpoint: Checkpoint = "last"
    on: Path | None = None
    beside: Path | None = None
    look: bool = False
    out: Path | None = None


def run(call: Invocation, console: Console) -> dict[str, Any]:
    """Reads classes from each layer of a run, beside the same network with initial weights and shuffled labels.

    Returns:
      run_dir, page, layers (linear probe by name), gains (what training added to each).
    """
    flags: ProbeFlags = call.flags
    others = flags.on is not None or flags.beside is not None
    found = probe(
        loaded(call, flags.checkpoint),
        flags.layers,
        label=flags.label,
        split=flags.split,
        train=flags.train_examples,
        test=flags.test_examples,
        k=flags.k,
        seed=flags.probe_seed,
        checkpoint=flags.checkpoint if others else "last",
        on=flags.on,
        beside=flags.beside,
        look=flags.look,
    )
    path = page(found, call.name, flags.out or call.directory / "probe.html")
    console.print(f"{found}\npage: {path}", highlight=False, soft_wrap=True)
    linear = {layer.name: layer.linear for layer in found.layers}
    return {
        "run_dir": call.directory, "page": path, "layers": linear, "gains": {x.name: x.gain for x in found.layers}
    }  # fmt: skip
