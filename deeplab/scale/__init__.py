"""Meshes, and which device holds what."""

from deeplab.scale.mesh import abstract_mesh, make_mesh
from deeplab.scale.rules import batch_sharding, check_batch, misfits, near, state_shardings

__all__ = ["abstract_mesh", "batch_sharding", "check_batch", "make_mesh", "misfits", "near", "state_shardings"]
