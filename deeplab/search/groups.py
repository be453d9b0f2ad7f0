"""Members of a population, told apart by the program that can run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deeplab.core import ranges
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment, traced_arguments
from deeplab.train.members import MemberExecution, Members


@dataclasses.dataclass(frozen=True)
@ranges.checked(seed=ranges.SEED)
class Member:
    """One run of a population: what `train` would be given."""

    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Group:
    """Members, M of them, that differ in floats and seed only.

    Args:
      function: Experiment, a function of its hyper-parameters.
      members: Members; floats that one does not give are the function's defaults.
    """

    function: Callable[..., Experiment]
    members: Sequence[Member]
    runtime: Runtime = Runtime()

    def members_with(self, execution: MemberExecution) -> Members:
        """What the engine trains; there are as many members as the execution has in one program."""
        return Members(self.experiment, self.floats, self.seeds, execution)

    @property
    def floats(self) -> dict[str, np.ndarray]:
        """What is traced, by argument, [M] each."""
        defaults = traced_arguments(self.function).items()
        return {k: np.array([m.arguments.get(k, v) for m in self.members], np.float32) for k, v in defaults}

    @property
    def seeds(self) -> np.ndarray:
        return np.array([member.seed for member in self.members], np.uint32)

    def experiment(self, floats: Mapping[str, Any] | None = None) -> Experiment:
        """That of one member, whose floats may be tracers; of the first one when None."""
        return self.function(**{**self.members[0].arguments, **(floats or {})})


def groups(function: Callable[..., Experiment], members: Sequence[Member], runtime: Runtime = Runtime()) -> list[Group]:
    """Members by the program that can run them, in the order of their appearance.

    Example:
      >>> def experiment(width: int = 8, learning_rate: float = 0.1): ...
      >>> members = [Member({"width": w, "learning_rate": r}) for r in (0.1, 0.2) for w in (8, 16)]
      >>> [[m.arguments["learning_rate"] for m in group.members] for group in groups(experiment, members)]
      [[0.1, 0.2], [0.1, 0.2]]
    """
    traced = traced_arguments(function)
    found: dict[str, list[Member]] = {}
    for member in members:
        shape = sorted((name, value) for name, value in member.arguments.items() if name not in traced)
        found.setdefault(repr(shape), []).append(member)
    return [Group(function, same, runtime) for same in found.values()]


def chunks(group: Group, size: int) -> list[Group]:
    """Parts of `size` members, which run through the same programs; the last is filled up with its last member.

    Example:
      >>> [[m.seed for m in part.members] for part in chunks(Group(dict, [Member(seed=s) for s in range(3)]), 2)]
      [[0, 1], [2, 2]]
    """
    parts = [list(group.members[i : i + size]) for i in range(0, len(group.members), size)]
    return [dataclasses.replace(group, members=part + part[-1:] * (size - len(part))) for part in parts]
