"""Reading a folder: everything that is wrong with it in one error, then one tensor at a time into the shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.experiment import Weights
from deeplab.hub.families import described, family_of, headed, variable_shapes
from deeplab.hub.files import DTYPES
from deeplab.hub.filling import filled
from deeplab.hub.folder import digest, find, folder_headers, read_config, read_tokenizer
from deeplab.hub.mapping import counts, flat, leaves, of
from deeplab.hub.plan import Step, plan
from deeplab.hub.preprocess import Preprocess, PreprocessPatches, read_preprocess
from deeplab.hub.sounds import Spectrograms, Waveforms
from deeplab.models import configs
from deeplab.models.foreign import COUNTS
from deeplab.models.text.decoder import Decoder
from deeplab.optim.paths import check_found, several
from deeplab.scale.rules import state_shardings


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model from a folder; `model, params, config, tokenizer = loaded` gives its first parts.

    Attributes:
      model: Module.
      variables: Its parameters and other collections; `model.apply(variables, inputs)`.
      config: What config.json says.
      tokenizer: `tokenizers.Tokenizer` of tokenizer.json; None where there is none.
      preprocess: Function from images or sounds to what the model reads; None where the folder says nothing of it.

    Example:
      >>> loaded = Loaded(nn.Dense(2), {"params": {"kernel": 1}}, {"model_type": "gpt2"}, None, None)
      >>> model, params, config, tokenizer = loaded
      >>> params
      {'kernel': 1}
    """

    model: nn.Module
    variables: dict[str, Any] = dataclasses.field(repr=False)  # millions of numbers
    config: dict[str, Any]
    tokenizer: Any = dataclasses.field(repr=False)
    preprocess: Preprocess | PreprocessPatches | Spectrograms | Waveforms | None

    @property
    def params(self) -> Any:
        """The parameters; `model.apply({"params": params}, tokens)` where there is nothing else."""
        return self.variables["params"]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.params, self.config, self.tokenizer))


@ranges.checked(seed=ranges.SEED)
def load(
    source: str | Path,
    *,
    num_classes: int | None = None,
    skip: str | Sequence[str] = (),
    mesh: Mesh | None = None,
    dtype: Any = None,
    seed: int = 0,
) -> Loaded:
    """A model with its parameters, from a folder in the layout of Hugging Face or timm, or a name there.

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

    Example:
      >>> import tempfile
      >>> from deeplab import hub
      >>> config = {"model_type": "gpt2", "vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4}
      >>> model, tokens, folder = hub.family_of(config).model(config), jnp.array([[1, 2, 3, 4]]), tempfile.mkdtemp()
      >>> hub.save(folder, model.init(jax.random.key(0), tokens)["params"], config)  # or a folder that others wrote
      >>> loaded = hub.load(folder)
      >>> loaded.model.apply(loaded.variables, tokens).shape
      (1, 4, 9)
    """
    _check(mesh, dtype)
    folder, skip = find(source), several(skip)
    config = read_config(folder)
    family = family_of(config)
    headers, wrong = folder_headers(folder)
    config = dict(family.seen(config, headers))
    if num_classes is not None:
        config = headed(family, config, num_classes)
    new_head = num_classes is not None
    configs.only(config, quantization_config=None)
    model, names, inputs = described(family, config)
    if isinstance(model, Decoder):
        configs.only(config, is_causal=True)  # False lets the tokens of any family attend to later ones
    shapes = dict(variable_shapes(model, inputs))
    check_found(skip, leaves(shapes))
    skip = (*skip, "^head/((classes|taught)/|kernel$|bias$)") if new_head else skip
    if counted := counts(names, headers):
        shapes[COUNTS] = counted
    steps = plan(folder, names, leaves(shapes), headers, wrong, skip, new_head=new_head)
    shapes = _typed(shapes, steps, dtype)
    if mesh is not None:
        homes = state_shardings(shapes, getattr(model, "rules", ()), mesh)
        shapes = jax.tree.map(lambda x, home: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=home), shapes, homes)
    fresh = _fresh(model, inputs, shapes, steps, seed)
    variables = filled(shapes, steps, fresh)
    return Loaded(model, variables, config, read_tokenizer(folder), read_preprocess(folder, config))


def _check(mesh: Any, dtype: Any) -> None:
    """Raises UserError where an argument of `load` is none that it could be."""
    if mesh is not None and not isinstance(mesh, Mesh):
        raise UserError(f"mesh is {mesh!r}, expected a mesh, such as dl.scale.make_mesh('fsdp=8')")
    try:
        known = dtype is None or jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        known = False
    if not known:
        raise UserError(f"dtype is {dtype}, expected one of floats, such as 'bfloat16'")


def weights(source: str | Path, *, path: str = "params", skip: str | Sequence[str] = ()) -> Weights:
    """The parameters of a folder as the first ones of an experiment: `dl.Experiment(..., weights=dl.hub.weights(DIR))`.

    Args:
      source: As in `load`.
      path: Part of the state that has the parameters of the folder's model, or its statistics:
        "variables/batch_stats". A part of that model is one, too, where the rest of the state's part is skipped.
      skip: Regular expressions of our parameter paths that keep their initial values, such as a head of another size.

    Example:
      >>> weights("org/name", skip=["head/"]).path
      'params'
    """

    skip, collection = several(skip), path.split("/")[1] if path.startswith("variables/") else "params"

    def read(tree: Any) -> Any:
        folder = find(source)
        config, (headers, wrong) = read_config(folder), folder_headers(folder)
        family = family_of(config)
        names = of(described(family, family.seen(config, headers))[1], collection)
        steps = plan(folder, names, flat(tree), headers, wrong, skip, part=True)
        return filled({"params": tree}, steps, flat(tree))["params"]

    folder = Path(source)
    return Weights(str(source), read, path, skip, digest(folder) if folder.is_dir() else "")


def _typed(shapes: Any, steps: Sequence[Step], dtype: Any) -> Any:
    """The shapes with the dtype asked for, or else that of the files; integers keep theirs."""
    stored = {part.path: DTYPES[step.header.dtype] for step in steps for part in step.tensor.parts}

    def typed(path: Any, leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        name = jax.tree_util.keystr(path, simple=True, separator="/").removeprefix("params/")
        return jax.ShapeDtypeStruct(leaf.shape, dtype or stored.get(name, leaf.dtype))

    return jax.tree_util.tree_map_with_path(typed, shapes)


def _fresh(model: nn.Module, inputs: Any, shapes: Any, steps: Sequence[Step], seed: int) -> dict[str, Any]:
    """The variables that start anew, by their paths, where they belong; the others are not computed."""
    read = {part.path for step in steps for part in step.tensor.parts}
    wanted = {path: leaf for path, leaf in leaves(shapes).items() if path not in read}
    if not wanted:
        return {}
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), inputs)

    def made(key: jax.Array) -> dict[str, Any]:
        every = leaves({**model.init(key, *zeros), COUNTS: jax.tree.map(jnp.zeros_like, shapes.get(COUNTS, {}))})
        return {path: every[path].astype(leaf.dtype) for path, leaf in wanted.items()}

    homes = {path: leaf.sharding for path, leaf in wanted.items()}
    return jax.jit(made, out_shardings=homes if any(homes.values()) else None)(jax.random.key(seed))
