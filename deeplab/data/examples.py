"""Examples made of named arrays, as batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.core.printable import Printable
from deeplab.data import sets
from deeplab.data.base import NO_EXAMPLE, Batch, Data, Example, Mix, Prepare, Show, Source, Spec, steps_of
from deeplab.data.normalize import Normalize
from deeplab.data.sets.base import ExampleSet, check_split
from deeplab.data.sets.memory import Arrays
from deeplab.data.sets.synthetic import SyntheticExamples


@dataclasses.dataclass(frozen=True)
@ranges.checked(
    batch_size=ranges.COUNT,
    epochs=ranges.COUNT,
    num_steps=ranges.COUNT,
    train_fraction=ranges.Range(above=0, at_most=1),
    repeats=ranges.COUNT,
)
class Examples(Data):
    """Batches of the fields of an `ExampleSet`, [B, ...] each, prepared inside the step.

    Args:
      dataset: Name of a set, an `ExampleSet`, or arrays in memory: `{"train": {"x": x, "y": y}, "test": {...}}`.
      batch_size: Examples of a training or evaluation batch.
      epochs: Passes over the training split; give either this or `num_steps`.
      num_steps: Number of training steps; always set afterwards. In `dataclasses.replace`, pass `num_steps=None` too
        for data that were given epochs.
      prepare: Pure function of one example as it is stored, `(example, key) -> example`: scaling, features and, where
        there is a key, augmentation. The key is `fold_in(key, id)` in training, so that an example depends neither on
        its batch nor on the devices, and None in an evaluation.
      mix: Pure function of a training batch after `prepare`, `(key, batch) -> batch`.
      eval_split: Split to evaluate on.
      train_fraction: Fraction of the training examples that are used, in (0, 1]. The run's seed chooses them; those of
        a smaller fraction are among those of a larger one.
      normalize: Function applied to the model's first input, after `prepare` and `mix`.
      column_names: Names of the columns of the model's first input, if `prepare` makes a table; explanations show them.
      repeats: Number of successive training steps that read the same batch, as `dl.robust.training.Free` needs it. An
        example counts each time, so that `epochs`, a multiple of it, are of the same length with and without.

    Raises:
      UserError: an unknown set, a fraction outside (0, 1], not exactly one of `epochs` and `num_steps`, or epochs that
        are no multiple of the repeats.

    Example:
      >>> x, y = np.zeros((8, 3), np.float32), np.arange(8) % 2
      >>> data = Examples({"train": {"x": x, "label": y}, "test": {"x": x, "label": y}}, batch_size=4, epochs=2)
      >>> data.num_steps, data.num_classes, next(data.batches("train"))["x"].shape
      (4, 2, (4, 3))
    """

    dataset: str | ExampleSet | Mapping[str, Any]
    batch_size: int = 128
    epochs: int | None = None
    num_steps: int = None  # pyright: ignore[reportAssignmentType]  (None stands for "from epochs", until __post_init__)
    prepare: Prepare | None = None
    mix: Mix | None = None
    eval_split: str = "test"
    train_fraction: float = 1.0
    normalize: Normalize | None = None
    column_names: tuple[str, ...] = ()
    repeats: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.dataset, Mapping):
            object.__setattr__(self, "dataset", Arrays(self.dataset))
        object.__setattr__(self, "num_steps", steps_of(self, self.epochs, self.num_steps))

    @property
    def builder(self) -> ExampleSet:
        """The data set itself: its fields, citation, version and files."""
        return sets.example_set(self.dataset)  # pyright: ignore[reportArgumentType]  (a mapping was wrapped)

    @property
    def show(self) -> Show | None:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        """The set's own drawing of examples, if it has one."""
        return self.builder.show

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class of `label`, in order; empty for sets without classes."""
        return self.builder.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes.

        Raises:
          UserError: the set has none.
        """
        if not self.class_names:
            raise UserError(f"{self.builder.name} has no classes; give the model its number of outputs yourself")
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the field `image`."""
        return self.spec()["image"].shape[1:]

    def summary(self, data_dir: str | Path | None = None) -> Printable:
        """What was read, to print: splits, fields, classes, first examples, and what may be wrong with them.

        Args:
          data_dir: Folder with the original files; downloaded when None.
        """
        return self.builder.summary(data_dir)

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

    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """The bounds that the set declares for fields that `prepare` leaves as they are."""
        declared = {name: f for name, f in self.builder.fields.items() if f.below is not None and f.dtype[0] in "iu"}
        if isinstance(self.builder, Arrays):  # other bounds are those of the values, masked ones among them
            declared = {"label": declared["label"]} if self.class_names else {}
        one = {name: jax.ShapeDtypeStruct((1, *f.shape), np.dtype(f.dtype)) for name, f in self.builder.fields.items()}
        kept: set[str] = set()

        def trace(batch: Batch) -> None:
            given = dict(batch)
            made = self.transform(batch)
            kept.update(name for name in declared if made.get(name) is given[name])

        jax.eval_shape(
            trace, one | {"weight": jax.ShapeDtypeStruct((1,), np.float32), "id": jax.ShapeDtypeStruct((1,), np.int32)}
        )
        return {name: (declared[name].low, declared[name].below or 0) for name in kept}

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        return self.builder.open(split, data_dir)

    def fetch(self, source: Source, ids: Any) -> Batch:
        weight = np.ones(len(ids), np.float32)
        return {"weight": weight, **self.builder.fetch(source, ids), "id": ids.astype(np.int32)}

    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        batch = {name: jnp.asarray(array) for name, array in batch.items()}
        prepare = self.prepare or (lambda example, key: example)
        if key is None:
            return jax.vmap(lambda example: prepare(example, None))(batch)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["id"])
        batch = jax.vmap(prepare)(batch, keys)
        return batch if self.mix is None else self._mixed(jax.random.fold_in(key, NO_EXAMPLE), batch)

    def _mixed(self, key: jax.Array, batch: Batch) -> Batch:
        """The batch after `mix`, whose rows of labels would not sum to 1 if it knew fewer classes than there are."""
        assert self.mix is not None
        mixed = self.mix(key, batch)
        shapes = [jnp.shape(each["label"]) for each in (batch, mixed) if "label" in each]
        if [len(shape) for shape in shapes] == [1, 2] and shapes[1][1] < (
            below := self.bounds().get("label", (0, 0))[1]
        ):
            raise UserError(
                f"mix= makes labels of {shapes[1][1]} classes, and the set has {below}: give num_classes={below}"
            )
        return mixed

    def synthetic(self, batch_size: int = 8, num_steps: int = 4) -> Self:
        builder = self.builder
        # One batch and a half to evaluate on, so that a padded batch is part of every smoke run.
        sizes = dict.fromkeys(builder.splits, batch_size + batch_size // 2) | {"train": 2 * batch_size}
        dataset = SyntheticExamples(dict(builder.fields), tuple(sizes.items()), builder.class_names, like=builder)
        return dataclasses.replace(self, dataset=dataset, batch_size=batch_size, epochs=None, num_steps=num_steps)

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, Example]]:
        return self.builder.read_file(path, data_dir)

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return self.builder.describe(prediction)
