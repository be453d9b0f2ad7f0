"""Meshes of devices, and the shardings of parameters, optimizer state and batches over them."""

from deeplab.scale.mesh import abstract_mesh, make_mesh
from deeplab.scale.rules import batch_sharding, check_batch, state_shardings, to_device_memory, unapplied_rules

__all__ = [
    "abstract_mesh",
    "batch_sharding",
    "check_batch",
    "make_mesh",
    "state_shardings",
    "to_device_memory",
    "unapplied_rules",
]
