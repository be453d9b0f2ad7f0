"""`deeplab data`: the sets, what is prepared, what a set holds, and what the cache takes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from deeplab.core.errors import UserError
from deeplab.data import sets
from deeplab.data.prepare import cache, kept, originals
from deeplab.data.prepare.kept import Kept
from deeplab.data.sets import recognize
from deeplab.data.sets.base import ExampleSet, TextSet

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def add(verbs: Any) -> None:
    """Adds the verb `data` with its own verbs to a parser.

    Args:
      verbs: What `ArgumentParser.add_subparsers` returns.
    """
    parser = verbs.add_parser("data", help="list the data sets; prepare, show or clean them")
    inner = parser.add_subparsers(dest="action")
    prepare = inner.add_parser("prepare", help="download and decode a set, so that a run begins at once")
    prepare.add_argument("name", help="name of a set; deeplab data lists them")
    show = inner.add_parser("show", help="what a set, or a folder or table of your own, holds, and what may be wrong")
    show.add_argument("name", help="name of a set, or path of a folder, an archive, a table or a text")
    for one in (prepare, show):
        one.add_argument("--data-dir", type=Path, help="folder with the original files; downloaded without it")
    clean = inner.add_parser("clean", help="delete prepared copies, which are made again when they are needed")
    clean.add_argument("name", nargs="?", help="name of a set; without it, --all")
    clean.add_argument("--all", action="store_true", help="of all sets, and unpacked archives")
    clean.add_argument("--downloads", action="store_true", help="delete downloads, too")
    clean.add_argument("--yes", action="store_true", help="do not ask")


def run(flags: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Runs one of the verbs of `deeplab data`.

    Returns:
      sets, prepared, summary, or deleted (bytes), by the verb.

    Raises:
      UserError: There is no such set or path, its files are missing, or nobody is there to be asked.
    """
    if flags.action == "prepare":
        return _prepare(flags.name, flags.data_dir, console)
    if flags.action == "show":
        known = flags.name in sets.SETS and not Path(flags.name).exists()
        found = sets.named(flags.name).summary(flags.data_dir) if known else _shown(flags.name)
        console.print(found)
        return {"summary": found}
    if flags.action == "clean":
        return _clean(flags, console)
    return _list(console)


def _shown(name: str) -> Any:
    path = Path(name).expanduser()
    if not path.exists():
        sets.named(name)  # raises with the nearest name
    return recognize.summary(path)


def _list(console: Console) -> dict[str, Any]:
    """Prints the sets, and what the cache keeps of them and of the user's own."""
    found = kept.kept()
    table = Table(Column("set", no_wrap=True), "field", "size", "prepared", "downloads", box=None)
    table.add_column("reference", overflow="fold")
    for name, one in sets.SETS.items():
        unit = " bytes" * isinstance(one, TextSet)
        sizes = " + ".join(f"{size:,}" for size in one.splits.values()) + unit
        taken = [_told(_of(found, name, kind)) for kind in ("prepared", "download")]
        table.add_row(name, type(one).__module__.split(".")[3], sizes, *taken, address(one.citation))
    console.print(table)
    own = sorted({k.name for k in found if k.name not in sets.SETS})
    if own:
        console.print("\nin the cache, of your own files and of sets that take arguments:")
        for name in own:
            console.print(f"  {name}: {size(sum(k.nbytes for k in found if k.name == name))}", soft_wrap=True)
    console.print(f"\n{cache.cache_dir()}: {size(sum(k.nbytes for k in found))}", soft_wrap=True)
    return {"sets": [*sets.SETS], "bytes": sum(k.nbytes for k in found)}


def _prepare(name: str, data_dir: Path | None, console: Console) -> dict[str, Any]:
    one = sets.named(name)
    content = originals.contents(one.name, one.files, data_dir)
    for split, count in one.splits.items():
        _ = one.open(split, data_dir) if isinstance(one, ExampleSet) else one.read(split, content)
        console.print(f"{name}: {split} {count:,} {'examples' if isinstance(one, ExampleSet) else 'bytes'}")
    return {"prepared": name, "bytes": sum(k.nbytes for k in kept.kept() if k.name == one.name)}


def _clean(flags: argparse.Namespace, console: Console) -> dict[str, Any]:
    if (flags.name is None) != flags.all:
        raise UserError(
            "clean was given " + ("a name and --all" if flags.all else "neither a name nor --all") + "; give one"
        )
    found = kept.kept()
    chosen = [
        one for one in found if (flags.all or one.name == flags.name) and (one.kind != "download" or flags.downloads)
    ]
    if flags.name is not None and not any(one.name == flags.name for one in found):
        names = ", ".join(sorted({one.name for one in found})) or "nothing"
        raise UserError(f"{cache.cache_dir()} keeps nothing of {flags.name!r}, only {names}")
    for one in chosen:
        console.print(f"{one.kind} {one.path}: {size(one.nbytes)}", soft_wrap=True)
    total = sum(one.nbytes for one in chosen)
    if chosen and not flags.yes:
        try:
            answer = console.input(f"delete {size(total)}? [y/N] ", markup=False)
        except EOFError as error:
            raise UserError("nobody answers whether to delete them; give --yes") from error
        if answer.strip().lower() not in ("y", "yes"):
            chosen = []
    deleted = kept.remove(chosen)
    console.print(f"deleted {size(deleted)}")
    return {"deleted": deleted}


def _of(found: Sequence[Kept], name: str, kind: str) -> list[Kept]:
    return [one for one in found if one.name == name and one.kind == kind]


def _told(some: Sequence[Kept]) -> str:
    return size(sum(one.nbytes for one in some)) if some else ""


def size(nbytes: int) -> str:
    """A number of bytes in a unit that people read.

    Example:
      >>> size(0), size(1500), size(47_040_000)
      ('0 bytes', '1.5 kB', '47 MB')
    """
    value, power = float(nbytes), 0
    while value >= 1000 and power < len(_UNITS) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {_UNITS[power]}"


def address(citation: str) -> str:
    """The first address in a citation; the citation itself where there is none.

    Example:
      >>> address("LeCun 1998. http://yann.lecun.com/exdb/mnist. GPL")
      'http://yann.lecun.com/exdb/mnist'
    """
    match = re.search(r"https?://\S+", citation)
    return match.group(0).rstrip(".,;)") if match else citation
