"""Many runs of one experiment: members to rows, one chunk of them after another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from deeplab.experiment import Experiment
from deeplab.search import halving
from deeplab.search.groups import Group, Member, groups
from deeplab.search.runner import Bench, Row, Setup, setting_of


def sweep(
    function: Callable[..., Experiment], arguments: Mapping[str, Any], *, seeds: int = 1, eta: int | None = None,
    setup: Setup | None = None,
) -> list[Row]:  # fmt: skip
    """Trains an experiment at every combination of its arguments, with every seed.

    Args:
      function: the experiment.
      arguments: by name a sequence of values, or one value.
      seeds: 0 to this number, exclusive.
      eta: only the best `1 / eta` of the combinations go on from each rung, see `halving`; all when None.
      setup: where the data are and how members run.

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

    Without `eta` each chunk ends before the next one begins. With it, all members come to a rung before any goes on,
    and so all their states are held: on the devices, or on the host where a group has several chunks.

    Args:
      groups: of one experiment.
      setup: what all share.
      eta: of successive halving.
      known: rows of members that ended before, and are compared with these.
    """
    if eta is None:
        for group in groups:
            bench = Bench(group, setup)
            for part in bench.parts:
                yield bench.rows(part, bench.advance(part))
        return
    settings = {setting_of(member.arguments) for group in groups for member in group.members}
    rungs = halving.rungs(len(settings | {setting_of(row["arguments"]) for row in known}), eta)
    benches = [Bench(group, setup) for group in groups]
    for k, rung in enumerate(rungs):
        scores: dict[str, list[float]] = {}
        for row in (row for row in known if len(row["rungs"]) > k):
            value = row["rungs"][k]  # -inf is null in JSON
            scores.setdefault(setting_of(row["arguments"]), []).append(float("-inf") if value is None else value)
        for bench in benches:
            for one in bench.climb(rung):
                scores.setdefault(setting_of(one.member.arguments), []).append(one.rungs[-1])
        keep = halving.best(scores, eta)
        for bench in benches:
            if stopped := bench.retain(keep):
                yield stopped
    for bench in benches:
        for part in bench.parts:
            yield bench.rows(part, bench.advance(part))
