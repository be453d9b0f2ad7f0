"""Examples of any kind as batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.data import sets
from deeplab.data.base import NO_EXAMPLE, Batch, Data, Source, Spec, steps_of
from deeplab.data.sets.base import check_split
from deeplab.data.sets.examples import ExampleSet

Example = dict[str, Any]
"""One example: arrays without the batch axis; `id` and `weight` among them."""

Prepare = Callable[[Example, jax.Array | None], Example]
"""`(example, key) -> example`, pure: what the model reads, from what is kept. The key is None in an evaluation."""

Mix = Callable[[jax.Array, Batch], Batch]
"""`(key, batch) -> batch`, pure: what needs more than one example, such as mixup."""


@dataclasses.dataclass(frozen=True)
class Examples(Data):
    """Batches of the fields of an `ExampleSet`, [B, ...] each, prepared inside the step.

    Args:
      dataset: the name of a set, or a value.
      batch_size: of training and evaluation.
      epochs: passes over the training split; or else
      num_steps: training steps. Of an `Examples` it is always the number; to `dataclasses.replace` one that was given
        epochs, pass `num_steps=None` along.
      prepare: from an example as it is kept to what the model reads: scaling, features, and with a key (in training:
        `fold_in(key, id)`, so that it depends neither on the batch nor on the devices) augmentation.
      mix: applied to a training batch after `prepare`.
      eval_split: the split to evaluate on.

    Raises:
      UserError: unknown set, or not exactly one of `epochs` and `num_steps`.

    Example:
      >>> from deeplab.data.sets.examples import Field, SyntheticExamples
      >>> noise = SyntheticExamples({"x": Field((3,)), "label": Field((), "int32", 0, 2)}, (("train", 8), ("test", 4)))
      >>> data = Examples(noise, batch_size=4, epochs=2)
      >>> data.num_steps, next(data.batches("train"))["x"].shape
      (4, (4, 3))
    """

    dataset: str | ExampleSet
    batch_size: int = 128
    epochs: int | None = None
    num_steps: int = None  # pyright: ignore[reportAssignmentType]  (None stands for "from epochs", until __post_init__)
    prepare: Prepare | None = None
    mix: Mix | None = None
    eval_split: str = "test"

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_steps", steps_of(self, self.epochs, self.num_steps))

    @property
    def builder(self) -> ExampleSet:
        """The data set itself: its citation, its files."""
        return sets.example_set(self.dataset) if isinstance(self.dataset, str) else self.dataset

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.builder.class_names

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def num_examples(self, split: str) -> int:
        check_split(self.builder, split)
        return self.builder.splits[split]

    def spec(self) -> Spec:
        fields = {
            name: jax.ShapeDtypeStruct((1, *f.shape), np.dtype(f.dtype)) for name, f in self.builder.fields.items()
        }
        one = {"weight": jax.ShapeDtypeStruct((1,), jnp.float32), "id": jax.ShapeDtypeStruct((1,), jnp.int32)}
        shapes = jax.eval_shape(self.transform, fields | one)
        return {k: jax.ShapeDtypeStruct((self.batch_size, *s.shape[1:]), s.dtype) for k, s in shapes.items()}

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        return self.builder.open(split, data_dir)

    def fetch(self, source: Source, ids: Any) -> Batch:
        return self.builder.fetch(source, ids) | {"weight": np.ones(len(ids), np.float32), "id": ids.astype(np.int32)}

    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        batch = {name: jnp.asarray(array) for name, array in batch.items()}
        prepare = self.prepare or (lambda example, key: example)
        if key is None:
            return jax.vmap(lambda example: prepare(example, None))(batch)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["id"])
        batch = jax.vmap(prepare)(batch, keys)
        return batch if self.mix is None else self.mix(jax.random.fold_in(key, NO_EXAMPLE), batch)

    def synthetic(self, batch_size: int = 8, num_steps: int = 4) -> Self:
        # One batch and a half to evaluate on, so that a padded batch is part of every smoke run.
        dataset = self.builder.synthetic({"train": 2 * batch_size, self.eval_split: batch_size + batch_size // 2})
        return dataclasses.replace(self, dataset=dataset, batch_size=batch_size, epochs=None, num_steps=num_steps)

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, Example]]:
        return self.builder.read_file(path, data_dir)

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self.builder.describe(prediction)
