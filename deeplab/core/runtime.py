"""Runtime settings: how the steps of an experiment run, as flags of the command line set it."""

from __future__ import annotations

import dataclasses

from deeplab.core import ranges
from deeplab.core.precision import PRECISIONS, Precision


@dataclasses.dataclass(frozen=True)
@ranges.checked(accumulate=ranges.COUNT, steps_per_dispatch=ranges.COUNT, workers=ranges.NATURAL)
class Runtime:
    """Settings of how the steps of an `Experiment` run, which do not define what it learns.

    Args:
      mesh: Devices by axis, such as "data=4,fsdp=2"; "auto" is all accelerators, or one CPU device.
      precision: Dtypes of parameters, computation and reductions; a row of `dl.PRECISIONS`.
      accumulate: Number of microbatches that a step divides its batch into, to save memory. The gradient is that of
        the whole batch; batch norms, and losses that compare examples, use one microbatch.
      offload: Whether the optimizer state is kept in the host's memory between steps, if the devices support it.
      steps_per_dispatch: Largest number of steps in one dispatch; chosen by the backend and the step when None.
      workers: Number of processes that read a data set larger than device memory; 0 is a thread.

    Raises:
      UserError: A number is out of its range.

    Example:
      >>> Runtime(precision=PRECISIONS["bf16"], accumulate=4).precision.computation
      'bfloat16'
    """

    mesh: str = "auto"
    precision: Precision = PRECISIONS["f32"]
    accumulate: int = 1
    offload: bool = False
    steps_per_dispatch: int | None = None
    workers: int = 0
