"""The memory of one device, by what it is for."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from deeplab.scale.plan.costs import nbytes


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device.

    Attributes:
      params: parameters.
      moments: the optimizer's state.
      variables: the rest of the state: batch statistics, step, key.
      batch: the examples of a step.
      gradients: as large as the parameters.
      residuals: what the forward pass keeps for the backward pass.
      temporaries: operands and results of the largest operation, or of a block that is computed again.
      buffers: the largest array that is gathered from other devices or reduced with them.
    """

    params: int
    moments: int
    variables: int
    batch: int
    gradients: int
    residuals: int
    temporaries: int
    buffers: int

    @property
    def arguments(self) -> int:
        """Of a step's program: the state and the batch."""
        return self.params + self.moments + self.variables + self.batch

    @property
    def total(self) -> int:
        """The peak."""
        return self.arguments + self.gradients + self.residuals + self.temporaries + self.buffers


def part(tree: Any) -> int:
    """Bytes that one device holds of a tree of abstract arrays with shardings.

    Example:
      >>> from deeplab import scale
      >>> where = scale.batch_sharding(scale.make_mesh("data=1"))
      >>> part({"x": jax.ShapeDtypeStruct((4, 2), jax.numpy.float32, sharding=where)})
      32
    """
    return sum(nbytes(jax.ShapeDtypeStruct(s.sharding.shard_shape(s.shape), s.dtype)) for s in jax.tree.leaves(tree))
