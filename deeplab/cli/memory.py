"""What to do when a device's memory is exhausted, and where a CPU's is slow."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from deeplab.core.errors import UserError

_TUNABLE = "glibc.malloc.hugetlb=1"
_LARGE = 1 << 25  # bytes; glibc gives larger blocks back to the system as soon as they are free
_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


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


def advice(temporary: int, pages: Path = _PAGES) -> str | None:
    """How to be faster, where each step takes new memory from the system in pages of 4 KiB; None elsewhere.

    Of a CPU step that needs hundreds of megabytes the system's page faults are up to a third: where Linux gives large
    pages to who asks for them ("madvise"), glibc (2.35 and later) asks when it is told to, before a process begins.

    Args:
      temporary: bytes that a step needs for itself.
      pages: Linux's setting.
    """
    if jax.default_backend() != "cpu" or temporary < _LARGE or _TUNABLE in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        return None
    if not pages.is_file() or "[madvise]" not in pages.read_text():
        return None
    return f"with GLIBC_TUNABLES={_TUNABLE} in its environment this command takes up to a third less time"
