"""A part of a group: members that go through one program together, their states, and what is saved of them.

A part is saved at each evaluation, as a solo run is: a kill loses the steps since the last one. Its directory is named
by its members, so that the same sweep finds it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.text import dumps
from deeplab.runs import storage
from deeplab.runs.checkpoint import Checkpoints
from deeplab.scale import processes, to_device_memory
from deeplab.search.groups import Group, Member
from deeplab.train.members import MemberExecution, Members, moved
from deeplab.train.state import State, choose


def setting_of(arguments: Mapping[str, Any]) -> str:
    """The name of a setting; its members differ in their seed only.

    Example:
      >>> setting_of({"width": 8, "rates": (0.1, 0.2)})
      '{"rates": [0.1, 0.2], "width": 8}'
    """
    return dumps(arguments, str, sort_keys=True)


def key_of(member: Member) -> str:
    """The name of a member."""
    return f"{setting_of(member.arguments)} {member.seed}"


@dataclasses.dataclass
class MemberRun:
    """What is known of one member so far.

    Attributes:
      member: Member.
      done: Whether its row is already kept.
      curve: Evaluations so far: `step`, `train` and `evaluation` each.
      rungs: Scores where it was compared with others.
      seconds: Seconds spent on it; those of a part are divided among its members.
      first: What a probe measured before training.
    """

    member: Member
    done: bool = False
    curve: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    rungs: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    first: dict[str, float] | None = None

    def at(self, step: int) -> dict[str, float] | None:
        """The evaluation at a step, where there was one."""
        found = next((point["evaluation"] for point in self.curve if point["step"] == step), None)
        return found and {
            name: math.nan if value is None else value for name, value in found.items()
        }  # earlier versions


@dataclasses.dataclass(frozen=True)
class PartState:
    """Where a part is.

    Attributes:
      step: Number of steps since the start. A member whose own `state.step` is smaller has diverged.
      state: States of the members, [M, ...].
      best: States at each member's best evaluation by the monitor; None where nobody asks for them.
      scores: Scores of those evaluations, [M]; larger is better, and -inf stands for none that is finite.
      metrics: Leaves of the training metrics since the last evaluation.
    """

    step: int
    state: State
    best: State | None
    scores: np.ndarray
    metrics: Sequence[Any] = ()

    def placed(self, abstract: State) -> PartState:
        """The same on the devices of `abstract`, wherever it waited."""
        if jax.process_count() > 1:
            return self  # it never waits elsewhere
        shardings = jax.tree.map(lambda x: x.sharding, abstract)
        best = None if self.best is None else jax.device_put(self.best, shardings)
        return dataclasses.replace(self, state=jax.device_put(self.state, shardings), best=best)

    def parked(self) -> PartState:
        """The same in the host's memory, or where it is if JAX_PLATFORMS leaves the CPU out."""
        try:
            host = jax.local_devices(backend="cpu")[0]
        except RuntimeError:
            return self
        state, best = jax.device_put((self.state, self.best), host)
        return dataclasses.replace(self, state=state, best=best)


