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

from deeplab.core import ranges
from deeplab.core.errors import UserError, nearest
from deeplab.core.precision import PRECISIONS
from deeplab.core.runtime import Runtime
from deeplab.data.base import Data
from deeplab.experiment import Experiment
from deeplab.runs import record
from deeplab.runs.sources import source_of


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
        arguments = {name: given.get(name, p.default) for name, p in parameters.items()}
        function: Any = experiment
        return cls(function, arguments, options.pop("module", module_name(experiment)), **options)

    @property
    def name(self) -> str:
        """Name of the experiment: the last part of the module's name."""
        return self.module.rpartition(".")[2] or getattr(self.function, "__name__", "experiment")

    @property
    def build(self) -> Callable[..., Experiment]:
        """Function of the experiment, with synthetic data for a smoke run."""
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
        return dict(self.arguments) | {k: value for k, value in changes.items() if value != defaults[k]}

    @property
    def source(self) -> str:
        """Source of everything of the user's that the function reaches; see `deeplab.runs.sources`."""
        return source_of(self.function)

    @property
    def directory(self) -> Path:
        """Default run directory, named by a hash of the arguments, the seed and the source."""
        return record.default_directory("runs", self.name, self.recorded, self.source, self.seed)

    def command(self, verb: str, **flags: Any) -> str:
        """Command line that runs a verb with this recipe; "" if the recipe has no module.

        Args:
          verb: Name of the verb.
          **flags: Flags of the verb by name; those that are None or False are left out.
        """
        if not self.module:
            return ""
        defaults = {name: p.default for name, p in inspect.signature(self.function).parameters.items()}
        words = [Path(sys.executable).name, "-m", self.module, verb]
        words += flag_words(self.arguments, defaults)
        runtime = self.runtime
        own = {
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
        words += flag_words(own | flags, usual)
        return shlex.join(words)


def flag_words(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Words of the command line for flags that differ from their defaults.

    Example:
      >>> flag_words({"width": 8, "smoke": True, "depth": 2}, {"width": 4, "smoke": False, "depth": 2})
      ['--width', '8', '--smoke']
    """
    words: list[str] = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if value is None or value is defaults.get(name) or str(value) == str(defaults.get(name)):
            continue
        if isinstance(value, bool):
            words += [f"--{flag}"] if value else [f"--no-{flag}"] if defaults.get(name) else []
        elif isinstance(value, (tuple, list)):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
    return words


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
    def build(**arguments: Any) -> Experiment:
        experiment = function(**arguments)
        data = experiment.data.synthetic(_smoke_batch(experiment.data))
        return dataclasses.replace(experiment, data=data, eval_every=None)

    return build


def _smoke_batch(data: Data) -> int:
    """Batch size of a smoke run: 8, or less for large examples, since 8 images of 512 x 512 are slow in a U-Net."""
    numbers = sum(math.prod(field.shape[1:]) for field in data.spec().values())
    return next((size for size in (8, 4) if size * numbers <= 2**20), 2)
