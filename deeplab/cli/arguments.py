"""Parses argv into an experiment's arguments and a verb's flags, from the signature of its function."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import sys
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import docstring_parser
import tyro
from rich.console import Console

from deeplab.core.arguments import check_given
from deeplab.core.entry import Entry
from deeplab.core.errors import UserError, nearest
from deeplab.core.precision import named
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.search import axes
from deeplab.search.axes import Axis
from deeplab.verbs.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class CommonFlags:
    """Flags of every verb.

    Args:
      run_dir: Directory of the run; by default runs/NAME/HASH, a hash of the arguments, the seed and the source.
      seed: Seed of parameter initialization, data order and all other randomness.
      data_dir: Folder with the original files of the data set, or with folders of them; downloaded when left out.
      mesh: Devices by axis, such as data=4,fsdp=2; auto is all accelerators, or one CPU device.
      precision: Dtypes of parameters, computation and reductions.
      accumulate: Number of microbatches in a step, to save memory.
      offload: Keep the optimizer state in the host's memory between steps.
      smoke: Train for a few steps on synthetic data of the right shape.
      json: Print the result as one line of JSON at the end.
    """

    run_dir: Path | None = None
    seed: int = 0
    data_dir: Path | None = None
    mesh: str = "auto"
    precision: Literal["f32", "bf16", "bf16_params", "f16"] = "f32"
    accumulate: int = 1
    offload: bool = False
    smoke: bool = False
    json: bool = False


@dataclasses.dataclass(frozen=True)
class Invocation:
    """A parsed command line.

    Attributes:
      function: Function from hyper-parameters to an experiment.
      module: Name of the module of that function, such as "experiments.image_digits".
      verb: Name of the verb.
      arguments: Values of all hyper-parameters, by name.
      flags: Flags of the verb, an instance of a subclass of `CommonFlags`.
      import_seconds: Time from the start of the process to the parsing, in seconds; None in a process, such as a
        notebook, that also does other work.
      entry: How the command line of this process reaches the function; None where the process has none.
    """

    function: Callable[..., Experiment]
    module: str
    verb: str
    arguments: dict[str, Any]
    flags: Any
    import_seconds: float | None = None
    entry: Entry | None = None

    @property
    def recipe(self) -> Recipe:
        """Recipe of the run that the command line describes."""
        flags = self.flags
        runtime = Runtime(
            mesh=flags.mesh,
            precision=named(flags.precision),
            accumulate=flags.accumulate,
            offload=flags.offload,
            steps_per_dispatch=getattr(flags, "steps_per_dispatch", None),
            workers=getattr(flags, "workers", 0),
        )
        return Recipe(
            self.function, self.arguments, self.module, flags.seed, runtime, flags.data_dir, flags.smoke, self.entry
        )

    @property
    def name(self) -> str:
        """Name of the experiment, without its package."""
        return self.recipe.name

    @property
    def directory(self) -> Path:
        """Run directory: as given, or else named by a hash of the arguments, the seed and the source."""
        return self.flags.run_dir or self.recipe.directory

    def command(self, verb: str, **changes: Any) -> str:
        """Command line of another verb with the same arguments, indented."""
        flags = {"run_dir": self.flags.run_dir, "json": self.flags.json} | changes
        return textwrap.indent(self.recipe.command(verb, **flags), "  ")


class Verb(NamedTuple):
    """A verb of the command line, such as `train`.

    Attributes:
      flags: Dataclass of its flags.
      run: Function that executes it, and returns the result that `--json` prints.
      many: Whether an argument may have many values; the arguments of the invocation are then `Axis` values.
    """

    flags: type[CommonFlags]
    run: Callable[[Invocation, Console], dict[str, Any]]
    many: bool = False


def parse(
    function: Callable[..., Experiment], module: str, verbs: Mapping[str, Verb], argv: Sequence[str]
) -> Invocation:
    """Parses a command line.

    Args:
      function: Function from hyper-parameters to an experiment.
      module: Name of the module of that function.
      verbs: Verbs by name; the first is the default.
      argv: Words after the name of the program.

    Raises:
      UserError: The verb is unknown, or the arguments of the experiment cannot become flags.
      SystemExit: A flag is unknown or has a value of the wrong type (2), or help was requested (0).
    """
    words = list(argv)
    verb = words.pop(0) if words and not words[0].startswith("-") else next(iter(verbs))
    if verb not in verbs:
        raise UserError(f"{verb!r} is no verb; {nearest(verb, verbs)}")
    hyper, flags = _hyper_parameters(function, verbs[verb].many), verbs[verb].flags
    clash = {f.name for f in dataclasses.fields(hyper)} & {f.name for f in dataclasses.fields(flags)}
    if clash:
        raise UserError(f"{module}: the arguments {sorted(clash)} are flags of every experiment; give them other names")
    _refuse_old_flags(words, {f.name for kind in (hyper, flags) for f in dataclasses.fields(kind)})
    if {"-h", "--help"} & set(words):  # tyro would run the lines of the note into one paragraph
        print(inspect.getdoc(sys.modules[function.__module__]) or module, end="\n\n")
        print(_help(verbs), end="\n\n", flush=True)
    both = dataclasses.make_dataclass("Arguments", [("experiment", hyper), ("run", flags)])
    both.__module__ = "builtins"  # tyro looks there for no source; it would read a whole module, a third of the parsing
    try:
        parsed = tyro.cli(
            both,
            args=words,
            prog=f"python -m {module} {verb}",
            description="",
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except AssertionError as error:  # of tyro's, about the fields of a dataclass, which are flags too
        raise UserError(
            f"{module}: two arguments, or a field of a dataclass among them, give the same flag ({error}); give them "
            "other names"
        ) from error
    arguments = {field.name: getattr(parsed.experiment, field.name) for field in dataclasses.fields(hyper)}
    _refuse_senseless(arguments, vars(parsed.run), words)
    # A shell leaves the `~` of `--run-dir=~/runs`, and a notebook all of them.
    paths = {k: Path(os.path.expanduser(path)) for k, path in vars(parsed.run).items() if isinstance(path, Path)}
    return Invocation(function, module, verb, arguments, dataclasses.replace(parsed.run, **paths))


def _help(verbs: Mapping[str, Verb]) -> str:
    """A line for each verb: the first of its function's docstring."""
    lines = {name: inspect.getdoc(getattr(verb.run, "func", verb.run)) or "" for name, verb in verbs.items()}
    width = max(map(len, lines))
    rows = [f"  {name:{width}}  {text.partition(chr(10))[0]}" for name, text in lines.items()]
    return "\n".join(
        [f"verbs ({next(iter(verbs))} when none is given), each with flags of its own: VERB --help", *rows]
    )


