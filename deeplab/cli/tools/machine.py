"""What `deeplab doctor` says of a machine: pages, cache, disk, processor, memory, locale."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import locale
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from deeplab.core.backend import DRIVER, HUGE_PAGES, huge_page_hint
from deeplab.data.prepare.cache import cache_dir

_LEAST_DISK, _LEAST_MEMORY = 2e9, 2e9  # bytes, below which a set or a model of some size does not fit
_LARGE = 1 << 30  # bytes of temporary memory of a step for which large pages pay


def _requirements() -> tuple[str, ...]:
    try:
        return tuple(importlib.metadata.requires("deeplab") or ())
    except importlib.metadata.PackageNotFoundError:  # a checkout on the path that is not installed
        return ()


class Check(NamedTuple):
    """One line of the command.

    Attributes:
      name: What is looked at.
      state: "ok"; "note" for what could be better; "missing" for what is absent.
      told: What was found.
      mend: Command, or what else to do; "" where nothing is to be done.
      prevents: Whether nothing can be trained before it is mended.
    """

    name: str
    state: Literal["ok", "note", "missing"]
    told: str
    mend: str = ""
    prevents: bool = False


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a machine tells of itself; of another one in a test.

    Args:
      devices: Folder of Linux's device files.
      driver: File in which NVIDIA's driver gives its version.
      huge_pages: File with Linux's setting of transparent huge pages.
      cgroup: Folder of the limits of a container, version 2 of cgroups.
      cache: Folder of prepared data and compiled programs.
      environment: Environment variables.
      requirements: Requirements of deeplab, as its installed metadata list them.
    """

    devices: Path = Path("/dev")
    driver: Path = DRIVER
    huge_pages: Path = HUGE_PAGES
    cgroup: Path = Path("/sys/fs/cgroup")
    cache: Path = dataclasses.field(default_factory=cache_dir)
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(os.environ))
    requirements: tuple[str, ...] = dataclasses.field(default_factory=_requirements)


def system_checks(machine: Machine) -> Iterator[Check]:
    """Looks at what is no package and no device."""
    for part in (_large_pages, _cache, _processor, _memory, _locale):
        yield from part(machine)


def _large_pages(machine: Machine) -> Iterator[Check]:
    hint = huge_page_hint(_LARGE, machine.huge_pages)
    if hint is not None:
        setting = hint.split()[0]
        yield Check(
            "large pages", "note", "large steps on the CPU take up to a third less time with them", f"export {setting}"
        )
    else:
        yield Check("large pages", "ok", "nothing to set")


def _cache(machine: Machine) -> Iterator[Check]:
    """Prepared data and compiled programs: where they are, how large, and whether more can be written."""
    folder = machine.cache
    above = next(path for path in (folder, *folder.parents) if path.exists())
    elsewhere = "export DEEPLAB_CACHE=FOLDER, a folder that can be written"
    if not (above.is_dir() and os.access(above, os.W_OK)):
        yield Check("cache", "missing", f"{folder} cannot be written", elsewhere, prevents=True)
        return
    compiled, whole = _size(folder / "compiled"), _size(folder)
    told = f"{folder}, {_bytes(whole - compiled)} of data and {_bytes(compiled)} of compiled programs"
    yield Check("cache", "ok", told)
    free = shutil.disk_usage(above).free
    scarce = free < _LEAST_DISK
    yield Check(
        "disk", "note" if scarce else "ok", f"{_bytes(free)} free beside the cache", elsewhere if scarce else ""
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _bytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _processor(machine: Machine) -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _words(machine.cgroup / "cpu.max")
    limited = int(quota[0]) / int(quota[1]) if len(quota) == 2 and quota[0].isdigit() else usable
    told = f"{usable} cores" + (f", of which the container may use {limited:g}" if limited < usable else "")
    yield Check("processor", "ok", told)


def _memory(machine: Machine) -> Iterator[Check]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _words(machine.cgroup / "memory.max")
    limited = int(limit[0]) if limit and limit[0].isdigit() else total
    told = _bytes(total) + (f", of which the container may use {_bytes(limited)}" if limited < total else "")
    scarce = min(total, limited) < _LEAST_MEMORY
    yield Check("memory", "note" if scarce else "ok", told, "give the container more memory" if scarce else "")


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _locale(machine: Machine) -> Iterator[Check]:
    encoding = locale.getpreferredencoding(False)
    known = encoding.lower().replace("-", "") == "utf8"
    yield Check(
        "locale", "ok" if known else "note", f"{encoding} in files and paths", "" if known else "export PYTHONUTF8=1"
    )
