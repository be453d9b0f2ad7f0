"""Many runs of one experiment: from members to rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from deeplab.experiment import Experiment
from deeplab.search import halving
from deeplab.search.groups import Group, Member, groups
from deeplab.search.parts import key_of, setting_of
from deeplab.search.runner import GroupRunner
from deeplab.search.setup import Row, Setup, rungs_of


def sweep(
    function: Callable[..., Experiment], arguments: Mapping[str, Any], *, seeds: int = 1, eta: int | None = None,
    setup: Setup | None = None,
) -> list[Row]:  # fmt: skip
    """Trains an experiment at every combination of its arguments, with every seed.

    Args:
      function: Experiment.
      arguments: Sequence of values, or one value, by the name of the argument.
      seeds: Number of seeds, from 0 on.
      eta: Factor of successive halving: only the best `1 / eta` of the combinations go on from each rung; all when
        None.
      setup: Data folder, devices, and how members run.

    Returns:
      A row for each member, in the order of the product.

    Example:
      >>> from experiments.image_digits import experiment
      >>> rows = sweep(experiment, {"learning_rate": [1e-3, 3e-3], "epochs": 1, "width": 4}, seeds=2)
      >>> [(row["arguments"]["learning_rate"], row["seed"]) for row in rows]
      [(0.001, 0), (0.001, 1), (0.003, 0), (0.003, 1)]
    """
    lists = {k: v if isinstance(v, Sequence) and not isinstance(v, str) else [v] for k, v in arguments.items()}
    settings = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    members = [Member(setting, seed) for setting in settings for seed in range(seeds)]
    made = itertools.chain(*run(groups(function, members, (setup or Setup()).runtime), setup or Setup(), eta))
    rows = {(setting_of(row["arguments"]), row["seed"]): row for row in made}
    return [rows[setting_of(member.arguments), member.seed] for member in members]


def run(
    groups: Sequence[Group], setup: Setup, eta: int | None = None, known: Sequence[Row] = ()
) -> Iterator[list[Row]]:
    """Trains groups, and gives the rows of members as they end.

    Without `eta` each part of a group ends before the next one begins. With it, all members come to a rung before any
    goes on, and so all their states are held: on the devices, or on the host where a group has several parts. What
    `setup.directory` holds of the same groups is gone on with.

    Args:
      groups: Groups of one experiment.
      setup: What all members share.
      eta: Factor of successive halving; all members run to the end when None.
      known: Rows that are kept already. Their members are not trained, and are compared with the others.
    """
    rows = {key_of(Member(row["arguments"], row["seed"])): row for row in known}
    open_groups = [group for group in groups if not all(key_of(member) in rows for member in group.members)]
    if eta is None:
        for group in open_groups:
            yield from GroupRunner(group, setup, rows).finish()
        return
    ours = {key_of(member): member for group in open_groups for member in group.members}
    settings = {setting_of(member.arguments) for member in ours.values()}
    rungs = halving.rungs(len(settings | {setting_of(row["arguments"]) for row in known}), eta)
    runners = [GroupRunner(group, setup, rows) for group in open_groups]
    others = [row for key, row in rows.items() if key not in ours]
    for k, rung in enumerate(rungs):
        scores: dict[str, list[float]] = {}
        for row in others:
            for score in rungs_of(row)[k : k + 1]:
                scores.setdefault(setting_of(row["arguments"]), []).append(score)
        for runner in runners:
            experiment = runner.experiment
            for one in runner.run_to_rung(k, halving.step_of(rung, experiment.num_steps, experiment.cadence)):
                scores.setdefault(setting_of(one.member.arguments), []).append(one.rungs[k])
        keep = halving.best(scores, eta)
        for runner in runners:
            yield from runner.prune(keep)
    for runner in runners:
        yield from runner.finish()