_RENAMED = {
    "how": "search",
    "settings": "num_trials",
    "together": "parallel_trials",
    "way": "execution",
    "at_once": "members_per_program",
}
"""New names of flags of earlier versions."""


def _refuse_old_flags(words: Sequence[str], names: set[str]) -> None:
    for word in words:
        old = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and old not in names and _RENAMED.get(old) in names:
            raise UserError(f"{word.partition('=')[0]} is called --{_RENAMED[old].replace('_', '-')} now")


def _refuse_senseless(arguments: Mapping[str, Any], flags: Mapping[str, Any], words: Sequence[str]) -> None:
    """Raises UserError for a number too large for a float, and for an empty path, which would be the current folder."""
    for name, value in arguments.items():
        if isinstance(value, float) and math.isinf(value) and (text := _given(name, words)) and text[-1].isdigit():
            raise UserError(f"--{name.replace('_', '-')} {text}: too large for a float; write inf if that is meant")
    for name, value in flags.items():
        if isinstance(value, Path) and _given(name, words) == "":
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} is empty, expected a path; the current folder is {flag} .")


def _given(name: str, words: Sequence[str]) -> str | None:
    """The last text that is given for a flag; None without one."""
    found = None
    for i, word in enumerate(words):
        flag, equals, text = word.partition("=")
        if flag.replace("_", "-") == f"--{name.replace('_', '-')}":
            found = text if equals else "".join(words[i + 1 : i + 2])
    return found


def _hyper_parameters(function: Callable[..., Experiment], many: bool) -> type:
    """Makes a dataclass of the function's parameters, with their types, defaults and help from the docstring."""
    hints = typing.get_type_hints(function, include_extras=True)
    helps = {p.arg_name: p.description for p in docstring_parser.parse(inspect.getdoc(function) or "").params}
    fields = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is inspect.Parameter.empty or name not in hints:
            raise UserError(
                f"{function.__module__}: the argument {name!r} needs a type and a default, to become a flag"
            )
        kind, default = hints[name], parameter.default
        if many:
            kind, default = axes.annotated(kind), Axis.of(default)
        kind = typing.Annotated[kind, tyro.conf.arg(help=helps.get(name) or "")]
        made = dataclasses.field(default_factory=lambda default=default: default)  # it may be mutable
        fields.append((name, kind, made))
    check_given(function, {})
    return dataclasses.make_dataclass("HyperParameters", fields, frozen=True)
