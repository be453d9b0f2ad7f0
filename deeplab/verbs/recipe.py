"""The recipe of a run: an experiment's function with its arguments, a seed, and a runtime."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deeplab.core import arguments, ranges
from deeplab.core import entry as entries
from deeplab.core.entry import Entry
from deeplab.core.errors import UserError, place_of, place_of_error
from deeplab.core.precision import PRECISIONS
from deeplab.core.runtime import Runtime
from deeplab.core.words import call_text, flag_words, parses_to
from deeplab.data.base import Data
from deeplab.experiment import Experiment
from deeplab.runs import record
from deeplab.runs.identity import provenance
from deeplab.runs.identity.sources import source_of

_MISCALLED = re.compile("unexpected keyword argument|required (positional|keyword-only) argument|multiple values for")

_FLAGS = {"precision": "f32", "accumulate": 1, "smoke": False}
"""What a record holds beside the arguments of the experiment, where it is not this."""


@dataclasses.dataclass(frozen=True)
@ranges.checked(seed=ranges.SEED)
class Recipe:
    """Everything that decides what a run learns, and how it runs.

    Args:
      function: Function from hyper-parameters to an `Experiment`.
      arguments: Hyper-parameters by name; the function's default for one that is missing.
      module: Name of the module that a command line runs, such as "experiments.image_digits"; "" if there is none.
      seed: Seeds parameter initialization and data order.
      runtime: Mesh, precision and accumulation.
      data_dir: Folder with the original files of the data set; they are downloaded when None.
      smoke: Whether synthetic data of the right shape replace the data set.
      entry: How the command line of this process reaches the function; found by its module when None.
    """

    function: Callable[..., Experiment]
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    module: str = ""
    seed: int = 0
    runtime: Runtime = Runtime()
    data_dir: Path | None = None
    smoke: bool = False
    entry: Entry | None = None

    @classmethod
    def of(cls, experiment: Any, **options: Any) -> Recipe:
        """Makes the recipe of an experiment's function, of a `functools.partial` of it, or of an `Experiment`.

        Args:
          experiment: Function, partial, `Experiment` or recipe.
          **options: Further fields of the recipe.

        Raises:
          UserError: The experiment is of another type, or its function has no argument of a given name, or one that is
            called as a flag of every experiment.

        Example:
          >>> from experiments.image_digits import experiment
          >>> Recipe.of(functools.partial(experiment, width=8), seed=1).arguments["width"]
          8
        """
        options = {name: value for name, value in options.items() if value is not None}
        if isinstance(experiment, Recipe):
            return dataclasses.replace(experiment, **options)
        if isinstance(experiment, Experiment):
            return cls(lambda: experiment, **options)
        experiment, given = arguments.unbound(experiment)
        if not callable(experiment):
            raise UserError(
                f"{experiment!r} is no experiment; give a dl.Experiment, a function that returns one, or a "
                "functools.partial of such a function"
            )
        parameters = inspect.signature(experiment).parameters
        if clash := sorted(_FLAGS.keys() & parameters.keys()):
            raise UserError(
                f"{module_name(experiment)}: the arguments {clash} are flags of every experiment; give them other names"
            )
        arguments.check_given(experiment, given)
        values = {name: given.get(name, p.default) for name, p in parameters.items()}
        function: Any = experiment
        return cls(function, values, options.pop("module", module_name(experiment)), **options)

    @property
    def name(self) -> str:
        """Name of the experiment: the last part of the module's name."""
        return self.module.rpartition(".")[2] or getattr(self.function, "__name__", "experiment")

    @property
    def build(self) -> Callable[..., Experiment]:
        """Function of the experiment, with synthetic data and random weights for a smoke run."""
        return _checked(self.function, smoke=self.smoke)

    def experiment(self) -> Experiment:
        """Builds the experiment.

        Raises:
          UserError: The function returned something else.
        """
        return self.build(**self.arguments)

    @property
    def recorded(self) -> dict[str, Any]:
        """Values that identify a run: the arguments, and the flags that change its results."""
        precision = next((name for name, row in PRECISIONS.items() if row == self.runtime.precision), None)
        changes = {
            "precision": precision or dataclasses.asdict(self.runtime.precision),
            "accumulate": self.runtime.accumulate,
            "smoke": self.smoke,
        }
        own = {name: arguments.to_json(value) for name, value in self.arguments.items()}
        return own | {k: value for k, value in changes.items() if value != _FLAGS[k]}

    @property
    def source(self) -> str:
        """Source of everything of the user's that the function reaches; see `deeplab.runs.identity.sources`."""
        return source_of(self.function)

    @property
    def sources(self) -> dict[str, str]:
        """Digests of the parts of `source`, by the name of the module, function or value."""
        return provenance.sources(self.function)

    @property
    def directory(self) -> Path:
        """Default run directory, named by a hash of the arguments, the seed and the source."""
        return record.default_directory("runs", self.name, self.recorded, self.source, self.seed)

    def command(self, verb: str, **flags: Any) -> str:
        """Command line that runs a verb with this recipe from the current folder.

        Where no command line gives these arguments, or reaches the function, it is the Python call.

        Args:
          verb: Name of the verb.
          **flags: Flags of the verb by name; those that are None or False are left out.
        """
        entry, words = self.reached, self.words(verb, **flags)
        if entry is not None and words:
            return entry.command(words[len(entry.words) :])
        note = "" if entry is None else "# No command line gives these arguments; in Python:\n"
        return note + self._call(verb, flags)

    @property
    def reached(self) -> Entry | None:
        """How a command line reaches the function; None where none does."""
        if self.entry is not None or not self.module:
            return self.entry
        own = inspect.unwrap(self.function).__module__ == "__main__"
        return entries.of_main() if own else entries.of_module(self.module)

    def words(self, verb: str, **flags: Any) -> list[str] | None:
        """Words of `command` after that of Python; [] if none reach the function, None if none give the arguments."""
        entry = self.reached
        if entry is None:
            return []
        parameters = inspect.signature(self.function).parameters
        kinds = arguments.kinds_of(self.function)
        own = flag_words(self.arguments, {name: p.default for name, p in parameters.items()}, kinds)
        if verb != "sweep" and not parses_to(self.function, self.arguments, own):
            return None
        runtime = self.runtime
        common = {
            "run_dir": flags.pop("run_dir", None),
            "seed": self.seed,
            "data_dir": self.data_dir,
            "mesh": runtime.mesh,
            "precision": next((name for name, row in PRECISIONS.items() if row == runtime.precision), None),
            "accumulate": runtime.accumulate,
            "offload": runtime.offload,
            "smoke": self.smoke,
        }
        usual = {"seed": 0, "mesh": "auto", "precision": "f32", "accumulate": 1, "offload": False, "smoke": False}
        given = {name: value for name, value in (common | flags).items() if value is not None}
        return [*entry.words, verb, *own, *flag_words(given, usual)]

    def _call(self, verb: str, flags: Mapping[str, Any]) -> str:
        """The Python call of a verb with these arguments."""
        parameters = inspect.signature(self.function).parameters
        own = {k: v for k, v in self.arguments.items() if not arguments.same(v, parameters[k].default)}
        options = {"run_dir": flags.get("run_dir"), "seed": self.seed, "data_dir": self.data_dir}
        options |= {name: flags[name] for name in ("seeds",) if flags.get(name)}
        options |= {"smoke": True} if self.smoke else {}
        return call_text(verb, self.function, self.module, own, options)