@dataclasses.dataclass
class Part:
    """Members under way.

    Attributes:
      group: Members of the program; the last one is repeated to fill it up.
      runs: What is known of them, without the repeated ones.
      execution: How they share programs and devices.
      directory: Where they are saved; None saves nothing.
      parents: Parts that they were members of before the last prune.
      positions: Which of the parents' members they were, counted through all parents.
      at: Where it is; None where it has not begun, or waits on the disk.
    """

    group: Group
    runs: list[MemberRun]
    execution: MemberExecution
    directory: Path | None
    parents: Sequence[Part] = ()
    positions: Sequence[int] = ()
    at: PartState | None = None

    @property
    def members(self) -> Members:
        """What the engine trains."""
        return self.group.members_with(self.execution)

    def is_saved(self) -> bool:
        """Whether there is a checkpoint; of several processes, whether the first sees one."""
        found = self.directory is not None and any(p.name.isdigit() for p in self.directory.glob("*"))
        return processes.allgather_json(found)[0]

    def save(self, checkpoints: Checkpoints | None, *, wait: bool = True) -> None:
        """Starts to save where it is, once the save before has ended.

        Args:
          checkpoints: Checkpoints of the part; None saves nothing.
          wait: Whether to wait for a save that has not ended; else this one is left out, and a kill loses no more than
            is trained during a save.
        """
        if checkpoints is None or self.at is None:
            return
        at = self.at
        # Copies: what is written in the background must not grow meanwhile.
        extra = {
            "step": at.step,
            "scores": at.scores.tolist(),
            "metrics": list(at.metrics),
            "runs": [
                {"key": key_of(run.member), "curve": [*run.curve], "seconds": run.seconds, "first": run.first}
                for run in self.runs
            ],
        }
        checkpoints.save(at.step, _saved_tree(at.state, at.best), extra=extra, force=wait)

    def restore(self, checkpoints: Checkpoints | None, abstract: State, *, best: bool) -> bool:
        """Takes up the newest sound checkpoint; False where there is none."""
        found = checkpoints and checkpoints.latest(_saved_tree(abstract, abstract if best else None))
        if not found:
            return False
        tree, extra = found
        for run, saved in zip(self.runs, extra["runs"], strict=True):
            run.curve, run.seconds, run.first = saved["curve"], saved["seconds"], saved["first"]
        scores = np.array(extra["scores"])
        self.at = PartState(extra["step"], tree["state"], tree.get("best"), scores, extra["metrics"])
        return True

    @contextlib.contextmanager
    def checkpoints(self) -> Iterator[Checkpoints | None]:
        """Its checkpoints, where it is saved; they are complete on leaving the context."""
        if self.directory is None:
            yield None
            return
        with Checkpoints(self.directory) as checkpoints:
            yield checkpoints

    def discard(self) -> None:
        """Frees its states, on the devices and on the disk."""
        self.at = None
        if self.directory is not None and processes.is_primary():
            shutil.rmtree(self.directory, ignore_errors=True)


def _saved_tree(state: Any, best: Any) -> dict[str, Any]:
    return {"state": state} | ({} if best is None else {"best": best})


def directory_of(folder: Path | None, level: int, group: Group, runs: Sequence[MemberRun]) -> Path | None:
    """Where a part is saved: a name for its members, how many it is filled up to, and how many prunes came before."""
    if folder is None:
        return None
    text = json.dumps([level, len(group.members), [key_of(run.member) for run in runs]])
    return folder / hashlib.sha256(text.encode()).hexdigest()[:16]


def saved_curves(folder: Path | None) -> dict[str, list[dict[str, Any]]]:
    """The longest saved curve of each member, by its key: which comparisons need not be made again."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/*")) if folder is not None and processes.is_primary() else ():
        if path.name.isdigit():
            try:
                runs = storage.read_manifest(path)["extra"]["runs"]
            except storage.Damage:
                continue  # whoever restores it says so
            for run in runs:
                if len(run["curve"]) > len(found.get(run["key"], ())):
                    found[run["key"]] = run["curve"]
    return processes.allgather_json(found)[0]


def gathered(parents: Sequence[PartState], part: Part, *, offload: bool) -> PartState:
    """The state of a part whose members come from others, all at the same step."""
    where = np.array(part.positions, np.int32)

    def take(states: Sequence[State]) -> State:
        state = _take(states, where)  # all wait on the host, where no program of the devices reaches; or none does
        return moved(state, part.execution.shardings(state, offload=offload))

    best = [parent.best for parent in parents if parent.best is not None]
    scores = np.concatenate([parent.scores for parent in parents])[where]
    return PartState(parents[0].step, take([p.state for p in parents]), take(best) if best else None, scores)


def better(best: State, scores: np.ndarray, state: State, new: np.ndarray) -> tuple[State, np.ndarray]:
    """The best states so far and their scores [M], after an evaluation with the scores `new`."""
    return _unless_worse(new <= scores, best, state), np.maximum(new, scores)


@jax.jit
def _unless_worse(worse: jax.Array, old: State, new: State) -> State:
    # Keys never change, and are the best one's: no output is an input that the next step donates.
    return jax.vmap(choose)(worse, to_device_memory(old), to_device_memory(new))


@jax.jit
def _take(states: Sequence[State], members: jax.Array) -> State:
    return jax.tree.map(lambda *x: jnp.concatenate(x)[members], *to_device_memory(states))


def initial(state: State, *, best: bool) -> PartState:
    """Before the first step."""
    copy = jax.tree.map(lambda x: x.copy(), state) if best else None
    return PartState(0, state, copy, np.full(len(state.step), -math.inf))
