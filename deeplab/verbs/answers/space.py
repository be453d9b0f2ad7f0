"""What a sweep varies: the arguments that make settings, and the folds in which each setting is tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from deeplab.experiment import Experiment
from deeplab.runs.identity.purity import pure
from deeplab.search.axes import Axis
from deeplab.search.proposals import Setting


@dataclasses.dataclass(frozen=True)
class Space:
    """The settings of a sweep.

    Attributes:
      given: All axes that were given, by argument.
      axes: Those that make settings.
      fixed: Values of the arguments that do not vary.
      fold: Argument that numbers folds; None where the experiment has none.
      folds: Folds in which each setting is tried; empty for the one of `fixed`.
      closed: Arguments that take no other values than those of their type.
    """

    given: Mapping[str, Axis]
    axes: Mapping[str, Axis]
    fixed: Setting
    fold: str | None = None
    folds: tuple[Any, ...] = ()
    closed: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, given: Mapping[str, Axis], arguments: Mapping[str, Any], fold: str | None, closed: set[str], *, drawn: bool
    ) -> Space:
        """The space of axes; all of a range where values are drawn from it, and its values in a grid."""
        folds = given[fold].values if fold is not None and fold in given and not given[fold].fixed else ()
        axes = {k: axis.drawn() if drawn else axis for k, axis in given.items() if not (folds and k == fold)}
        varied = {k: axis for k, axis in axes.items() if not axis.fixed}
        fixed = dict(arguments) | {k: axis.values[0] for k, axis in axes.items() if axis.fixed}
        return cls(given, varied, {k: v for k, v in fixed.items() if k not in varied}, fold, folds, frozenset(closed))

    @property
    def parts(self) -> list[Setting]:
        """What the runs of one setting and seed differ in: the folds."""
        return [{str(self.fold): value} for value in self.folds] or [{}]

    def varies(self, argument: str) -> bool:
        """Whether an argument has many values."""
        return argument in self.axes or (argument == self.fold and len(self.folds) > 0)

    def first(self, build: Callable[..., Experiment]) -> Experiment:
        """The experiment of the first setting.

        Raises:
          UserError: A value of another one is out of its range: later it is a tracer, and cannot be checked.
        """
        start = self.fixed | self.parts[0] | {k: axis.at(0.0) for k, axis in self.axes.items()}
        for k, axis in self.axes.items():
            for value in axis.values or (axis.low, axis.high):
                build(**start | {k: value})
        for part in self.parts[1:]:
            build(**start | part)
        return pure(build, **start)
