"""Settings of the JAX backend for a command, and advice about its memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from deeplab.core.errors import UserError

_TUNABLE = "glibc.malloc.hugetlb=1"
_LARGE = 1 << 25  # Bytes; glibc returns blocks above this size to the system as soon as they are free.
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def prepare_backend(cache: Path, *, optimize: bool = True) -> None:
    """Sets process-wide options of the compiler; must run before the first array is created.

    Args:
      cache: Folder of compiled programs, kept between processes.
      optimize: Whether LLVM optimizes. Without it, a run of a few steps ends sooner.
    """
    if not optimize:
        jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(cache))


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Context that turns RESOURCE_EXHAUSTED of XLA into a `UserError` that says what to change."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        detail = str(error).splitlines()[0][:300]
        raise UserError(
            f"out of memory on a device: {detail}\nUse a smaller --batch-size, or more devices (--mesh fsdp=N splits "
            "parameters and optimizer state); the last checkpoint is untouched"
        ) from error


def huge_page_hint(temporary: int, setting: Path = _HUGE_PAGES) -> str | None:
    """Advice to use huge pages, if a step on a CPU allocates much memory in pages of 4 KiB; else None.

    Page faults take up to a third of a CPU step that allocates hundreds of megabytes. Where Linux gives huge pages
    on request ("madvise"), glibc 2.35 and later requests them if an environment variable says so at the start.

    Args:
      temporary: Bytes of temporary memory of one step.
      setting: File with Linux's setting of transparent huge pages.
    """
    if jax.default_backend() != "cpu" or temporary < _LARGE or _TUNABLE in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        return None
    if not setting.is_file() or "[madvise]" not in setting.read_text(encoding="utf-8"):
        return None
    return f"GLIBC_TUNABLES={_TUNABLE} in the environment makes this command up to a third faster"
