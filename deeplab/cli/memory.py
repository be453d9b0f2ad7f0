"""What to do when a device's memory is exhausted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from deeplab.errors import UserError


@contextmanager
def explained() -> Iterator[None]:
    """Says what to do when a device's memory is exhausted, above what the compiler says."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        detail = str(error).splitlines()[0][:300]
        raise UserError(
            f"out of memory on a device: {detail}\nUse a smaller --batch-size, or more devices (--mesh fsdp=N divides "
            "parameters and moments); the last checkpoint is untouched"
        ) from error