def module_name(function: Callable[..., Any]) -> str:
    """Name of the module that a command line runs for a function, also if `python -m` runs it as `__main__`."""
    module = inspect.unwrap(function).__module__
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return spec.name
    return os.path.splitext(os.path.basename(sys.argv[0]))[0] if hasattr(main, "__file__") else ""


def imported(module: str, function: str) -> Callable[..., Experiment]:
    """Imports the function of an experiment by the name of its module, as a run's record holds it.

    That of the notebook or the script that runs now is taken from there.

    Raises:
      UserError: The module cannot be imported from here, or has no such function.
    """
    here: Any = getattr(sys.modules["__main__"], function, None)
    if here is not None and getattr(here, "__module__", "") == "__main__" and module_name(here) == module:
        return here
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"the run was made by {function} of module {module!r}, which cannot be imported here ({error}); give the "
            "experiment's function: dl.load(directory, experiment)"
        ) from error


def _checked(function: Callable[..., Experiment], *, smoke: bool) -> Callable[..., Experiment]:
    """The function, whose errors say what a user mends; on synthetic data for a smoke run."""

    @functools.wraps(function)
    def build(**values: Any) -> Experiment:
        try:
            with ranges.blaming(values):
                made = function(**values)
        except TypeError as error:
            if not _MISCALLED.search(str(error)):
                raise
            raise UserError(f"{place_of_error(error) or 'the experiment'}: {error}") from error
        if not isinstance(made, Experiment):
            raise UserError(_other(function, made))
        if not smoke:
            return made
        data = made.data.synthetic(_smoke_batch(made.data))
        return dataclasses.replace(made, data=data, eval_every=None, weights=())

    return build


def _other(function: Callable[..., Any], made: Any) -> str:
    """What is said of a function that returns something else than an experiment."""
    given = f"the class {made.__name__}, which is not called" if isinstance(made, type) else type(made).__name__
    mend = {"NoneType": "; is its `return` missing?", "tuple": "; put the parts into one dl.Experiment(...)"}
    name, place = getattr(function, "__name__", "the function"), place_of(function)
    return (
        f"{name}{place and f' ({place})'} returned {given}; an experiment returns a dl.Experiment"
        f"{mend.get(type(made).__name__, '')}"
    )


def _smoke_batch(data: Data) -> int:
    """Batch size of a smoke run: 8, or less for large examples, since 8 images of 512 x 512 are slow in a U-Net."""
    numbers = sum(math.prod(field.shape[1:]) for field in data.spec().values())
    return next((size for size in (8, 4) if size * numbers <= 2**20), 2)
