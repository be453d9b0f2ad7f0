"""Devices as a grid with named axes."""

from __future__ import annotations

import math

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh

from deeplab.core.errors import UserError, nearest

AXES = ("data", "fsdp", "sequence", "model")
"""Examples; examples and parameters; places of a sequence; parts of a layer, by the model's rules."""

BATCH = ("data", "fsdp")
"""The axes that split a batch."""


def make_mesh(shape: str = "auto") -> Mesh:
    """A mesh with the axes `data`, `fsdp`, `sequence` and `model`, from a text such as "data=4,fsdp=2".

    Args:
      shape: sizes by axis, 1 where an axis is left out. "auto" is data parallelism over all accelerators, and one
        device on a CPU, whose virtual devices share the same cores.

    Raises:
      UserError: an unknown axis, a size that is no positive integer, or more devices than there are.

    Example:
      >>> dict(make_mesh("data=1").shape)
      {'data': 1, 'fsdp': 1, 'sequence': 1, 'model': 1}
    """
    devices = jax.devices()
    count = 1 if jax.default_backend() == "cpu" else len(devices)
    sizes = {"data": count} if shape == "auto" else _parse(shape)
    dims = [sizes.get(axis, 1) for axis in AXES]
    needed = math.prod(dims)
    if needed > len(devices):
        raise UserError(
            f"--mesh {shape} needs {needed} devices, and there are {len(devices)} ({devices[0].device_kind}); "
            f"use --mesh data={len(devices)} or fewer"
        )
    # Auto axes: `nn.Embed` fails under make_mesh's default, Explicit (jax 0.10).
    return jax.make_mesh(dims, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices[:needed])


def abstract_mesh(shape: str) -> AbstractMesh:
    """The same for devices that are not here: enough to say what each of them would hold.

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
                f"--mesh {shape}: {part.strip()!r} is not AXIS=SIZE with an axis of {', '.join(AXES)}{hint}, each "
                "once, and a positive size; for example --mesh data=4,fsdp=2"
            )
        sizes[axis] = int(size)
    return sizes
