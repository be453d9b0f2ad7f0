"""Groups of a sweep as trials of Ray Tune, on this machine or on a cluster (`RAY_ADDRESS`)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.core.backend import prepare_backend
from deeplab.core.errors import UserError
from deeplab.core.precision import Precision
from deeplab.core.runtime import Runtime
from deeplab.core.text import dumps, loads
from deeplab.data.prepare.cache import cache_dir
from deeplab.search import sweep
from deeplab.search.groups import Group, Member
from deeplab.search.setup import Row, Setup
from deeplab.verbs.many import Runner, Session
from deeplab.verbs.recipe import Recipe, imported


def runner(now: Session) -> Runner:
    """A runner that trains each group as a trial, with one GPU where there are any, and else with a whole machine.

    Every machine needs this environment, and the files of the experiment and of its data at the same paths. On a
    cluster, the run directory of the sweep is on a file system that all machines share.

    Args:
      now: Session of the sweep.

    Raises:
      UserError: Ray is not installed. The runner raises it where a group fails.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports]  # The extra `sweep`.
        from ray import tune  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("--backend ray: Ray Tune is not installed; pip install 'deeplab[sweep]'") from error

    def run(groups: Sequence[Group], known: Sequence[Row], keep: Callable[[list[Row]], None]) -> None:
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # Rows are kept by `keep`.
        ray.init(
            ignore_reinit_error=True, include_dashboard=False, log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": os.getcwd()}},
        )  # fmt: skip
        try:
            trainable = tune.with_resources(_trial, _resources(ray))
            specs = [_spec(now, group, known) for group in groups]
            config = tune.RunConfig(
                name="sweep",
                storage_path=str(_directory(now).parent / "ray"),
                verbose=0,
                callbacks=[_keeper(tune, keep)],
            )
            results = tune.Tuner(trainable, param_space={"spec": tune.grid_search(specs)}, run_config=config).fit()
            if results.errors:
                raise UserError(f"{len(results.errors)} of {len(groups)} groups failed; the first: {results.errors[0]}")
        finally:
            ray.shutdown()

    return run


def _directory(now: Session) -> Path:
    """The folder with the states of runs under way."""
    if now.setup.directory is None or not now.recipe.module:
        raise UserError("--backend ray needs a run directory, and an experiment in a module that workers can import")
    return now.setup.directory


def _spec(now: Session, group: Group, known: Sequence[Row]) -> str:
    """A group as text: what a worker process makes it from."""
    recipe, setup = now.recipe, now.setup
    members = [{"arguments": dict(member.arguments), "seed": member.seed} for member in group.members]
    done = [{"arguments": row["arguments"], "seed": row["seed"], "rungs": [], "curve": []} for row in known]
    how = {"execution": setup.execution, "members_per_program": setup.members_per_program}
    how |= {"directory": str(_directory(now)), "data_dir": setup.data_dir and str(setup.data_dir.resolve())}
    runtime = {name: getattr(recipe.runtime, name) for name in ("accumulate", "offload")}
    runtime |= {"precision": dataclasses.asdict(recipe.runtime.precision)}
    return dumps({"module": recipe.module, "function": recipe.function.__name__, "smoke": recipe.smoke,
                    "runtime": runtime, "members": members, "known": done, **how}, str)  # fmt: skip


def _trial(config: Mapping[str, Any]) -> None:
    """Trains a group in a worker process and reports the rows of each chunk."""
    from ray import tune  # pyright: ignore[reportMissingImports]

    prepare_backend(cache_dir() / "compiled")
    for rows in _rows(loads(config["spec"])):
        tune.report({"rows": dumps({"rows": rows}, str)})


def _rows(spec: Mapping[str, Any]) -> Any:
    """The rows of a group's members, chunk by chunk."""
    runtime = Runtime(**spec["runtime"] | {"precision": Precision(**spec["runtime"]["precision"])})
    recipe = Recipe(imported(spec["module"], spec["function"]), runtime=runtime, smoke=spec["smoke"])
    members = [Member(member["arguments"], member["seed"]) for member in spec["members"]]
    data_dir = None if spec["data_dir"] is None else Path(spec["data_dir"])
    setup = Setup(data_dir, None, spec["execution"], spec["members_per_program"], directory=Path(spec["directory"]))
    return sweep.run([Group(recipe.build, members, runtime)], setup, known=spec["known"])


def _keeper(tune: Any, keep: Callable[[list[Row]], None]) -> Any:
    """A callback of Ray Tune that passes reported rows to `keep`, in the process of the sweep."""

    class Keeper(tune.Callback):
        def __init__(self, keep: Callable[[list[Row]], None]):
            self._keep = keep

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray saves its callbacks to disk, and `keep` belongs to this process.

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            if "rows" in result:
                self._keep(loads(result["rows"])["rows"])

    return Keeper(keep)


def _resources(ray: Any) -> dict[str, float]:
    if ray.cluster_resources().get("GPU"):
        return {"gpu": 1}
    return {"cpu": min(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])}
