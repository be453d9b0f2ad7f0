"""`deeplab doctor`: what is installed, which devices there are, what is missing, and the command that mends it."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Iterator
from typing import Any

import jax
from rich.console import Console

from deeplab.cli.tools.machine import Check, Machine, system_checks
from deeplab.core.backend import gpu_hint
from deeplab.core.text import dumps

_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `deeplab doctor`."""
    parser.add_argument("--json", action="store_true", help="print the checks as one line of JSON")


def run(flags: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Prints the checks of this machine.

    Args:
      flags: Flags of `add_flags`.
      console: Console of the command.

    Returns:
      checks; and exit_code 2 if something prevents training.
    """
    found = checks()
    if flags.json:
        print(dumps([check._asdict() for check in found]), flush=True)
    else:
        for check in found:
            console.print(f"{check.state:8} {check.name}: {check.told}", soft_wrap=True)
            if check.mend:
                console.print(f"{'':10}-> {check.mend}", soft_wrap=True)
    prevented = any(check.prevents for check in found)
    return {"checks": [check._asdict() for check in found], "exit_code": 2 if prevented else 0}


def checks(machine: Machine | None = None) -> list[Check]:
    """Looks at a machine, without changing it and without a network.

    Args:
      machine: Where it tells of itself; this machine when None.

    Example:
      >>> {check.name for check in checks()} >= {"python", "jax", "devices", "cache", "memory"}
      True
    """
    machine = machine or Machine()
    network = Check("network", "ok", "not tried; --data-dir FOLDER reads original files without one")
    return [*_packages(machine), *_devices(machine), *system_checks(machine), *_extras(machine), network]


def _packages(machine: Machine) -> Iterator[Check]:
    """Versions, compared with what deeplab requires; other requirements are told where they are not met."""
    yield Check("python", "ok", f"{platform.python_version()} ({sys.executable})")
    if not machine.requirements:
        yield Check("deeplab", "note", "not installed, so that versions are not compared", "pip install --editable .")
    least = dict(filter(None, (_requirement(text) for text in machine.requirements if ";" not in text)))
    for name in dict.fromkeys((*_SHOWN, *least)):
        version, need = _version(name), least.get(name, "")
        pinned = f'pip install "{name}>={need}"' if need else f"pip install {name}"
        if version is None:
            yield Check(name, "missing", "not installed", pinned, prevents=True)
        elif need and _numbers(version) < _numbers(need):
            yield Check(name, "missing", f"{version}, and deeplab needs {need} or later", pinned, prevents=True)
        elif name in _SHOWN:
            yield Check(name, "ok", version + (f" ({need} or later is needed)" if need else ""))
    jax_, jaxlib = _version("jax"), _version("jaxlib")
    if jax_ and jaxlib and jax_ != jaxlib:
        yield Check("jaxlib", "note", f"{jaxlib} beside jax {jax_}", f'pip install "jaxlib=={jax_}"')


def _requirement(text: str) -> tuple[str, str] | None:
    """Name and least version of a requirement such as "jax>=0.7.2"."""
    match = re.match(r"\s*([\w.-]+)(?:\[[^]]*\])?\s*\(?(?:>=\s*([\d.]+))?", text)
    return (match[1], match[2] or "") if match else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def _devices(machine: Machine) -> Iterator[Check]:
    """The devices of JAX, and a GPU of the machine that JAX does not see."""
    try:
        devices = jax.devices()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        yield Check("devices", "missing", f"JAX has none: {reason}", "unset JAX_PLATFORMS", prevents=True)
        return
    yield Check("devices", "ok", f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})")
    there = any(machine.devices.glob("nvidia[0-9]*"))
    plugins = [name for name in ("jax-cuda13-plugin", "jax-cuda12-plugin") if _version(name)]
    if hint := gpu_hint(machine.devices, machine.driver):
        command = re.search(r"`(.*?)`", hint)
        yield Check("gpu", "missing", hint.partition(";")[0], command[1] if command else "")
    elif there and devices[0].platform == "cpu":
        hiding = [f"{name}={machine.environment[name]}" for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")
                  if machine.environment.get(name) is not None]  # fmt: skip
        told = f"this machine has an NVIDIA GPU, which {' and '.join(hiding) or 'the environment'} hides"
        yield Check("gpu", "note", told, f"unset {' '.join(text.partition('=')[0] for text in hiding)}")
    elif not there and devices[0].platform == "cpu":
        colab = "COLAB_RELEASE_TAG" in machine.environment
        mend = "Runtime > Change runtime type > a GPU or TPU" if colab else ""
        yield Check("gpu", "note" if colab else "ok", "none on this machine", mend)
    for name in plugins:
        told = f"{name} {_version(name)}"
        same = _version(name) == _version("jaxlib")
        extra = f"cuda{name[8:10]}"
        yield Check(
            "plugin",
            "ok" if same else "note",
            told if same else f"{told} beside jaxlib {_version('jaxlib')}",
            "" if same else f'pip install "jax[{extra}]=={_version("jax")}"',
        )


def _extras(machine: Machine) -> Iterator[Check]:
    """Optional packages that are not installed, by their extra."""
    wanted: dict[str, list[str]] = {}
    for text in machine.requirements:
        extra, found = re.search(r"extra\s*==\s*['\"](\w+)['\"]", text), _requirement(text)
        if extra and found and found[0] not in ("jax", "deeplab"):
            wanted.setdefault(extra[1], []).append(found[0])
    lacking = {extra: [name for name in names if _version(name) is None] for extra, names in wanted.items()}
    if there := [extra for extra, names in lacking.items() if not names]:
        yield Check("extras", "ok", f"{', '.join(there)} installed")
    for extra, names in lacking.items():
        if names:
            yield Check(f"extra {extra}", "note", f"without {', '.join(names)}", f'pip install "deeplab[{extra}]"')
