"""Tables in the layout of the Hugging Face hub: Parquet files in a folder, or a name on the hub."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplab.core.errors import UserError, nearest
from deeplab.data.prepare.folders import SPLITS

Kind = Literal["image", "class", "integer", "number", "truth", "text", "other"]

_SHARD = re.compile(r"^(?P<split>\w[\w.]*?)(-\d+-of-\d+(-\w+)?)?$")  # train-00000-of-00002-0a1b2c3d
_NUMBER = re.compile(r"^\d+$")  # train/0000.parquet, as the hub converts sets
_ROWS = 256  # read at once


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      kind: What its cells are.
      told: Its type, for messages.
      names: Names of the classes.

    Example:
      >>> Column("class", "ClassLabel", ("ill", "well")).names.index("well")
      1
    """

    kind: Kind
    told: str
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class HubTable:
    """A table with splits.

    Attributes:
      where: Its folder or name, for messages.
      columns: Columns by name.
      sizes: Number of rows of each split.
      identity: What changes when the content does.
      citation: Reference, where one is known.
      batches: Function from a split and names of columns to batches of rows of `pyarrow`.

    Example:
      >>> import tempfile
      >>> import pyarrow, pyarrow.parquet
      >>> folder = Path(tempfile.mkdtemp())
      >>> pyarrow.parquet.write_table(pyarrow.table({"age": [31.0, 45.0]}), folder / "train-00000-of-00001.parquet")
      >>> table = open_table(folder)
      >>> [{name: cells.tolist() for name, cells in rows.items()} for rows in table.read("train", ["age"])]
      [{'age': [31.0, 45.0]}]
    """

    where: str
    columns: Mapping[str, Column]
    sizes: Mapping[str, int]
    identity: str
    citation: str
    batches: Callable[[str, Sequence[str]], Iterator[Any]]

    def column(self, name: str) -> Column:
        """The column of a name; UserError names the nearest otherwise."""
        if name not in self.columns:
            raise UserError(f"{self.where} has no column {name!r}; {nearest(name, self.columns)}")
        return self.columns[name]

    def read(self, split: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows of a split, a few hundred at a time: arrays of numbers, and lists of other cells.

        Raises:
          UserError: a cell is missing; the message names the row.
        """
        start = 0
        for batch in self.batches(split, names):
            found = {name: batch.column(name) for name in names}
            for name, cells in found.items():
                if cells.null_count:
                    row = start + cells.is_null().to_pylist().index(True)
                    raise UserError(
                        f"{self.where}, split {split!r}, row {row}, column {name!r}: missing; remove such rows"
                    )
            start += len(next(iter(found.values())))
            yield {
                name: cells.to_pylist()
                if self.columns[name].kind in ("image", "text", "other")
                else np.asarray(cells.to_numpy(zero_copy_only=False))
                for name, cells in found.items()
            }


def open_table(given: str | Path, config: str = "", revision: str = "") -> HubTable:
    """A folder of Parquet files, or, where there is no such folder, a set of that name on the hub.

    Args:
      given: Path or name.
      config: Name of the subset; needed where there are several.
      revision: Commit, tag or branch on the hub.

    Raises:
      UserError: there is neither, the package `datasets` is missing, or the subset is not clear.

    Example:
      >>> import tempfile
      >>> import pyarrow, pyarrow.parquet
      >>> folder = Path(tempfile.mkdtemp())
      >>> pyarrow.parquet.write_table(pyarrow.table({"age": [31.0, 45.0]}), folder / "train-00000-of-00001.parquet")
      >>> table = open_table(folder)
      >>> table.sizes, table.column("age")
      ({'train': 2}, Column(kind='number', told='double', names=()))
    """
    root = Path(given).expanduser()
    if not root.is_dir():
        return _of_hub(str(given), config, revision)
    files = [path for path in sorted(root.rglob("*.parquet")) if not path.relative_to(root).as_posix().startswith(".")]
    stats = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _of_folder(root, config, stats)


@functools.lru_cache(maxsize=8)
def _of_folder(root: Path, config: str, stats: tuple[tuple[str, int, int], ...]) -> HubTable:
    """Kept while the files do not change: a function of hyper-parameters is called often."""
    import pyarrow.parquet as pq

    found: dict[str, dict[str, list[Path]]] = {}
    for name, _, _ in stats:
        subset, split = _place(Path(name).relative_to(root))
        found.setdefault(subset, {}).setdefault(split, []).append(Path(name))
    if not found:
        raise UserError(f"{root} holds no Parquet files; expected {root}/data/train-00000-of-00001.parquet, ...")
    if config and config not in found:
        raise UserError(f"{root} has no subset {config!r}; {nearest(config, found)}")
    if not config and len(found) > 1 and "" not in found:
        raise UserError(f"{root} holds the subsets {', '.join(sorted(found))}; give config=, the name of one")
    splits = found[config or ("" if "" in found else next(iter(found)))]
    try:
        opened = {split: [pq.ParquetFile(path) for path in paths] for split, paths in splits.items()}
    except (OSError, ValueError) as error:
        raise UserError(f"{root} cannot be read as Parquet ({error}); download it again") from error

    def batches(split: str, names: Sequence[str]) -> Iterator[Any]:
        for path in splits[split]:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=_ROWS, columns=[*names])

    sizes = {split: sum(file.metadata.num_rows for file in files) for split, files in opened.items()}
    schema = next(iter(opened.values()))[0].schema_arrow
    for files in opened.values():
        for file in files:
            file.close()
    return HubTable(str(root), _columns(schema), sizes, repr(stats), "", batches)


def _place(path: Path) -> tuple[str, str]:
    """The subset and the split of a file, by its path in the folder.

    Example:
      >>> [_place(Path(name)) for name in ("data/train-00000-of-00002.parquet", "en/val/0000.parquet", "test.parquet")]
      [('', 'train'), ('en', 'validation'), ('', 'test')]
    """
    folders = [folder for folder in path.parts[:-1] if folder != "data"]
    if _NUMBER.match(path.stem) and folders:
        split = folders.pop()
    else:
        match = _SHARD.match(path.stem)
        split = match["split"] if match else path.stem
    return "/".join(folders), SPLITS.get(split.lower(), split)


@functools.lru_cache(maxsize=8)
def _of_hub(name: str, config: str, revision: str) -> HubTable:
    try:
        import datasets  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError as error:
        raise UserError(
            f"there is no folder {name}, and sets of the Hugging Face hub are read by the package datasets: "
            'pip install "deeplab[huggingface]", or give a folder of its Parquet files'
        ) from error
    try:
        found = datasets.load_dataset(name, config or None, revision=revision or None)
    except Exception as error:  # of the network, of the hub, and of the set: each raises its own
        raise UserError(f"{name} cannot be loaded from the Hugging Face hub ({error})") from error
    splits = {SPLITS.get(str(split).lower(), str(split)): part for split, part in found.items()}
    first = next(iter(splits.values()))

    def batches(split: str, names: Sequence[str]) -> Iterator[Any]:
        for table in splits[split].select_columns([*names]).with_format("arrow").iter(batch_size=_ROWS):
            yield table.combine_chunks()

    files = sorted(file["filename"] for part in splits.values() for file in part.cache_files)
    identity = repr((name, config, [(file, Path(file).stat().st_size) for file in files]))
    sizes = {split: len(part) for split, part in splits.items()}
    return HubTable(name, _columns(first.features.arrow_schema), sizes, identity, first.info.citation or "", batches)


def _columns(schema: Any) -> dict[str, Column]:
    """The columns of a schema of pyarrow, by the types that the hub writes beside it, where it does."""
    told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features") or {}
    return {field.name: _column(field.type, told.get(field.name)) for field in schema}


def _column(kind: Any, told: Any) -> Column:
    import pyarrow.types as types

    feature = told.get("_type", "") if isinstance(told, Mapping) else "Sequence" if told else ""
    encoded = types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}
    if feature == "Image" or (encoded and not feature):
        return Column("image", "Image")
    if feature == "ClassLabel":
        return Column("class", "ClassLabel", tuple(map(str, told.get("names") or ())))
    if feature in ("", "Value"):
        tests: Sequence[tuple[Kind, bool]] = (
            ("truth", types.is_boolean(kind)),
            ("integer", types.is_integer(kind)),
            ("number", types.is_floating(kind)),
            ("text", types.is_string(kind) or types.is_large_string(kind)),
        )
        for name, is_one in tests:
            if is_one:
                return Column(name, str(kind))
    return Column("other", feature or str(kind))
