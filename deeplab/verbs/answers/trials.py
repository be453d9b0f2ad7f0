"""Which settings a sweep tries, and what makes no sense."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.search.proposals import How
from deeplab.verbs.answers.space import Space


@dataclasses.dataclass(frozen=True)
@ranges.checked(num_trials=ranges.COUNT, parallel_trials=ranges.COUNT, halving=ranges.Range(at_least=2))
class Trials:
    """Which settings a sweep tries.

    Args:
      search: "grid" for all combinations; "random" or "quasi" for draws; "tpe" for proposals of Optuna that learn from
        what has ended.
      num_trials: Number of settings that are drawn or proposed.
      parallel_trials: Number of proposals made before their results are waited for.
      halving: Factor of successive halving: the best N-th part of the settings goes on from each rung; all run to the
        end when None.
      backend: "local" for this process; "ray" for each group of one shape as a trial of Ray Tune.

    Example:
      >>> Trials(search="random", num_trials=32).num_trials
      32
    """

    search: How = "grid"
    num_trials: int = 16
    parallel_trials: int = 8
    halving: int | None = None
    backend: Literal["local", "ray"] = "local"

    def flags(self) -> dict[str, Any]:
        """Flags of the command line that tries the same settings."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v != getattr(Trials(), k)}

    def identity(self, seeds: int) -> dict[str, Any]:
        """What makes it another sweep; more seeds or draws do not, but where runs are compared with one another."""
        compared = {"halving": self.halving, "settings": self.num_trials, "seeds": seeds} if self.halving else {}
        how = {} if self.search == "grid" else {"how": self.search}
        learned = {"settings": self.num_trials, "seeds": seeds, "together": self.parallel_trials}
        return {"verb": "sweep"} | how | compared | (learned if self.search == "tpe" else {})


def check(trials: Trials, seeds: int, space: Space) -> None:
    """Refuses what makes no sense."""
    if trials.backend == "ray" and jax.process_count() > 1:
        raise UserError("--backend ray starts the processes of its trials itself; leave --processes and --coordinator")
    if not space.axes and not space.folds and seeds == 1:
        raise UserError(
            "one setting and one seed are one run, and that is what train does; give an argument many values, such as "
            "--learning-rate 1e-3..1e-1:8, or more --seeds"
        )
    if not space.axes and trials.search != "grid":
        raise UserError(f"--search {trials.search}: no argument has many values; give one a range, such as 1e-3..1e-1")
    usual, of = Trials(), {"num_trials": ("random", "quasi", "tpe"), "parallel_trials": ("tpe",)}
    for name, searches in of.items():
        if trials.search not in searches and getattr(trials, name) != getattr(usual, name):
            raise UserError(
                f"--{name.replace('_', '-')} {getattr(trials, name)} is for --search {' or '.join(searches)}, and the "
                f"search is {trials.search}; leave one of them out, or give that --search"
            )
    if trials.halving is None:
        return
    if space.folds:
        raise UserError(
            "--halving stops settings by their first steps on all their runs, and runs of folds are not comparable; "
            f"leave it out, or give one value of --{str(space.fold).replace('_', '-')}"
        )
    if trials.backend == "ray" or trials.search == "tpe":
        other = (
            "--backend ray, whose groups run apart" if trials.backend == "ray" else "--search tpe, which waits for ends"
        )
        raise UserError(f"--halving compares all settings at each rung, and cannot go with {other}")
