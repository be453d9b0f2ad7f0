"""A group under way: its data on the devices, its programs, and what is known of its members."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from deeplab.core.runtime import Runtime
from deeplab.search import execution, halving, population
from deeplab.search.execution import Way
from deeplab.search.groups import Group, Member, chunks
from deeplab.search.population import Evaluate, Init, Probe, Progress
from deeplab.search.programs import Programs, choose_way, compile_programs
from deeplab.train.feed import Feed, make_feed

Row = dict[str, Any]
"""What is kept of one run, JSON: `arguments`, `seed`, `num_train` examples, `num_params`, `steps` taken, `curve` (a
list over the evaluations: `step`, `train`, `evaluation`), `diverged`, `rungs` (its scores where it was compared),
`stopped` there, `way`, `seconds` (a chunk's are divided among its members), `compiled` (seconds of each compilation
that it was the first to need), and what a probe measured: `first`, `last` and `best`."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all members share.

    Args:
      data_dir: folder with the original files.
      devices: that members are spread over; one CPU device, or all accelerators, when None.
      how: members run, see `ways`.
      at_once: in one program, at most; what fits when None.
      probe: what is measured before training, after it, and of the best state; nothing when None.
      split: on which.
      runtime: Precision and accumulation.
    """

    data_dir: Path | None = None
    devices: execution.Devices | None = None
    how: execution.How = "auto"
    at_once: int | None = None
    probe: Probe | None = None
    split: str = "test"
    runtime: Runtime = Runtime()


def setting_of(arguments: Mapping[str, Any]) -> str:
    """The name of a setting: its members differ in their seed only."""
    return repr(sorted(arguments.items()))


@dataclasses.dataclass
class _Run:
    """What is known of one member so far."""

    member: Member
    curve: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    rungs: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    first: dict[str, float] | None = None


@dataclasses.dataclass
class _Part:
    """A chunk under way; `runs` lacks the members that fill it up."""

    chunk: Group
    runs: list[_Run]
    progress: Progress | None = None


class _Ready(NamedTuple):
    """What chunks of one size share."""

    programs: Programs
    init: Init
    evaluate: Evaluate
    measure: Evaluate | None


class Bench:
    """A group with its data on the devices, and the programs for as many of its members as go on."""

    def __init__(self, group: Group, setup: Setup):
        began = time.monotonic()
        self._setup, self._group, self.experiment = setup, group, group.experiment()
        devices = setup.devices or (jax.local_devices()[:1] if jax.default_backend() == "cpu" else jax.local_devices())
        mesh, data = execution.member_mesh(devices, len(group.members)), self.experiment.data

        @functools.cache
        def feed(split: str) -> Feed:
            return make_feed(data, data.open(split, setup.data_dir), mesh)

        self._feed = feed
        self._compiled: list[float] = []  # that no row tells of yet
        self._ready = functools.cache(self._compile)
        self._way = choose_way(group, feed("train"), setup.how, setup.at_once)
        self.parts = self._cut([_Run(member) for member in group.members])
        self._opening = time.monotonic() - began  # seconds that the first part is charged with

    def advance(self, part: _Part, rung: float = 1.0) -> list[_Run]:
        """Trains a part to a rung, and gives its runs."""
        began, self._opening = time.monotonic() - self._opening, 0.0
        experiment = self.experiment
        ready = self._ready(self._way)
        begin = part.progress or population.start(part.chunk, ready.init)
        if ready.measure and part.progress is None:
            for one, first in zip(part.runs, ready.measure(part.chunk, begin.state), strict=False):
                one.first = first
        begin = dataclasses.replace(begin, state=self._way.place(begin.state), best=self._way.place(begin.best))
        until = halving.step_of(rung, experiment.num_steps, experiment.cadence)
        for begin in population.train(ready.programs, ready.evaluate, part.chunk, begin, until):  # noqa: B020 (it goes on)
            for one, train, evaluation in zip(part.runs, begin.train, begin.evaluation, strict=False):
                one.curve.append({"step": begin.step, "train": train, "evaluation": evaluation})
        part.progress = begin
        for one in part.runs:
            one.seconds += (time.monotonic() - began) / len(part.runs)
        return part.runs

    def climb(self, rung: float) -> Iterator[_Run]:
        """Trains all parts to a rung, and gives their runs with the scores they have there."""
        for part in self.parts:
            runs = self.advance(part, rung)
            assert part.progress is not None
            if len(self.parts) > 1 and jax.default_backend() != "cpu":
                host = jax.local_devices(backend="cpu")[0]
                state, best = jax.device_put((part.progress.state, part.progress.best), host)
                part.progress = dataclasses.replace(part.progress, state=state, best=best)
            for one in runs:
                one.rungs.append(self.experiment.monitor.score(one.curve[-1]["evaluation"]))
                yield one

    def retain(self, keep: set[str]) -> list[Row]:
        """Goes on with some settings, and gives the rows of the others."""
        stay = {id(one) for part in self.parts for one in part.runs if setting_of(one.member.arguments) in keep}
        rows, runs, places, offset = [], [], [], 0
        for part in self.parts:
            rows += self.rows(part, [one for one in part.runs if id(one) not in stay], stopped=True)
            places += [offset + i for i, one in enumerate(part.runs) if id(one) in stay]
            runs += [one for one in part.runs if id(one) in stay]
            offset += len(part.chunk.members)
        old, self._way = [part.progress for part in self.parts if part.progress], self._way.of(max(1, len(runs)))
        self.parts = self._cut(runs)
        for i, part in enumerate(self.parts):
            size = len(part.chunk.members)
            mine = places[i * size : (i + 1) * size]
            part.progress = population.gather(old, mine + mine[-1:] * (size - len(mine)), self._way)
        return rows

    def rows(self, part: _Part, runs: Sequence[_Run], stopped: bool = False) -> list[Row]:
        """What is kept of these runs of a part, where it is now."""
        began, progress, measure = time.monotonic(), part.progress, self._ready(self._way).measure
        assert progress is not None
        shared = {
            "num_train": self.experiment.data.num_train,
            "num_params": sum(leaf[0].size for leaf in jax.tree.leaves(progress.state.params)),
            "stopped": stopped,
            "way": str(self._way),
        }
        steps = progress.state.step.tolist()
        ends = {"last": progress.state, "best": progress.best} if measure else {}
        measured = {k: measure(part.chunk, state) for k, state in ends.items() if measure}
        spent, rows = (time.monotonic() - began) / max(1, len(runs)), []
        for m, one in enumerate(part.runs):
            if not any(one is chosen for chosen in runs):
                continue
            probed = {"first": one.first} | {k: values[m] for k, values in measured.items()}
            rows.append(
                {"arguments": dict(one.member.arguments), "seed": one.member.seed, **shared, "steps": steps[m],
                 "diverged": steps[m] < progress.step, "curve": one.curve, "rungs": one.rungs,
                 "seconds": round(one.seconds + spent, 3), "compiled": self._compiled, **(probed if measured else {})}
            )  # fmt: skip
            self._compiled = []
        return rows

    def _cut(self, runs: Sequence[_Run]) -> list[_Part]:
        if not runs:
            return []
        parts = chunks(dataclasses.replace(self._group, members=[one.member for one in runs]), self._way.at_once)
        size = self._way.at_once
        return [_Part(part, list(runs[i * size : (i + 1) * size])) for i, part in enumerate(parts)]

    def _compile(self, way: Way) -> _Ready:
        group, setup, eval_split = self._group, self._setup, self.experiment.data.eval_split
        programs = compile_programs(group, way, self._feed("train"))
        self._compiled.append(round(programs.compile_seconds, 2))
        evaluate = population.make_evaluator(group, way, self._feed(eval_split), eval_split)
        measure = setup.probe and population.make_evaluator(
            group, way, self._feed(setup.split), setup.split, setup.probe
        )
        return _Ready(programs, population.make_init(group, way), evaluate, measure)
