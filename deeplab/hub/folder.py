"""Folders in the Hugging Face layout: where they are, and what their files say before a tensor is read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from deeplab.core.errors import UserError
from deeplab.hub.files import Header, read_headers


def digest(folder: Path) -> str:
    """SHA-256 of the names, sizes and headers of a folder's tensors, and of its config.

    The values are not read: that would take as long as the loading.
    """
    found = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        headers, _ = read_headers(file)
        found.update(repr([(name, str(header), header.offset) for name, header in headers.items()]).encode())
    return found.hexdigest()


def find(source: str | Path) -> Path:
    """The folder of a source; that of a name is downloaded where `huggingface_hub` is installed.

    Raises:
      UserError: There is no such folder, and the source is no name that could be downloaded.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise UserError(f"{source} is not a folder; give one with config.json and *.safetensors, or organization/name")
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(f"{source} is not a folder here; to download it, pip install huggingface_hub") from error
    patterns = ["*.json", "*.safetensors", "*.jinja"]
    return Path(huggingface_hub.snapshot_download(str(source), allow_patterns=patterns))


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json says.

    Raises:
      UserError: It is missing, or no table in JSON.
    """
    file = folder / "config.json"
    if not file.exists():
        raise UserError(f"{folder} has no config.json; give a folder as `save_pretrained` writes it")
    return _table(file)


def _table(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"), object_hook=_special)
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise UserError(f"{file} holds a {type(said).__name__}, expected a table of names and values")
    return said


def _special(said: dict[str, Any]) -> Any:
    """A number that JSON has none for, as transformers writes it: {"__float__": "Infinity"}."""
    return float(said["__float__"]) if set(said) == {"__float__"} else said


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder; None where it has none."""
    file = folder / "tokenizer.json"
    if not file.exists():
        return None
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(file))


@dataclasses.dataclass(frozen=True)
class TokenizerFile:
    """The tokenizer of a folder or a name, opened by a call, as the argument of `dl.data.tokenized`.

    Args:
      source: As in `load`.

    Example:
      >>> TokenizerFile("org/name").source
      'org/name'
    """

    source: str | Path

    def __call__(self) -> Any:
        """The `tokenizers.Tokenizer`.

        Raises:
          UserError: There is no such folder, or it has no tokenizer.json.
        """
        folder = find(self.source)
        if (found := read_tokenizer(folder)) is None:
            raise UserError(
                f"{folder} has no tokenizer.json; AutoTokenizer.from_pretrained(...).save_pretrained writes it"
            )
        return found


def folder_headers(folder: Path) -> tuple[dict[str, Header], list[str]]:
    """The headers of all tensors of a folder, and what is wrong with its files.

    Raises:
      UserError: There are no safetensors files, or their index is no table of them.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.exists():
        where = _table(index).get("weight_map")
        if not isinstance(where, dict) or not all(isinstance(name, str) for name in where.values()):
            raise UserError(f"{index} has no weight_map from tensors to files; download it again")
        files = [folder / Path(name).name for name in sorted(set(where.values()))]
        if single.exists() and single not in files:
            raise UserError(
                f"{folder} holds {single.name} and {index.name}, which names other files; transformers reads the "
                "former; remove the one that is not meant"
            )
    elif single.exists():  # whatever lies beside it, such as the same model in another layout or dtype
        where, files = {}, [single]
    else:
        where, files = {}, sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern)]
        hint = (
            f"{pickles[0]} is a pickle, which runs code when it is read. Convert it where you trust it: "
            f"AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True)"
            if pickles
            else "download them beside config.json"
        )
        raise UserError(f"{folder} has no *.safetensors files; {hint}")
    wrong = [f"{file.name}: the file is missing, the index names it" for file in files if not file.exists()]
    headers: dict[str, Header] = {}
    for file in files:
        if file.exists():
            found, faults = read_headers(file)
            wrong += faults
            wrong += [f"{name}: in {headers[name].file.name} and in {file.name}" for name in found if name in headers]
            headers |= found
    return headers, wrong + [f"{name}: not in {file}" for name, file in where.items() if name not in headers]
