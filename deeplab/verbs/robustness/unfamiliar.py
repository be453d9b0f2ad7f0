"""Whether a model notices inputs that are like none that it was trained on: a table of scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import blocks
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
from deeplab.data.base import Batch
from deeplab.robust import shift
from deeplab.robust.head import Head, tap_head
from deeplab.verbs.probing.features import spread
from deeplab.verbs.robustness.examined import Examined

_TRAIN = 2000


@dataclasses.dataclass(frozen=True)
class Unfamiliar:
    """How well scores tell unfamiliar inputs from those of the split.

    Attributes:
      layer: Name of the last linear layer, whose input the scores read.
      tables: Detection by score, for each kind of unfamiliar input.
    """

    layer: str
    tables: Mapping[str, Mapping[str, shift.Detection]]

    @property
    def lead(self) -> str:
        """A sentence."""
        told = []
        for kind, table in self.tables.items():
            name = max(table, key=lambda each: table[each].auroc)
            told.append(f"{kind} {table[name].auroc:.3f} ({name})")
        return f"best AUROC against {', '.join(told)}"

    @property
    def block(self) -> Block:
        """A table for each kind."""
        head = ["score", "AUROC", "AUPR", "passes at 95 %"]
        shown = []
        for kind, table in self.tables.items():
            order = sorted(table.items(), key=lambda item: -item[1].auroc)
            body = [[name, f"{x.auroc:.3f}", f"{x.aupr_out:.3f}", f"{x.fpr95:.1%}"] for name, x in order]
            shown.append(blocks.section(f"Against {kind}", blocks.rows(head, body, numeric=True)))
        note = (
            f"Scores of the input of {self.layer!r} and of the logits (deeplab.robust.shift). AUROC is the probability "
            "that the unfamiliar scores higher, and the last column the share of it that passes where 95 % of the "
            "familiar do."
        )
        return blocks.section("Unfamiliar inputs", *shown, note=note)


def unfamiliar(what: Examined, data_dir: Any = None) -> Unfamiliar:
    """Ten scores of unfamiliar inputs: noise of the range of the inputs, and inputs whose places are shuffled.

    Args:
      what: What is tested.
      data_dir: Folder of the data.

    Raises:
      UserError: The model is no classifier, or has no last linear layer that reads one row for each example.
    """
    if not what.classifies:
        raise UserError("the model gives no probability of one class for each example")
    if what.seam.tap:
        raise UserError("noise and shuffled places are of numbers, and the model reads tokens")
    task, field = what.experiment.task, what.seam.name
    name, head = _head(what)

    def read(apply: Any, batch: Batch) -> Any:
        return tap_head(apply, *task.inputs(batch), name=name).features

    raws = spread(what.experiment.data, "train", _TRAIN, data_dir)
    train = [what.prepare(raw) for raw in raws()]
    labels = np.concatenate([np.asarray(batch["label"]) for batch in train])
    scores = shift.feature_scores(what.over(read, train), labels, head)
    inside = what.over(read)
    kinds: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {"noise": _noise, "shuffled places": _shuffled}

    def changed(change: Callable[[jax.Array, jax.Array], jax.Array]) -> list[Batch]:
        keys = [jax.random.fold_in(what.key, i) for i in range(len(what.batches))]
        return [
            batch | {field: change(key, jnp.asarray(batch[field]))}
            for key, batch in zip(keys, what.batches, strict=True)
        ]

    tables = {
        kind: shift.detections(scores, inside, what.over(read, changed(change))) for kind, change in kinds.items()
    }
    return Unfamiliar(name, tables)


def _head(what: Examined) -> tuple[str, Head]:
    """Name and weights of the last linear layer."""
    found: dict[str, Any] = {}

    def read(*inputs: Any) -> Any:
        tapped = tap_head(what.apply, *inputs)
        found["name"] = tapped.name
        return tapped.features, tapped.outputs

    features, outputs = jax.eval_shape(read, *what.experiment.task.inputs(what.batches[0]))
    weights = what.apply.params
    for part in found["name"].split("/"):
        weights = weights[part]
    kernel = np.asarray(weights["kernel"], np.float64)
    if features.ndim != 2 or kernel.shape[1] != outputs.shape[-1]:
        raise UserError(f"the last linear layer, {found['name']!r}, gives no logits of each example")
    return found["name"], Head(kernel, np.asarray(weights.get("bias", np.zeros(kernel.shape[1])), np.float64))


def _noise(key: jax.Array, x: jax.Array) -> jax.Array:
    return jax.random.uniform(key, x.shape, x.dtype, jnp.min(x), jnp.max(x))


def _shuffled(key: jax.Array, x: jax.Array) -> jax.Array:
    """Each example with its places in another order: pixels, frames, or the columns of a table."""
    places = x.shape[1:-1] or x.shape[1:]
    flat = x.reshape(len(x), int(np.prod(places)), -1)
    return jax.vmap(jax.random.permutation)(jax.random.split(key, len(x)), flat).reshape(x.shape)
