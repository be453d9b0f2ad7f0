"""Reading a folder: everything that is wrong with it in one error, then one tensor at a time into the shards."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from deeplab.core.errors import UserError
from deeplab.experiment import Weights
from deeplab.hub.families import family_of
from deeplab.hub.files import DTYPES, Header, read_tensor
from deeplab.hub.folder import digest, find, folder_headers, read_config, read_tokenizer
from deeplab.hub.mapping import Tensor, differences, flat, matched, tensors
from deeplab.models import configs
from deeplab.models.foreign import Family, Names
from deeplab.scale.rules import state_shardings


class Loaded(NamedTuple):
    """A model from a folder.

    Attributes:
      model: Module.
      params: Its parameters; `model.apply({"params": params}, tokens)`.
      config: What config.json says.
      tokenizer: `tokenizers.Tokenizer` of tokenizer.json; None where there is none.
    """

    model: nn.Module
    params: Any
    config: dict[str, Any]
    tokenizer: Any


def load(
    source: str | Path,
    *,
    num_classes: int | None = None,
    skip: Sequence[str] = (),
    mesh: Mesh | None = None,
    dtype: Any = None,
    seed: int = 0,
) -> Loaded:
    """A model with its parameters, from a folder in the Hugging Face layout or a name there.

    The host holds at most the parameters of its own devices and twice the largest tensor.

    Args:
      source: Folder with config.json and safetensors files; or "organization/name", which needs `huggingface_hub`.
      num_classes: Number of classes of a new head, whatever head the folder has.
      skip: Regular expressions of our parameter paths that start anew.
      mesh: Mesh whose devices hold the parameters, by the model's rules; the default device when None.
      dtype: Dtype of the parameters; that of the files when None.
      seed: Seed of the parameters that start anew.

    Raises:
      UserError: The folder is not complete, its model is not supported, or tensors do not fit it; the message lists all
        of them.
    """
    folder = find(source)
    config = read_config(folder)
    family = family_of(config)
    if num_classes is not None:
        config, skip = headed(family, config, num_classes), (*skip, "^head/classes/")
    new_head = num_classes is not None
    model, names, inputs = family.model(config), family.names(config), family.inputs(config)
    shapes = parameter_shapes(model, inputs)
    headers, wrong = folder_headers(folder)
    plan = _plan(folder, names, shapes, headers, wrong, skip, new_head=new_head)
    shapes = _typed(shapes, plan, dtype)
    if mesh is not None:
        homes = state_shardings(shapes, getattr(model, "rules", ()), mesh)
        shapes = jax.tree.map(lambda x, home: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=home), shapes, homes)
    fresh = _fresh(model, inputs, shapes, plan, seed)
    return Loaded(model, _filled(shapes, plan, fresh), config, read_tokenizer(folder))


def headed(family: Family, config: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """The config of the same model with a head of so many classes.

    Raises:
      UserError: The family has no such head.
    """
    if not family.classifier:
        raise UserError(
            f"num_classes is {num_classes}, but a {config['model_type']} has no head of classes; leave it out"
        )
    return configs.with_head(config, family.classifier, num_classes)


def weights(source: str | Path, *, path: str = "params", skip: Sequence[str] = ()) -> Weights:
    """The parameters of a folder as the first ones of an experiment: `dl.Experiment(..., weights=dl.hub.weights(DIR))`.

    Args:
      source: As in `load`.
      path: Part of the state that has the parameters of the folder's model.
      skip: Regular expressions of our parameter paths that keep their initial values, such as a head of another size.

    Example:
      >>> weights("org/name", skip=["head/"]).path
      'params'
    """

    def read(tree: Any) -> Any:
        folder = find(source)
        config = read_config(folder)
        headers, wrong = folder_headers(folder)
        return _filled(tree, _plan(folder, family_of(config).names(config), tree, headers, wrong, skip), flat(tree))

    folder = Path(source)
    return Weights(str(source), read, path, tuple(skip), digest(folder) if folder.is_dir() else "")


def parameter_shapes(model: nn.Module, inputs: Sequence[jax.ShapeDtypeStruct]) -> Any:
    """The shapes of a model's parameters, without computing anything."""
    return jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]


class _Step(NamedTuple):
    """One tensor to read, and where it goes."""

    tensor: Tensor
    header: Header


