"""Settings of the JAX backend for a command, options of its compiler, and advice about its memory."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from deeplab.core.errors import UserError

_TUNABLE = "glibc.malloc.hugetlb=1"
_LARGE = 1 << 25  # Bytes; glibc returns blocks above this size to the system as soon as they are free.
_CUDA_13 = 580  # Major version of NVIDIA's oldest driver for CUDA 13.

# In programs with a convolution, XLA's CPU compiler leaves products, sums and elementwise chains slow: with its YNNPACK
# fusions, the step of a small ResNet takes 158 instead of 189 ms of CPU time. The step of a GPT gains nothing.
CPU_CONVOLUTION_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": ",".join(f"LIBRARY_FUSION_TYPE_{x}" for x in ("DOT", "ELTWISE", "REDUCE"))
}

_SAME_BITS = "--xla_gpu_exclude_nondeterministic_ops=true"
DRIVER = Path("/proc/driver/nvidia/version")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def prepare_backend(cache: Path, *, optimize: bool = True) -> None:
    """Sets process-wide options of the compiler; must run before the first array is created.

    Args:
      cache: Folder of compiled programs, kept between processes.
      optimize: Whether LLVM optimizes. Without it, a run of a few steps ends sooner.
    """
    if not optimize:
        jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(cache))


def known_xla_flags(flags: Sequence[str]) -> list[str]:
    """Flags that this version of XLA knows; any other in XLA_FLAGS would end the process when it starts a backend.

    XLA drops flags between versions, and lists them nowhere. So a process of some two seconds starts with them, and XLA
    names those at which it ends.

    Args:
      flags: Flags for XLA_FLAGS, such as "--xla_cpu_use_fusion_emitters=false".

    Example:
      >>> known_xla_flags(["--xla_force_host_platform_device_count=2", "--xla_does_not_exist=1"])
      ['--xla_force_host_platform_device_count=2']
    """
    environment = os.environ | {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    tried = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    return [flag for flag in flags if tried.returncode == 0 or flag not in tried.stderr.split()]


def same_bits_hint(backend: str) -> str | None:
    """How a resumed run becomes the uninterrupted one bit by bit on a GPU, unless XLA_FLAGS say it; else None.

    Some of the fastest operations there add in another order each time, such as the gradients of embeddings and of
    convolutions. What replaces them can be much slower: a sum over tokens that is taken one by one.

    Args:
      backend: JAX's name of the backend.

    Example:
      >>> same_bits_hint("cpu")
    """
    said = os.environ.get("XLA_FLAGS", "")
    if backend != "gpu" or any(name in said for name in ("exclude_nondeterministic_ops", "gpu_deterministic_ops")):
        return None
    return f"XLA_FLAGS={_SAME_BITS} gives a resumed run the bits of an uninterrupted one; steps may take longer"


def compile_lowered(lowered: Any, options: Mapping[str, Any]) -> Any:
    """Compiles, without the options if this version of XLA does not know them: they are experimental.

    Example:
      >>> compile_lowered(jax.jit(lambda x: x + 1).lower(1), {"xla_no_such_option": "1"})(1).item()
      2
    """
    try:
        return lowered.compile(compiler_options=dict(options))
    except jax.errors.JaxRuntimeError as error:
        if not options or "INVALID_ARGUMENT" not in str(error):
            raise
        return lowered.compile()


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


def gpu_hint(devices: Path = Path("/dev"), driver: Path = DRIVER) -> str | None:
    """What to install where this machine has an NVIDIA GPU and JAX computes on the CPU; else None.

    It is None, too, where the environment chooses: by JAX_PLATFORMS, or by CUDA_VISIBLE_DEVICES that hides all GPUs.

    Args:
      devices: Folder of Linux's device files.
      driver: File in which NVIDIA's driver gives its version.
    """
    chosen = os.environ.get("JAX_PLATFORMS") or os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    if chosen or jax.default_backend() != "cpu" or not (any(devices.glob("nvidia*")) or shutil.which("nvidia-smi")):
        return None
    found = "this machine has an NVIDIA GPU, but JAX computes on the CPU"
    if any(importlib.util.find_spec(f"jax_cuda{cuda}_plugin") for cuda in (12, 13)):
        return f"{found}, although its plugin is there; `python -c \"import jax; jax.devices('cuda')\"` says why"
    told = re.search(r"Module.*?(\d+)\.\d", driver.read_text(encoding="utf-8")) if driver.is_file() else None
    cuda = 12 if told and int(told[1]) < _CUDA_13 else 13
    return f'{found}; `pip install "jax[cuda{cuda}]=={jax.__version__}"` gives it the GPU, and keeps its version'


def huge_page_hint(temporary: int, setting: Path = HUGE_PAGES) -> str | None:
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
