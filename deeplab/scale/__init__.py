"""Meshes, and which device holds what."""

from deeplab.scale.mesh import make_mesh
from deeplab.scale.sharding import batch_sharding, check_batch, state_shardings

__all__ = ["batch_sharding", "check_batch", "make_mesh", "state_shardings"]