def _plan(
    folder: Path,
    names: Names,
    shapes: Any,
    headers: Mapping[str, Header],
    wrong: Sequence[str],
    skip: Sequence[str] = (),
    new_head: bool = False,
) -> list[_Step]:
    """What to read, once everything is known to fit."""
    wanted, unfilled = tensors(names, flat(shapes))
    found = matched(names, wanted, headers)

    def skipped(path: str) -> bool:
        return any(re.search(pattern, path) for pattern in skip)

    def of_head(tensor: Tensor) -> bool:
        return all(path.startswith("head/") for path, _ in tensor.parts)

    left = {name for name, tensor in wanted.items() if all(skipped(path) for path, _ in tensor.parts)}
    if new_head:  # what a folder has of it is read
        left |= {name for name, tensor in wanted.items() if of_head(tensor) and name not in found}
    unread = {found[name] for name in left if name in found}
    if any(of_head(wanted[name]) for name in left):  # so the folder has another one
        used = {found[name] for name in wanted if name in found and name not in left}
        unread |= {name for name in headers if any(re.search(p, name) for p in names.heads)} - used
    headers = {name: header for name, header in headers.items() if name not in unread}
    wanted = {name: tensor for name, tensor in wanted.items() if name not in left}
    wrong = [*wrong, *(f"{path}: no rule fills it" for path in unfilled if not skipped(path))]
    wrong += differences(names, wanted, headers, found)
    if not wrong:
        wrong = _untied(names, headers)
    if wrong:
        raise UserError(f"{folder} does not fit its model:\n  " + "\n  ".join(wrong))
    return [_Step(tensor, headers[found[name]]) for name, tensor in wanted.items()]


def _untied(names: Names, headers: Mapping[str, Header]) -> list[str]:
    """Tensors that are one by the config, and two that differ in the file."""
    pairs = [pair for pair in names.ties if all(name in headers for name in pair)]
    return [
        f"tied: {a} {headers[a]} and {b} {headers[b]} differ; the config says that they are one (tie_word_embeddings)"
        for a, b in pairs
        if not np.array_equal(read_tensor(headers[a]), read_tensor(headers[b]))
    ]


def _typed(shapes: Any, plan: Sequence[_Step], dtype: Any) -> Any:
    """The shapes with the dtype asked for, or else that of the files."""
    stored = {part.path: DTYPES[step.header.dtype] for step in plan for part in step.tensor.parts}

    def typed(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jax.ShapeDtypeStruct(leaf.shape, dtype or stored.get(name, leaf.dtype))

    return jax.tree_util.tree_map_with_path(typed, shapes)


def _fresh(model: nn.Module, inputs: Any, shapes: Any, plan: Sequence[_Step], seed: int) -> dict[str, Any]:
    """The parameters that start anew, by their paths, where they belong; the others are not computed."""
    read = {part.path for step in plan for part in step.tensor.parts}
    wanted = {path: leaf for path, leaf in flat(shapes).items() if path not in read}
    if not wanted:
        return {}
    zeros = [jnp.zeros(x.shape, x.dtype) for x in inputs]

    def made(key: jax.Array) -> dict[str, Any]:
        every = flat(model.init(key, *zeros)["params"])
        return {path: every[path].astype(leaf.dtype) for path, leaf in wanted.items()}

    homes = {path: leaf.sharding for path, leaf in wanted.items()}
    return jax.jit(made, out_shardings=homes if any(homes.values()) else None)(jax.random.key(seed))


def _filled(shapes: Any, plan: Sequence[_Step], others: Mapping[str, Any]) -> Any:
    """The parameters: arrays that are made on their devices, into which each tensor is put, and the others."""
    leaves = flat(shapes)
    arrays: dict[str, jax.Array] = {}
    for tensor, header in plan:
        theirs = read_tensor(header)
        for number, (path, index) in enumerate(tensor.parts):
            leaf = leaves[path]
            ours = tensor.axes.ours(theirs, number).astype(leaf.dtype)
            if index and path not in arrays:
                arrays[path] = _zeros(leaf.shape, leaf.dtype, leaf.sharding)
            arrays[path] = _put(arrays[path], ours, index) if index else jax.device_put(ours, leaf.sharding)
    return jax.tree.unflatten(jax.tree.structure(shapes), [arrays[p] if p in arrays else others[p] for p in leaves])


def _zeros(shape: tuple[int, ...], dtype: Any, home: Any) -> jax.Array:
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=home)()


def _put(array: jax.Array, part: np.ndarray, index: tuple[int, ...]) -> jax.Array:
    """`array[index] = part`, in its own memory."""
    return _writer(array.sharding, part.ndim)(array, part, tuple(np.int32(i) for i in index))


@functools.cache
def _writer(home: Any, rank: int) -> Any:
    def write(array: jax.Array, part: jax.Array, index: tuple[jax.Array, ...]) -> jax.Array:
        start = (*index, *[jnp.int32(0)] * rank)
        return jax.lax.dynamic_update_slice(array, part.reshape(*[1] * len(index), *part.shape), start)

    return jax.jit(write, donate_argnums=0, out_shardings=home)
