"""A group under way: its data on the devices, its programs, and its members in parts that run one after another."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from deeplab.core.errors import UserError
from deeplab.runs.effects import warn_of
from deeplab.scale import processes
from deeplab.search.effects import PartEffects
from deeplab.search.execution import choose_execution
from deeplab.search.groups import Group, chunks
from deeplab.search.parts import MemberRun, Part, directory_of, gathered, initial, key_of, saved_curves, setting_of
from deeplab.search.setup import Row, Setup, Stopped, default_devices, rungs_of
from deeplab.train.check import check_labels
from deeplab.train.contracts.checked import checked
from deeplab.train.evaluate import make_evaluator
from deeplab.train.feed import Feed, make_feed
from deeplab.train.loop import fit, on_dispatch, on_log, on_state
from deeplab.train.members import MemberExecution, Members, abstract_state, make_init, member_mesh
from deeplab.train.program import Program, compile_program
from deeplab.train.state import State


class _Ready(NamedTuple):
    """What parts of one size share."""

    program: Program
    init: Callable[[Members], State]
    evaluate: Callable[..., Any]
    measure: Callable[..., Any] | None
    abstract: State


class GroupRunner:
    """Trains the members of a group, part by part, on the engine of a solo run.

    Args:
      group: Members of one program.
      setup: What all members share.
      known: Rows that are already kept, by `key_of`.
    """

    def __init__(self, group: Group, setup: Setup, known: Mapping[str, Row] | None = None):
        began = time.monotonic()
        self._setup, self._group, self.experiment = setup, group, group.experiment()
        data, devices = self.experiment.data, setup.devices or default_devices()
        mesh = member_mesh(devices, len(group.members))
        self._feed = functools.cache(lambda split: make_feed(data, data.open(split, setup.data_dir), mesh))
        self._train_feed: Feed = dataclasses.replace(self._feed("train"), axes=("member",))
        self._ready = functools.cache(self._compile)
        self._compiled: list[float] = []  # seconds that no row tells of yet
        self._monitor = self.experiment.monitor
        if self.experiment.patience is not None:
            raise UserError(
                f"the experiment has patience={self.experiment.patience}, and the runs of a sweep or a study share "
                "programs, and end together; give them patience=None: the curve of each run tells its best evaluation"
            )
        checked(self.experiment, group.runtime)
        check_labels(self.experiment, self._feed("train"), "train")
        self._execution = choose_execution(group, self._train_feed, setup.execution, setup.members_per_program)
        self._level, self._rung = 0, 0
        curves = saved_curves(setup.directory)
        runs = [MemberRun(member, curve=curves.get(key_of(member), [])) for member in group.members]
        for run in runs:
            if row := (known or {}).get(key_of(run.member)):
                run.done, run.rungs, run.curve = True, rungs_of(row), row["curve"]
        self.parts = self._cut(runs)
        self._opening = time.monotonic() - began  # seconds that the first part is charged with

    def run_to_rung(self, number: int, step: int) -> Iterator[MemberRun]:
        """Trains all parts to a rung, the first one being number 0, and gives their runs with their scores there."""
        self._rung = step
        waiting = [part for part in self.parts if not all(run.done or run.at(step) for run in part.runs)]
        if waiting:
            self._settle(self.parts)
        for part in self.parts:
            if any(part is other for other in waiting):
                self.advance(part, step)
                self._park(part, self.parts)
            for run in part.runs:
                if len(run.rungs) <= number:
                    evaluation = run.at(step)
                    assert evaluation is not None
                    run.rungs.append(self._monitor.score(evaluation))
                yield run

    def prune(self, keep: set[str]) -> Iterator[list[Row]]:
        """Gives the rows of the settings that are not kept, and goes on with the others."""
        stay, positions, rows, offset = [], [], [], 0
        for part in self.parts:
            stopped = [run for run in part.runs if setting_of(run.member.arguments) not in keep and not run.done]
            rows += self._rows(part, stopped, self._rung, stopped=True) if stopped else []
            for i, run in enumerate(part.runs):
                if setting_of(run.member.arguments) in keep:
                    stay.append(run)
                    positions.append(offset + i)
            offset += len(part.group.members)
        if rows:
            yield rows
        old, self._level = self.parts, self._level + 1
        self._execution = self._execution.of(max(1, len(stay)))
        self.parts = self._cut(stay, old, positions)
        # Where no part was needed, as after a kill, the next one may be on the disk already.
        if not self.parts or any(part.at is not None for part in old):
            self._settle(self.parts, old)

    def finish(self) -> Iterator[list[Row]]:
        """Trains all parts to the end, and gives their rows part by part."""
        if any(not run.done for part in self.parts for run in part.runs):
            self._settle(self.parts)
        for part in self.parts:
            left = [run for run in part.runs if not run.done]
            if left:
                yield self._rows(part, left, self.experiment.num_steps)
            part.discard()

    def advance(self, part: Part, step: int) -> None:
        """Trains a part to a step of an evaluation, from where it is or was saved."""
        began, self._opening = time.monotonic() - self._opening, 0.0
        with part.checkpoints() as checkpoints:
            with self._setup.slow("the start of a part"):
                ready = self._ready(part.execution)
                if part.at is None and not part.restore(checkpoints, ready.abstract, best=ready.measure is not None):
                    self._begin(part, ready)
                assert part.at is not None
                if part.at.step < step:  # what has nothing to do waits where it is: all at once may not fit
                    part.at = part.at.placed(ready.abstract)
            effects = PartEffects(part, ready.evaluate, self._monitor, checkpoints, self._setup.slow, began)
            if part.at.step >= step:
                return effects.clock()
            every = self.experiment.cadence
            last = fit(
                self.experiment,
                part.at.state,
                self._train_feed,
                hooks=[
                    on_dispatch(lambda progress: self._setup.watch(part.runs, progress.step)),
                    on_log(effects.log),
                    on_state(every, effects.evaluate),
                ],
                log_every=every,
                num_steps=step,
                metrics=part.at.metrics,
                program=ready.program,
                stop=self._setup.stop,
                members=part.members,
                start=part.at.step,
            )
            effects.end(last)
            part.save(checkpoints)
            if last.step < step:
                raise Stopped(f"step {last.step}")

    def _begin(self, part: Part, ready: _Ready) -> None:
        state = ready.init(part.members)
        for run in part.runs:
            run.curve = []
        if ready.measure:
            for run, first in zip(part.runs, ready.measure(state, part.members), strict=False):
                run.first = first
        part.at = initial(state, best=ready.measure is not None)

    def _settle(self, parts: Sequence[Part], parents: Sequence[Part] = ()) -> None:
        """Gives parts that a prune has made their members' states, and then discards the parts before.

        A kill in between finds either these on the disk, or those.
        """
        parents = next((part.parents for part in parts if part.parents), parents)
        missing = [part for part in parts if part.parents and part.at is None and not part.is_saved()]
        if missing:
            self._settle(parents)
            for parent in parents:
                self.advance(parent, self._rung)
                self._park(parent, parents)  # as all of them, whose members one program gathers
        for part in missing:
            part.at = gathered([p.at for p in parents if p.at], part, offload=self._group.runtime.offload)
            with part.checkpoints() as checkpoints:
                part.save(checkpoints)
        for parent in parents:
            parent.discard()
        for part in parts:
            part.parents = ()

    def _park(self, part: Part, among: Sequence[Part]) -> None:
        """Keeps the states of one of several parts in the host's memory, while others run."""
        if part.at and len(among) > 1 and jax.default_backend() != "cpu" and jax.process_count() == 1:
            part.at = part.at.parked()

    def _rows(self, part: Part, runs: Sequence[MemberRun], step: int, stopped: bool = False) -> list[Row]:
        """What is kept of these runs of a part, at a step of an evaluation."""
        self.advance(part, step)
        began, ready, at = time.monotonic(), self._ready(part.execution), part.at
        assert at is not None
        measure = ready.measure
        if measure:
            at = at.placed(ready.abstract)  # of this part alone, and for as long as it is measured
        shared = {
            "num_train": self.experiment.data.num_train,
            "num_params": sum(leaf[0].size for leaf in jax.tree.leaves(at.state.params)),
            "stopped": stopped,
            "execution": str(part.execution),
        }
        steps = np.asarray(processes.local(at.state.step)).tolist()
        ends = {"last": at.state, "best": at.best} if measure else {}
        measured = {name: measure(state, part.members) for name, state in ends.items() if measure}
        spent, rows = (time.monotonic() - began) / len(runs), []
        for m, run in enumerate(part.runs):
            if not any(run is chosen for chosen in runs):
                continue
            for point in run.curve[-1:]:
                given = ", ".join(f"{k} {v}" for k, v in {**run.member.arguments, "seed": run.member.seed}.items())
                warn_of(self.experiment, point["evaluation"], given)
            probed = {"first": run.first} | {name: values[m] for name, values in measured.items()}
            rows.append(
                {"arguments": dict(run.member.arguments), "seed": run.member.seed, **shared, "steps": steps[m],
                 "diverged": steps[m] < at.step, "curve": run.curve, "rungs": run.rungs,
                 "seconds": round(run.seconds + spent, 3), "compiled": self._compiled, **(probed if measured else {})}
            )  # fmt: skip
            self._compiled = []
        return rows

    def _cut(self, runs: list[MemberRun], parents: Sequence[Part] = (), positions: Sequence[int] = ()) -> list[Part]:
        """Runs in parts of the size of a program."""
        size, parts = self._execution.members_per_program, []
        group = dataclasses.replace(self._group, members=[run.member for run in runs])
        for i, chunk in enumerate(chunks(group, size)):
            mine, where = runs[i * size : (i + 1) * size], list(positions[i * size : (i + 1) * size])
            directory = directory_of(self._setup.directory, self._level, chunk, mine)
            filled = where + where[-1:] * (len(chunk.members) - len(where)) if parents else ()
            parts.append(Part(chunk, mine, self._execution, directory, parents, filled))
        return parts

    def _compile(self, execution: MemberExecution) -> _Ready:
        setup, runtime, experiment = self._setup, self._group.runtime, self.experiment
        split = experiment.data.eval_split
        members = chunks(self._group, execution.members_per_program)[0].members_with(execution)
        began, abstract = time.monotonic(), abstract_state(members, runtime)
        program = compile_program(experiment, abstract, self._train_feed, 0, runtime, members)
        self._compiled.append(round(time.monotonic() - began, 2))
        evaluate = make_evaluator(experiment, self._feed(split), split, runtime, members=members)
        measure = setup.probe and make_evaluator(
            experiment, self._feed(setup.split), setup.split, runtime, probe=setup.probe, members=members
        )
        return _Ready(program, make_init(members, runtime), evaluate, measure, abstract)
