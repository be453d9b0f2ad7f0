"""The command line of an experiment: argv to an experiment and a verb."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

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
from deeplab.cli import (
    study as study_verb,
)
from deeplab.cli.arguments import Invocation, Verb
from deeplab.cli.tools import explain, probe, robustness
from deeplab.core.backend import explain_out_of_memory, prepare_backend
from deeplab.core.entry import of_main
from deeplab.core.errors import UserError
from deeplab.core.printable import plain_console, print_message
from deeplab.core.ranges import OutOfRange
from deeplab.core.text import dumps
from deeplab.data.prepare.cache import cache_dir
from deeplab.experiment import Experiment
from deeplab.scale import processes
from deeplab.scale.processes import supervise
from deeplab.scale.processes.signals import end_on_signal
from deeplab.verbs.recipe import module_name
from deeplab.verbs.study import Study

VERBS: Mapping[str, Verb] = {
    "train": Verb(train.TrainFlags, train.run),
    "eval": Verb(evaluate.EvalFlags, evaluate.run),
    "predict": Verb(predict.PredictFlags, predict.run),
    "explain": Verb(explain.ExplainFlags, explain.run),
    "probe": Verb(probe.ProbeFlags, probe.run),
    "robustness": Verb(robustness.RobustnessFlags, robustness.run),
    "sweep": Verb(sweep.SweepFlags, sweep.run, many=True),
    "cv": Verb(sweep.FoldsFlags, sweep.cross_validate, many=True),
    "verify": Verb(verify.VerifyFlags, verify.run),
    "profile": Verb(profile.ProfileFlags, profile.run),
    "plan": Verb(plan.PlanFlags, plan.run),
    "summary": Verb(arguments.CommonFlags, summary.run),
    "report": Verb(arguments.CommonFlags, page.run),
}


def main(
    experiment: Callable[..., Experiment],
    argv: Sequence[str] | None = None,
    *,
    study: Study | None = None,
    verbs: Mapping[str, Verb] | None = None,
) -> dict[str, Any]:
    """Runs the command line of an experiment, whose flags come from the function's signature.

    Args:
      experiment: Pure function from hyperparameters, each with a type and a default, to an `Experiment`.
      argv: Verb and flags. When None, those of the process, which then ends with an exit code. When given, as in a
        notebook, errors are raised.
      study: Question of the verb `study`; the experiment has no such verb when None.
      verbs: Verbs of this experiment, besides those that all have.

    Returns:
      The result of the verb, by name.

    Raises:
      UserError: A verb, a flag or a file is not as expected; the message says what to do. Raised if `argv` is given.
      ValueError: A verb has the name of one that all experiments have.

    Example:
      >>> import deeplab as dl
      >>> from experiments.image_digits import experiment
      >>> result = dl.main(experiment, ["train", "--smoke", "--run-dir", "/tmp/smoke"])  # doctest: +SKIP
      >>> dl.main(experiment, ["trian", "--smoke"])
      Traceback (most recent call last):
      deeplab.core.errors.UserError: 'trian' is no verb; did you mean 'train'?
    """
    verbs = dict(verbs or {}) | ({"study": study_verb.verb(study)} if study else {})
    module, known = module_name(experiment), {**VERBS, **verbs}
    if shadowed := set(VERBS) & set(verbs):
        raise ValueError(f"{module}: every experiment has the verbs {sorted(shadowed)}; give yours other names")
    words = sys.argv[1:] if argv is None else argv

    def invoke() -> dict[str, Any]:
        _refuse_undecoded([*words, os.getcwd()])
        with _raised() if argv is not None else contextlib.nullcontext():
            call = arguments.parse(experiment, module, known, words)
        if argv is None:
            call = dataclasses.replace(call, import_seconds=_age(), entry=of_main())
        console = plain_console(stderr=call.flags.json, width=None if sys.stdout.isatty() else 120)
        if launch := _launch(call, by_command=argv is None):
            exit_code, restarts = supervise.run(launch, functools.partial(console.print, highlight=False))
            return {"exit_code": exit_code, "restarts": restarts}
        prepare_backend(cache_dir() / "compiled", optimize=not (call.flags.smoke and argv is None))
        with explain_out_of_memory(), end_on_signal() if argv is None else contextlib.nullcontext(), _by_flag(call):
            result = known[call.verb].run(call, console)
        if call.flags.json and processes.is_primary():
            print(dumps(result, str), flush=True)
        return result

    if argv is not None:
        return invoke()
    result = _or_exit(invoke)
    if result.get("stopped"):
        _end(result["stopped"])
    sys.exit(result.get("exit_code") or 0)


@contextlib.contextmanager
def _raised() -> Iterator[None]:
    """Context in which the end of the process for a wrong flag is a `UserError`, with what would be printed."""
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            yield
        except SystemExit as end:
            if not end.code:  # help was asked for
                raise
            raise UserError(f"the flags are not understood:\n{told.getvalue().strip()}") from None
    sys.stderr.write(told.getvalue())


@contextlib.contextmanager
def _by_flag(call: Invocation) -> Iterator[None]:
    """Context in which a number out of its range is told by its flag, if it is one of an argument."""
    try:
        yield
    except OutOfRange as error:
        if error.name not in call.arguments:
            raise
        raise error.renamed(f"--{error.name.replace('_', '-')}") from error


def deeplab() -> None:
    """The command `deeplab`: see `deeplab.cli.index`."""
    if exit_code := _or_exit(lambda: index.run(sys.argv[1:])).get("exit_code"):
        sys.exit(exit_code)


def _launch(call: Invocation, *, by_command: bool) -> supervise.Launch | None:
    """Starts the processes of --processes and --restarts; None if this process runs the command itself."""
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
    """Time since this process started, in seconds; its CPU time if the system does not report it."""
    try:
        stat = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        began = int(stat[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError):
        return time.process_time()


def _refuse_undecoded(texts: Sequence[str]) -> None:
    """Raises UserError for a word or path that the locale cannot decode: it would be recorded as another one."""
    for text in texts:
        if any("\udc80" <= character <= "\udcff" for character in text):
            given = os.fsencode(text).decode("utf-8", "backslashreplace")
            raise UserError(f"{given} cannot be read in this locale; set PYTHONUTF8=1, or LC_ALL to one of UTF-8")


def _or_exit(verb: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Runs a verb; a `UserError` is printed without a traceback and ends the process."""
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # Of a locale without umlauts, or a path that is no text.
    try:
        return verb()
    except UserError as error:
        print_message("error", "bold red", str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _end(130)
    except BrokenPipeError:
        os._exit(141)  # The reader of the output is gone, so nothing can be printed.


def _end(exit_code: int) -> NoReturn:
    """Ends the process after a signal; threads of XLA may still compile, and would not survive the interpreter."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(exit_code)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Prints a warning as one line, without its position in the code."""
    if issubclass(category, UserWarning):
        print_message("warning", "yellow", str(message))
