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
from deeplab.models.foreign import Names
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


def load(source: str | Path, *, mesh: Mesh | None = None, dtype: Any = None) -> Loaded:
    """A model with its parameters, from a folder in the Hugging Face layout or a name there.

    The host holds at most the parameters of its own devices and twice the largest tensor.

    Args:
      source: Folder with config.json and safetensors files; or "organization/name", which needs `huggingface_hub`.
      mesh: Mesh whose devices hold the parameters, by the model's rules; the default device when None.
      dtype: Dtype of the parameters; that of the files when None.

    Raises:
      UserError: The folder is not complete, its model is not supported, or tensors do not fit it; the message lists all
        of them.
    """
    folder = find(source)
    config = read_config(folder)
    family = family_of(config)
    model, names = family.model(config), family.names(config)
    shapes = parameter_shapes(model)
    headers, wrong = folder_headers(folder)
    plan = _plan(folder, names, shapes, headers, wrong)
    shapes = _typed(shapes, plan, dtype)
    if mesh is not None:
        homes = state_shardings(shapes, getattr(model, "rules", ()), mesh)
        shapes = jax.tree.map(lambda x, home: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=home), shapes, homes)
    return Loaded(model, _filled(shapes, plan), config, read_tokenizer(folder))


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
        return _filled(tree, _plan(folder, family_of(config).names(config), tree, headers, wrong, skip))

    folder = Path(source)
    return Weights(str(source), read, path, tuple(skip), digest(folder) if folder.is_dir() else "")


def parameter_shapes(model: nn.Module) -> Any:
    """The shapes of a decoder's parameters, without computing anything."""
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]


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
) -> list[_Step]:
    """What to read, once everything is known to fit."""
    wanted, unfilled = tensors(names, flat(shapes))
    found = matched(names, wanted, headers)

    def skipped(path: str) -> bool:
        return any(re.search(pattern, path) for pattern in skip)

    left = {name for name, tensor in wanted.items() if all(skipped(path) for path, _ in tensor.parts)}
    headers = {name: header for name, header in headers.items() if name not in {found.get(other) for other in left}}
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
        return jax.ShapeDtypeStruct(leaf.shape, dtype or stored[name])

    return jax.tree_util.tree_map_with_path(typed, shapes)


def _filled(shapes: Any, plan: Sequence[_Step]) -> Any:
    """The parameters: arrays that are made on their devices, into which each tensor is put; others stay as they are."""
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
    return jax.tree.unflatten(jax.tree.structure(shapes), [arrays.get(path, leaf) for path, leaf in leaves.items()])


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
