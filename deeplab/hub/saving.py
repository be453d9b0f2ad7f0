"""Writing a folder that transformers or timm reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from deeplab.core.errors import UserError
from deeplab.hub.families import described, family_of, kind_of, variable_shapes
from deeplab.hub.files import CODES, DTYPES, Header, write_file
from deeplab.hub.mapping import Tensor, tensors
from deeplab.hub.mapping import leaves as every_leaf
from deeplab.models.foreign import COUNTS
from deeplab.tuning.lora import ADAPTERS

BESIDE = (
    "tokenizer*",
    "special_tokens_map.json",
    "vocab*",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
"""Files that say nothing of the model's weights."""


def save(
    folder: str | Path,
    params: Any,
    config: Mapping[str, Any],
    *,
    variables: Mapping[str, Any] = MappingProxyType({}),
    like: str | Path | None = None,
    shard_bytes: int = 5 * 10**9,
) -> None:
    """Writes config.json and the parameters in the layout of Hugging Face or timm, one tensor at a time.

    Args:
      folder: Folder to write; it is made, and files of these names in it are replaced.
      params: Parameters of the model that the config describes.
      config: Content of config.json, such as `Loaded.config`.
      variables: Other collections, where the model has statistics; `Loaded.variables`, or those of a state.
      like: Folder from which the tokenizer's files are copied.
      shard_bytes: Size of the largest file; more files get an index.

    Raises:
      UserError: The parameters are not those of the config's model, or the family's rules would lose some.

    Example:
      >>> import tempfile
      >>> from deeplab import hub
      >>> config = {"model_type": "gpt2", "vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4}
      >>> model = hub.family_of(config).model(config)
      >>> params = model.init(jax.random.key(0), np.zeros((1, 4), int))["params"]
      >>> folder = Path(tempfile.mkdtemp())
      >>> save(folder, params, config)
      >>> sorted(file.name for file in folder.iterdir())
      ['config.json', 'model.safetensors']
    """
    model, names, inputs = described(family_of(config), config)
    known = {rule.collection for rule in names.rules}
    given = {name: tree for name, tree in variables.items() if name in known} | {"params": params}
    if "batch_stats" in known - set(given):
        raise UserError("the model has batch_stats; give save(..., variables=loaded.variables), or a state's variables")
    folder, leaves = Path(folder), every_leaf(given)
    shapes = variable_shapes(model, inputs)
    expected = every_leaf({name: x for name, x in shapes.items() if name in known})
    if wrong := [*_differences(leaves, expected)]:
        raise UserError(f"the parameters are not those of the config's {kind_of(config)}:\n  " + "\n  ".join(wrong))
    wanted, lost = tensors(names, leaves)
    if lost := [*lost, *every_leaf({name: x for name, x in shapes.items() if name not in known})]:
        raise UserError(
            f"the folder would lose what no rule of the {kind_of(config)} reads; add a rule for each:\n  "
            + "\n  ".join(lost)
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    headers = {name: _header(tensor, leaves) for name, tensor in wanted.items()}
    shards = _shards(headers, shard_bytes)
    where = {}
    for number, shard in enumerate(shards, start=1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / name, shard.items(), lambda name: _theirs(wanted[name], leaves))
        where |= dict.fromkeys(shard, name)
    if len(shards) > 1:
        total = sum(header.size for header in headers.values())
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    said = {key: value for key, value in config.items() if key != "torch_dtype"}
    if "architecture" not in config:
        said["dtype"] = str(max((x.dtype for x in jax.tree.leaves(params)), key=lambda dtype: dtype.itemsize))
    (folder / "config.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
    beside = [] if like is None else [file for pattern in BESIDE for file in Path(like).glob(pattern)]
    for file in beside:
        shutil.copy(file, folder)


def _differences(leaves: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    """What the config's model has otherwise than the parameters given, a sentence each."""
    for path, leaf in expected.items():
        if path not in leaves:
            yield f"missing: {path} {list(leaf.shape)}"
        elif leaves[path].shape != leaf.shape:
            yield f"shape: {path} is {list(leaves[path].shape)}, expected {list(leaf.shape)}"
    for path in leaves:
        if path not in expected and not path.startswith(f"{COUNTS}/"):
            hint = "; merge them first (Lora.merged)" if path.startswith(f"{ADAPTERS}/") else ""
            yield f"unexpected: {path} {list(leaves[path].shape)}{hint}"


def _header(tensor: Tensor, leaves: Mapping[str, Any]) -> Header:
    code = tensor.axes.rule.dtype or CODES[np.dtype(leaves[tensor.parts[0].path].dtype)]
    return Header(Path(), code, tensor.shape, 0, int(np.prod(tensor.shape)) * DTYPES[code].itemsize)


def _shards(headers: Mapping[str, Header], most: int) -> list[dict[str, Header]]:
    shards: list[dict[str, Header]] = [{}]
    size = 0
    for name, header in headers.items():
        if shards[-1] and size + header.size > most:
            shards.append({})
            size = 0
        shards[-1][name] = header
        size += header.size
    return shards


def _theirs(tensor: Tensor, leaves: Mapping[str, Any]) -> np.ndarray:
    theirs = tensor.axes.theirs([np.asarray(jax.device_get(leaves[path][index])) for path, index in tensor.parts])
    return theirs.astype(DTYPES[tensor.axes.rule.dtype]) if tensor.axes.rule.dtype else theirs
