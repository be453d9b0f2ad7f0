"""Low-rank adapters in and out, in PEFT's layout: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from deeplab.core.errors import UserError
from deeplab.hub.axes import Axes
from deeplab.hub.families import family_of
from deeplab.hub.files import CODES, Header, read_headers, read_tensor, write_file
from deeplab.hub.loading import Loaded
from deeplab.hub.mapping import Tensor, flat, spellings, tensors
from deeplab.tuning.lora import ADAPTERS, Lora, base, matrix, norms
from deeplab.tuning.models import Adapted

CONFIG, FILE, STEM = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
ENDS = {"a": ".lora_A.weight", "b": ".lora_B.weight", "scale": ".lora_magnitude_vector"}
"""What PEFT calls our parts of an adapter; its magnitude is our scale times the norm of the base."""

_UNREAD = (
    *("rank_pattern", "alpha_pattern", "layer_replication", "lora_bias", "target_parameters", "use_qalora"),
    *("trainable_token_indices", "use_bdlora", "megatron_config", "arrow_config", "kasa_config", "velora_config"),
    "alora_invocation_tokens",
)
"""Entries of a config that say that there is more than A, B and a magnitude."""

_FIRST = (True, False, None, "gaussian", "eva", "orthogonal")
"""First values of adapters that leave the model as it is; others take from its kernels what they begin with."""


def save_adapters(
    folder: str | Path,
    params: Any,
    lora: Lora,
    config: Mapping[str, Any],
    *,
    also: str = "",
    source: str | None = None,
) -> None:
    """Writes adapters as PEFT does: `peft.PeftModel.from_pretrained(model, folder)` reads them.

    Args:
      folder: Folder to write; it is made.
      params: Parameters of the model and its `adapters`, such as `run.state.params`.
      lora: What the adapters are.
      config: Content of the model's config.json, such as `Loaded.config`.
      also: Regular expression of the paths of other parameters that are written whole, such as "^head/".
      source: Name or folder of the model, for PEFT's `base_model_name_or_path`.

    Raises:
      UserError: An adapted kernel is not one linear layer in their model, such as a part of a fused one.

    Example:
      >>> import tempfile
      >>> config = {"model_type": "llama", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 8}
      >>> config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 4}
      >>> params = family_of(config).model(config).init(jax.random.key(0), jnp.zeros((1, 4), int))["params"]
      >>> lora, folder = Lora(rank=2), Path(tempfile.mkdtemp())
      >>> save_adapters(folder, {**params, "adapters": lora.init(jax.random.key(1), params)}, lora, config)
      >>> sorted(file.name for file in folder.iterdir())
      ['adapter_config.json', 'adapter_model.safetensors']
    """
    folder, leaves = Path(folder), flat(base(params))
    adapters, written, whole = flat(params[ADAPTERS]), {}, set()
    for tensor in tensors(family_of(config).names(config), leaves)[0].values():
        module = tensor.name.removesuffix(".weight")
        (path, index), *_ = tensor.parts
        if any(f"{path}/a" in adapters for path, _ in tensor.parts):
            check_linear(tensor)
            own = {name: np.asarray(adapters[f"{path}/{name}"][index]) for name in _names(lora)}
            if lora.dora:
                own["scale"] = own["scale"] * np.asarray(norms(matrix(path, leaves[path])[index]))
            written |= {STEM + module + ENDS[name]: _theirs(tensor.axes, name, x) for name, x in own.items()}
        elif also and all(re.search(also, path) for path, _ in tensor.parts):
            written[STEM + tensor.name] = tensor.axes.theirs([np.asarray(leaves[p][i]) for p, i in tensor.parts])
            whole.add(tensor.name.rpartition(".")[0])
    said = _said(lora, written, whole, source)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(said, indent=2), encoding="utf-8")
    headers = {name: Header(Path(), CODES[x.dtype], x.shape, 0, x.nbytes) for name, x in written.items()}
    write_file(folder / FILE, headers.items(), written.__getitem__)


def load_adapters(folder: str | Path, loaded: Loaded) -> Loaded:
    """A model with adapters that PEFT (or `save_adapters`) wrote.

    `loaded.model.lora.merged(loaded.params)` of the result is the plain model with the adapters merged.

    Args:
      folder: Folder with adapter_config.json and adapter_model.safetensors.
      loaded: Model that they adapt, from `load`.

    Raises:
      UserError: They are of another kind, or of another model; the message lists all that does not fit.

    Example:
      >>> import tempfile
      >>> config = {"model_type": "llama", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 8}
      >>> config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 4}
      >>> model, folder = family_of(config).model(config), tempfile.mkdtemp()
      >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 4), int))
      >>> lora, params = Lora(rank=2), variables["params"]
      >>> save_adapters(folder, {**params, "adapters": lora.init(jax.random.key(1), params)}, lora, config)
      >>> adapted = load_adapters(folder, Loaded(model, variables, config, None, None))  # of `load`, for a real model
      >>> adapted.model.lora.rank, sorted(adapted.params["adapters"]["blocks"]["attention"])
      (2, ['query', 'value'])
    """
    folder = Path(folder)
    said = _config(folder)
    rank, alpha = said["r"], said["lora_alpha"] * (said["r"] ** 0.5 if said.get("use_rslora") else 1.0)
    leaves, found, wrong = _read(folder / FILE, loaded, rank)
    paths = sorted({path.rpartition("/")[0] for path in found})
    lora = Lora(rank, alpha, where="^(" + "|".join(map(re.escape, paths)) + ")$", dora=bool(said.get("use_dora")))
    adapters = {}
    for path in (f"{path}/{name}" for path in paths for name in _names(lora)):
        batch = matrix(path, leaves[path.rpartition("/")[0]]).shape[:-2]
        indices = list(np.ndindex(*batch))
        missing = [list(index) for index in indices if index not in found.get(path, {})]
        if missing:
            wrong.append(f"missing: the adapters of our {path} at {missing}; layers are adapted all or not at all")
            continue
        stacked = np.stack([found[path][index] for index in indices])
        adapters[path] = jnp.asarray(stacked.reshape(*batch, *stacked.shape[1:]))
    if wrong or not adapters:
        raise UserError(f"{folder} does not fit its model:\n  " + "\n  ".join(wrong or ["it has no adapters"]))
    params = jax.tree.unflatten(jax.tree.structure(loaded.params), leaves.values())
    model: Any = Adapted(loaded.model, lora)
    params = {**params, ADAPTERS: traverse_util.unflatten_dict(adapters, sep="/")}
    return dataclasses.replace(loaded, model=model, variables={**loaded.variables, "params": params})


Found = dict[str, dict[tuple[int, ...], np.ndarray]]
"""Parts of adapters by our path, and by their numbers along its stacked axes."""


def _read(file: Path, loaded: Loaded, rank: int) -> tuple[dict[str, Any], Found, list[str]]:
    """The model's parameters with those that the file holds whole, parts of adapters, and what is wrong."""
    headers, wrong = read_headers(file) if file.exists() else ({}, [f"there is no {file.name}"])
    names, leaves = family_of(loaded.config).names(loaded.config), flat(loaded.params)
    known = {s: tensor for tensor in tensors(names, leaves)[0].values() for s in spellings(names, tensor.name)}
    found: Found = {}
    for key, header in headers.items():
        part, module = _split(key)
        tensor = known.get(f"{module}.weight" if part else module)
        if tensor is None:
            wrong.append(f"unexpected: {key} {header}; the model has no such tensor")
            continue
        if part is not None:
            check_linear(tensor)
        expected = {"a": (rank, tensor.shape[-1]), "b": (tensor.shape[0], rank), "scale": tensor.shape[:1]}
        shape = tensor.shape if part is None else expected[part]
        if header.shape != shape:
            wrong.append(f"shape: {key} is {list(header.shape)}, expected {list(shape)}")
            continue
        if part is None:  # a module that PEFT saves whole
            for number, (path, index) in enumerate(tensor.parts):
                leaves[path] = jnp.asarray(leaves[path]).at[index].set(tensor.axes.ours(read_tensor(header), number))
            continue
        path, index = tensor.parts[0]
        value = _ours(tensor.axes, part, read_tensor(header))
        value = value / np.asarray(norms(matrix(path, leaves[path])[index])) if part == "scale" else value
        found.setdefault(f"{path}/{part}", {})[index] = value
    return leaves, found, wrong


