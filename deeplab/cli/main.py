"""argv -> experiment -> verb."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from deeplab.cli import (
    arguments,
    evaluate,
    index,
    page,
    plan,
    predict,
    profile,
    summary,
    sweep,
    train,
    verify,
)
from deeplab.cli.arguments import Invocation, Verb
from deeplab.core.backend import explain_out_of_memory, prepare_backend
from deeplab.core.errors import UserError
from deeplab.data.prepare.cache import cache_dir
from deeplab.experiment import Experiment
from deeplab.scale import processes
from deeplab.scale.processes import supervise

VERBS: Mapping[str, Verb] = {
    "train": Verb(train.TrainFlags, train.run),
    "eval": Verb(evaluate.EvalFlags, evaluate.run),
    "predict": Verb(predict.PredictFlags, predict.run),
    "sweep": Verb(sweep.SweepFlags, sweep.run, many=True),
    "verify": Verb(verify.VerifyFlags, verify.run),
    "profile": Verb(profile.ProfileFlags, profile.run),
    "plan": Verb(plan.PlanFlags, plan.run),
    "summary": Verb(arguments.CommonFlags, summary.run),
    "report": Verb(arguments.CommonFlags, page.run),
}


def main(
    experiment: Callable[..., Experiment], argv: Sequence[str] | None = None, *, verbs: Mapping[str, Verb] | None = None
) -> dict[str, Any]:
    """The command line of an experiment, from its signature.

    Args:
      experiment: a pure function from hyper-parameters, each with a type and a default, to an `Experiment`.
      argv: a verb and flags. When None they are the process's, which then ends with an exit code; when given, as in a
        notebook, errors are raised and the verb's result is returned.
      verbs: the experiment's own, besides those that all have.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> result = dl.main(experiment, ["train", "--smoke", "--run-dir", "/tmp/smoke"])  # doctest: +SKIP
    """
    module, known = _module_name(experiment), {**VERBS, **(verbs or {})}
    if shadowed := set(VERBS) & set(verbs or {}):
        raise ValueError(f"{module}: the verbs {sorted(shadowed)} are every experiment's; give yours other names")
    words = sys.argv[1:] if argv is None else argv

    def invoke() -> dict[str, Any]:
        call = arguments.parse(experiment, module, known, words)
        call = dataclasses.replace(call, import_seconds=_age() if argv is None else None)
        console = Console(stderr=call.flags.json, width=None if sys.stdout.isatty() else 120)
        if launch := _launch(call, by_command=argv is None):
            exit_code, restarts = supervise.run(launch, functools.partial(console.print, highlight=False))
            return {"exit_code": exit_code, "restarts": restarts}
        prepare_backend(cache_dir() / "compiled", optimize=not (call.flags.smoke and argv is None))
        with explain_out_of_memory():
            result = known[call.verb].run(call, console)
        if call.flags.json and processes.is_primary():
            print(arguments.as_json(result), flush=True)
        return result

    if argv is not None:
        return invoke()
    result = _or_exit(invoke)
    sys.exit(result.get("stopped") or result.get("exit_code") or 0)


def deeplab() -> None:
    """The command `deeplab`: what does not belong to one experiment."""
    _or_exit(lambda: index.run(sys.argv[1:]))


def _launch(call: Invocation, *, by_command: bool) -> supervise.Launch | None:
    """The processes that --processes and --restarts ask for; None where this process does the work itself."""
    flags = call.flags
    count, restarts = getattr(flags, "processes", None), getattr(flags, "restarts", 0)
    if supervise.is_supervised() or (count is None and not restarts):
        return None
    if not by_command:
        raise UserError(
            "--processes and --restarts start this command line in other processes, and a notebook has none; leave "
            "them out, or run the command in a terminal"
        )
    if count is not None and (flags.coordinator or flags.process_id is not None):
        raise UserError(
            f"--processes {count} sets the coordinator and the rank of each process; leave out --coordinator and "
            "--process-id"
        )
    command = [sys.executable, *sys.orig_argv[1:]]
    again = [word for word in command if word != "--fresh"]  # A restart continues the run that --fresh began.
    return supervise.Launch(command, again, count, flags.devices_per_process, restarts)


def _age() -> float:
    """Seconds since this process began; where the system does not tell, those it has computed."""
    try:
        began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError):
        return time.process_time()


def _or_exit(verb: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Runs a verb of the process's command line; what a user can mend is told without a traceback."""
    warnings.showwarning = _show_warning
    try:
        return verb()
    except UserError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os._exit(141)  # the reader of our output has gone, and so nobody can be told


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """A warning as a line of text: where in our code it was raised is nothing to a user."""
    if issubclass(category, UserWarning):
        Console(stderr=True, soft_wrap=True).print(f"[yellow]warning:[/] {escape(str(message))}", highlight=False)


def _module_name(experiment: Callable[..., Any]) -> str:
    """ "experiments.image_digits", also when the module is run by `python -m`, and so is called `__main__`."""
    if experiment.__module__ != "__main__":
        return experiment.__module__
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else os.path.splitext(os.path.basename(sys.argv[0]))[0]
