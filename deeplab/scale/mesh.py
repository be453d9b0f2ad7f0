"""Meshes: devices as a grid with named axes."""

from __future__ import annotations

import math

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh

from deeplab.core.errors import UserError, nearest

AXES = ("data", "fsdp", "expert", "sequence", "model")
"""Axes that split: examples; examples and parameters; examples and experts; positions of a sequence; layers, by the
model's rules."""

BATCH = ("data", "fsdp", "expert")
"""Axes that split a batch."""


def make_mesh(shape: str = "auto") -> Mesh:
    """A mesh with the axes `data`, `fsdp`, `expert`, `sequence` and `model`.

    Args:
      shape: Sizes by axis, such as "data=4,fsdp=2"; axes that are left out have size 1. "auto" is data parallelism
        over all accelerators, and one device on a CPU, whose virtual devices share the same cores.

    Raises:
      UserError: The text names an unknown axis, a size is not a positive integer, or there are too few devices.

    Example:
      >>> dict(make_mesh("data=1").shape)
      {'data': 1, 'fsdp': 1, 'expert': 1, 'sequence': 1, 'model': 1}
    """
    devices = jax.devices()
    count = 1 if jax.default_backend() == "cpu" else len(devices)
    sizes = {"data": count} if shape == "auto" else _parse(shape)
    dims = [sizes.get(axis, 1) for axis in AXES]
    needed = math.prod(dims)
    if needed > len(devices):
        raise UserError(
            f"--mesh {shape} needs {needed} devices, and there are {len(devices)} ({devices[0].device_kind}); "
            f"use at most --mesh data={len(devices)}"
        )
    # Auto axes: `nn.Embed` fails with make_mesh's default, Explicit (jax 0.10).
    return jax.make_mesh(dims, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices[:needed])


def abstract_mesh(shape: str) -> AbstractMesh:
    """A mesh of devices that need not exist, from which shardings and the bytes per device follow.

    Args:
      shape: Sizes by axis, as for `make_mesh`; "auto" is one device.

    Raises:
      UserError: The text names an unknown axis, or a size is not a positive integer.

    Example:
      >>> abstract_mesh("data=16,fsdp=16").size
      256
    """
    sizes = {} if shape == "auto" else _parse(shape)
    dims = tuple(sizes.get(axis, 1) for axis in AXES)
    return AbstractMesh(dims, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _parse(shape: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for part in shape.split(","):
        axis, _, size = part.strip().partition("=")
        if axis not in AXES or not size.isdigit() or int(size) < 1 or axis in sizes:
            hint = f" ({nearest(axis, AXES)})" if axis and axis not in AXES else ""
            raise UserError(
                f"--mesh {shape}: {part.strip()!r} is not AXIS=SIZE; axes are {', '.join(AXES)}{hint}, each given "
                "once, and sizes are positive; for example --mesh data=4,fsdp=2"
            )
        sizes[axis] = int(size)
    return sizes