def check_linear(tensor: Tensor) -> None:
    """Raises UserError unless a tensor is [out, in] of one kernel [in, out] of ours."""
    left, right = tensor.axes.left, tensor.axes.right
    if len(tensor.parts) > 1 or len(left) != 2 or len(right[0]) != 1 or right[0] != left[1]:
        how = f"as {tensor.axes.rule.axes!r}" if left else "as [in, out]"  # GPT-2's, which no rule transposes
        raise UserError(
            f"{tensor.name} holds our {', '.join(path for path, _ in tensor.parts)} {how}, "
            "which is no plain linear layer; PEFT's layout of adapters is read and written for those alone"
        )


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).exists():
        raise UserError(f"{folder} has no {CONFIG}; give a folder that PEFT wrote")
    said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if (first := said.get("init_lora_weights", True)) not in _FIRST:
        how = "let peft's save_pretrained(path_initial_model_for_weight_conversion=...) make LoRA of the plain one"
        raise UserError(f"{folder / CONFIG}: init_lora_weights={first!r} changes the model beneath the adapters; {how}")
    if said.get("peft_type") != "LORA" or (more := [name for name in _UNREAD if said.get(name)]):
        what = f"peft_type {said.get('peft_type')!r}" if said.get("peft_type") != "LORA" else ", ".join(more)
        raise UserError(f"{folder / CONFIG}: {what} is not supported; known are LoRA and DoRA of one rank")
    return said


def _said(lora: Lora, written: Mapping[str, Any], whole: set[str], source: str | None) -> dict[str, Any]:
    """What adapter_config.json says."""
    modules = [name.removeprefix(STEM).removesuffix(ENDS["a"]) for name in written if name.endswith(ENDS["a"])]
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": source,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": float(lora.alpha),
        "target_modules": modules,
        "modules_to_save": sorted(whole) or None,
        "use_dora": lora.dora,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
    }


def _names(lora: Lora) -> Iterator[str]:
    yield from ("a", "b")
    if lora.dora:
        yield "scale"


def _split(key: str) -> tuple[str | None, str]:
    """Which part of an adapter a tensor of theirs is, and of which module; or None and the tensor's own name."""
    key = key.removeprefix(STEM)
    for part, end in ENDS.items():
        if key.removesuffix(".weight").endswith(end.removesuffix(".weight")):
            return part, key.removesuffix(".weight").removesuffix(end.removesuffix(".weight"))
    return None, key


def _theirs(axes: Axes, part: str, x: np.ndarray) -> np.ndarray:
    if part == "a":
        return np.ascontiguousarray(x.T)
    return axes.theirs([x]) if part == "b" else axes.theirs([x[None]])[:, 0]


def _ours(axes: Axes, part: str, x: np.ndarray) -> np.ndarray:
    if part == "a":
        return x.T
    return axes.ours(x, 0) if part == "b" else axes.ours(x[:, None], 0)[0]
