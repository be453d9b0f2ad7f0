"""`Run.export`: the prediction function of a run as a program that loads without deeplab."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export  # Colab's jax 0.7 imports it only when told

from deeplab.core.errors import UserError
from deeplab.core.jax_compat import plain_operations
from deeplab.data.base import raw_spec
from deeplab.experiment import Experiment
from deeplab.train.state import State
from deeplab.train.step import make_predict
from deeplab.verbs.recipe import Recipe

OF_LABELS = ("id", "label", "loss", "target", "weight")
"""Predictions that need a label or a target, which a user's data may lack."""


def export(
    recipe: Recipe,
    experiment: Experiment,
    state: State,
    path: Path,
    fields: Sequence[str],
    batch_size: int,
    platforms: Sequence[str],
) -> Path:
    """Writes the prediction function, with its weights, as serialized StableHLO.

    Args:
      recipe: Recipe of the run, for its precision.
      experiment: Experiment of the run.
      state: State whose weights are written.
      path: File to write.
      fields: Names of the raw fields that the program reads.
      batch_size: Number of examples in one call of the program.
      platforms: Platforms that the program runs on, of "cpu", "cuda", "rocm" and "tpu"; this process's own when empty.

    Raises:
      UserError: The data have no field of a given name, or the file cannot be written; told before anything compiles.
    """
    if not path.parent.is_dir() or path.is_dir():
        what = f"{path} is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise UserError(
            f"export writes a file, and {what}; give a file such as digits.stablehlo in a folder that exists"
        )
    known = raw_spec(experiment.data)
    if missing := [name for name in fields if name not in known]:
        raise UserError(f"export was given a field {missing[0]!r}; the data have {', '.join(known)}")
    predict = make_predict(experiment, recipe.runtime)

    def program(inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        made = predict(state, inputs)
        return {name: value for name, value in made.items() if name not in OF_LABELS}

    inputs: dict[str, Any] = {
        name: jax.ShapeDtypeStruct((batch_size, *known[name].shape[1:]), known[name].dtype) for name in fields
    }
    if set(platforms) - {"cuda"}:  # the kernels of this process's own GPU are not those of other platforms
        program = plain_operations()(program)
    exported = jax.export.export(jax.jit(program), platforms=tuple(platforms) or None)(inputs)
    try:
        path.write_bytes(exported.serialize())
    except OSError as error:
        raise UserError(f"export cannot write {path}: {error.strerror or error}") from error
    return path
