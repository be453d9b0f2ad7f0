"""Labelled images as batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.errors import UserError
from deeplab.data import sets
from deeplab.data.base import NO_EXAMPLE, Batch, Data, Source, Spec, steps_of
from deeplab.data.examples import Mix
from deeplab.data.sets.base import ImageSet, check_split
from deeplab.data.sets.examples import describe
from deeplab.data.sets.image.folder import load
from deeplab.data.sets.memory import SyntheticImages

Augment = Callable[[jax.Array, jax.Array], jax.Array]
"""`(key, image) -> image`, pure: one example, [H, W, C] floats in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Images(Data):
    """Batches of `image` [B, H, W, C] and `label` [B] int32.

    `fetch` gives the images as they are kept (uint8). `transform` scales them to [0, 1], augments them there, so that
    0 stays black whatever the set, and standardises: (x - mean) / std.

    Args:
      dataset: the name of a set ("digits", "mnist", "fashion_mnist") or a value such as
        `dl.data.image_folder("photos", size=64)`, `dl.data.tfds("path/to/prepared")` or `dl.data.arrays(...)`.
      batch_size: of training and evaluation.
      epochs: passes over the training split; or else
      num_steps: training steps. Of an `Images` it is always the number; to `dataclasses.replace` one that was given
        epochs, pass `num_steps=None` along.
      augment: applied to each training example with a key of its own, `fold_in(key, id)`: what an example becomes
        depends neither on the batch it is in nor on the devices.
      mix: applied to a training batch after all else, such as `dl.data.augment.mix.mixup(0.2)`.
      eval_split: the split to evaluate on.
      train_fraction: of the training images, those that are learnt from, in (0, 1]; the run's seed says which, and
        those of a smaller part are among those of a larger one.

    Raises:
      UserError: unknown set, a fraction outside (0, 1], or not exactly one of `epochs` and `num_steps`.

    Example:
      >>> data = Images("digits", batch_size=128, epochs=2)
      >>> data.num_steps, data.image_shape, data.num_classes
      (22, (8, 8, 1), 10)
    """

    dataset: str | ImageSet
    batch_size: int = 128
    epochs: int | None = None
    num_steps: int = None  # pyright: ignore[reportAssignmentType]  (None stands for "from epochs", until __post_init__)
    augment: Augment | None = None
    mix: Mix | None = None
    eval_split: str = "test"
    train_fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"train_fraction is {self.train_fraction}, expected above 0 and up to 1")
        object.__setattr__(self, "num_steps", steps_of(self, self.epochs, self.num_steps))

    @property
    def builder(self) -> ImageSet:
        """The data set itself: its citation, its files."""
        return sets.image_set(self.dataset) if isinstance(self.dataset, str) else self.dataset

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.builder.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.builder.class_names

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, or one for all, of the training images in [0, 1]."""
        return self.builder.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Likewise."""
        return self.builder.std

    def num_examples(self, split: str) -> int:
        check_split(self.builder, split)
        return self.builder.splits[split]

    def spec(self) -> Spec:
        size = (self.batch_size,)
        return {
            "image": jax.ShapeDtypeStruct(size + self.image_shape, jnp.float32),
            "label": jax.ShapeDtypeStruct(size, jnp.int32),
            "weight": jax.ShapeDtypeStruct(size, jnp.float32),
            "id": jax.ShapeDtypeStruct(size, jnp.int32),
        }

    def open(self, split: str, data_dir: str | Path | None = None) -> Source:
        return self.builder.open(split, data_dir)

    def fetch(self, source: Source, ids: Any) -> Batch:
        if source.records is not None:
            batch = source.records.batch(ids)
        else:
            batch = {"image": source.arrays["image"][ids], "label": source.arrays["label"][ids]}
        return {
            "image": batch["image"],
            "label": batch["label"].astype(np.int32),
            "weight": batch.get("weight", np.ones(len(ids), np.float32)),
            "id": ids.astype(np.int32),
        }

    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        image = jnp.asarray(batch["image"])
        image = image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image.astype(jnp.float32)
        if key is not None and self.augment is not None:
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["id"])
            image = jax.vmap(self.augment)(keys, image)
        mean, std = (np.asarray(v, np.float32).reshape(1, 1, 1, -1) for v in (self.mean, self.std))  # to [1, 1, 1, C]
        batch = batch | {"image": (image - mean) / std}
        if key is not None and self.mix is not None:
            batch = self.mix(jax.random.fold_in(key, NO_EXAMPLE), batch)
        return batch

    def synthetic(self, batch_size: int = 8, num_steps: int = 4) -> Self:
        dataset = SyntheticImages(
            image_shape=self.image_shape,
            class_names=self.class_names,
            mean=self.mean,
            std=self.std,
            # One batch and a half to evaluate on, so that a padded batch is part of every smoke run.
            sizes=(
                ("train", 2 * batch_size),
                *((s, batch_size + batch_size // 2) for s in self.builder.splits if s != "train"),
            ),
        )
        return dataclasses.replace(self, dataset=dataset, batch_size=batch_size, epochs=None, num_steps=num_steps)

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, Batch]]:
        """One image of any size and mode: scaled to fit, and cropped at the centre."""
        yield path.name, {"image": load(path, self.image_shape)}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return describe(prediction, self.class_names)
