"""The memory of one device during a training step, by use."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from deeplab.scale.plan.costs import nbytes


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device.

    Attributes:
      params: Parameters.
      optimizer_state: State of the optimizer.
      variables: The rest of the training state: batch statistics, step, key.
      batch: Examples of one step.
      gradients: Gradients, as large as the parameters; twice that with gradient accumulation.
      residuals: Arrays that the forward pass keeps for the backward pass.
      temporaries: Operands and results of the largest operation, or those of the largest recomputed block.
      buffers: The largest array that is gathered from other devices, or reduced over them.
    """

    params: int
    optimizer_state: int
    variables: int
    batch: int
    gradients: int
    residuals: int
    temporaries: int
    buffers: int

    @property
    def arguments(self) -> int:
        """Bytes of the arguments of the compiled step: the state and the batch."""
        return self.params + self.optimizer_state + self.variables + self.batch

    @property
    def total(self) -> int:
        """Bytes of all parts together, which is the peak."""
        return self.arguments + self.gradients + self.residuals + self.temporaries + self.buffers


def device_nbytes(tree: Any) -> int:
    """Bytes of one device's shards of a tree of abstract arrays with shardings.

    Example:
      >>> from deeplab import scale
      >>> sharding = scale.batch_sharding(scale.make_mesh("data=1"))
      >>> device_nbytes({"x": jax.ShapeDtypeStruct((4, 2), jax.numpy.float32, sharding=sharding)})
      32
    """
    return sum(nbytes(jax.ShapeDtypeStruct(s.sharding.shard_shape(s.shape), s.dtype)) for s in jax.tree.leaves(tree))
