"""How a command line reaches an experiment from the current folder: by a module, by a script, or not at all."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """The beginning of a command line.

    Attributes:
      words: Words after that of Python: ("-m", MODULE), or (SCRIPT,).
      root: Folder that `PYTHONPATH` must hold, so that Python finds the module; None where it finds it by itself.
    """

    words: tuple[str, ...]
    root: Path | None = None

    def command(self, words: Sequence[str]) -> str:
        """The command line with further words, quoted for a shell."""
        line = shlex.join([_python(), *self.words, *words])
        return f"PYTHONPATH={shlex.quote(self.environment()['PYTHONPATH'])} {line}" if self.root else line

    def environment(self) -> dict[str, str]:
        """The environment of this process, with the folder in `PYTHONPATH`."""
        paths = [str(self.root or ""), os.environ.get("PYTHONPATH", "")]
        added = {"PYTHONPATH": os.pathsep.join(filter(None, paths))} if self.root else {}
        return dict(os.environ) | added


def of_main() -> Entry | None:
    """How this process was started; None of a notebook, and of any other that runs no file."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return Entry(("-m", spec.name.removesuffix(".__main__")))
    return None if file is None else _of_script(Path(file))


def of_module(name: str) -> Entry | None:
    """How to start a module; None of one whose file is no program, or of any module in a notebook.

    Args:
      name: Name of the module, such as "experiments.image_digits".
    """
    if hasattr(sys, "ps1"):  # a notebook or a Python prompt
        return None
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return Entry(("-m", name))
    path, parts = Path(file).resolve(), name.split(".")
    if "__main__" not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    if path.with_suffix("").parts[-len(parts) :] != tuple(parts):  # a file that was loaded under another name
        return _of_script(path)
    root = path.parents[len(parts) - 1]
    return Entry(("-m", name), None if root in _searched() else root)


def _of_script(path: Path) -> Entry:
    path, here = path.resolve(), Path.cwd()
    text = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    return Entry((f"./{text}" if text.startswith("-") else text,))


def _searched() -> set[Path]:
    """Folders in which `python -m` looks for modules, when it is called here."""
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    installed = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    return {Path(path).resolve() for path in (Path.cwd(), *given, *installed)}


def _python() -> str:
    """The word that calls this very Python: its name, where the shell finds it under that name."""
    name = Path(sys.executable).name
    found = shutil.which(name)
    same = found and os.path.samefile(found, sys.executable) and _prefix(found) == Path(sys.prefix).resolve()
    return name if same else sys.executable


def _prefix(path: str) -> Path:
    """The prefix of the Python at a path: that of its virtual environment, where it has one."""
    folder = Path(path).absolute().parent.parent
    return (folder if (folder / "pyvenv.cfg").exists() else Path(sys.base_prefix)).resolve()
