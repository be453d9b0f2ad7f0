"""The recipe of a run: an experiment's function with its arguments, a seed, and a runtime."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deeplab.core import arguments, ranges
from deeplab.core.errors import UserError, nearest
from deeplab.core.precision import PRECISIONS
from deeplab.core.runtime import Runtime
from deeplab.core.words import flag_words, parses_to, python_text
from deeplab.data.base import Data
from deeplab.experiment import Experiment
from deeplab.runs import record
from deeplab.runs.identity.sources import source_of


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
    """

    function: Callable[..., Experiment]
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    module: str = ""
    seed: int = 0
    runtime: Runtime = Runtime()
    data_dir: Path | None = None
    smoke: bool = False

    @classmethod
    def of(cls, experiment: Any, **options: Any) -> Recipe:
        """Makes the recipe of an experiment's function, of a `functools.partial` of it, or of an `Experiment`.

        Args:
          experiment: Function, partial, `Experiment` or recipe.
          **options: Further fields of the recipe.

        Raises:
          UserError: The experiment is of another type, or its function has no argument of a given name.

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
        given: dict[str, Any] = {}
        while isinstance(experiment, functools.partial):
            given = {**experiment.keywords, **given}
            experiment = experiment.func
        if not callable(experiment):
            raise UserError(
                f"{experiment!r} is no experiment; give a dl.Experiment, a function that returns one, or a "
                "functools.partial of such a function"
            )
        parameters = inspect.signature(experiment).parameters
        if unknown := [name for name in given if name not in parameters]:
            raise UserError(f"the experiment takes no argument {unknown[0]!r}; {nearest(unknown[0], parameters)}")
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
        return _on_synthetic_data(self.function) if self.smoke else self.function

    def experiment(self) -> Experiment:
        """Builds the experiment.

        Raises:
          UserError: The function returned something else.
        """
        made = self.build(**self.arguments)
        if not isinstance(made, Experiment):
            raise UserError(f"{self.name} returned {type(made).__name__}; an experiment returns a dl.Experiment")
        return made

    @property
    def recorded(self) -> dict[str, Any]:
        """Values that identify a run: the arguments, and the flags that change its results."""
        precision = next((name for name, row in PRECISIONS.items() if row == self.runtime.precision), None)
        changes = {
            "precision": precision or dataclasses.asdict(self.runtime.precision),
            "accumulate": self.runtime.accumulate,
            "smoke": self.smoke,
        }
        defaults = {"precision": "f32", "accumulate": 1, "smoke": False}
        own = {name: arguments.to_json(value) for name, value in self.arguments.items()}
        return own | {k: value for k, value in changes.items() if value != defaults[k]}

    @property
    def source(self) -> str:
        """Source of everything of the user's that the function reaches; see `deeplab.runs.identity.sources`."""
        return source_of(self.function)

    @property
    def directory(self) -> Path:
        """Default run directory, named by a hash of the arguments, the seed and the source."""
        return record.default_directory("runs", self.name, self.recorded, self.source, self.seed)

    def command(self, verb: str, **flags: Any) -> str:
        """Command line that runs a verb with this recipe; "" if the recipe has no module.

        Where no command line gives these arguments, it is a comment that says so, and the Python call.

        Args:
          verb: Name of the verb.
          **flags: Flags of the verb by name; those that are None or False are left out.
        """
        words = self.words(verb, **flags)
        return shlex.join([Path(sys.executable).name, *words]) if words is not None else self._call(verb, flags)

    def words(self, verb: str, **flags: Any) -> list[str] | None:
        """Words of `command` after that of Python; [] without a module, and None if no words give these arguments."""
        if not self.module:
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
        return ["-m", self.module, verb, *own, *flag_words(given, usual)]

    def _call(self, verb: str, flags: Mapping[str, Any]) -> str:
        """The Python call of a verb with these arguments."""
        name = getattr(self.function, "__name__", "experiment")
        parameters = inspect.signature(self.function).parameters
        own = {k: v for k, v in self.arguments.items() if not arguments.same(v, parameters[k].default)}
        options = {"run_dir": flags.get("run_dir"), "seed": self.seed, "data_dir": self.data_dir}
        options |= {"smoke": True} if self.smoke else {}
        given, other = (
            "".join(f", {k}={python_text(v)}" for k, v in values.items() if v is not None or values is own)
            for values in (own, options)
        )
        function = {"train": "fit", "eval": "evaluate"}.get(verb, verb)
        return (
            "# No command line gives these arguments; in Python:\n"
            f"from {self.module} import {name}\n"
            f"dl.{function}(functools.partial({name}{given}){other})"
        )


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

    Raises:
      UserError: The module cannot be imported from here, or has no such function.
    """
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"the run was made by {function} of module {module!r}, which cannot be imported here ({error}); give the "
            "experiment's function: dl.load(directory, experiment)"
        ) from error


def _on_synthetic_data(function: Callable[..., Experiment]) -> Callable[..., Experiment]:
    @functools.wraps(function)
    def build(**values: Any) -> Experiment:
        experiment = function(**values)
        data = experiment.data.synthetic(_smoke_batch(experiment.data))
        return dataclasses.replace(experiment, data=data, eval_every=None, weights=())

    return build


def _smoke_batch(data: Data) -> int:
    """Batch size of a smoke run: 8, or less for large examples, since 8 images of 512 x 512 are slow in a U-Net."""
    numbers = sum(math.prod(field.shape[1:]) for field in data.spec().values())
    return next((size for size in (8, 4) if size * numbers <= 2**20), 2)
