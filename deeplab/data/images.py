"""Images as batches: `Examples` whose field `image` is scaled to [0, 1], augmented, and seen in several views."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError
from deeplab.data import sets
from deeplab.data.augment.base import Augment
from deeplab.data.base import NO_EXAMPLE, Example, Mix
from deeplab.data.examples import Examples
from deeplab.data.normalize import Normalize
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.memory import Arrays


@dataclasses.dataclass(frozen=True)
class PrepareImage:
    """The `prepare` of `Images`: scales `image` to [0, 1], augments it, and adds a field for each view.

    Args:
      augment: Augmentation of `image` in training.
      views: Name and augmentation of each further field; see `Images`.

    Raises:
      UserError: an example has no `image`, or one that is neither uint8 nor floats, or not [H, W, C].
    """

    augment: Augment | None = None
    views: tuple[tuple[str, Augment], ...] = ()

    def __call__(self, example: Example, key: jax.Array | None) -> Example:
        if "image" not in example:
            raise UserError(f"the examples hold {sorted(example)}, and no field 'image'; use dl.data.Examples")
        image = example["image"]
        if image.dtype != jnp.uint8 and not jnp.issubdtype(image.dtype, jnp.floating):
            raise UserError(f"images are {image.dtype}, expected uint8, or floats in [0, 1]; convert them")
        if image.ndim != 3:
            raise UserError(f"an image is {list(image.shape)}, expected [H, W, C]; add a channel by images[..., None]")
        if image.shape[0] in (1, 3) and image.shape[2] > 4:
            raise UserError(
                f"an image is {list(image.shape)}, expected [H, W, C]: its channels come first; give "
                "np.moveaxis(images, 1, -1)"
            )
        image = image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image.astype(jnp.float32)
        views = {name: _view(view, number, image, key) for number, (name, view) in enumerate(self.views)}
        if key is not None and self.augment is not None:
            image = self.augment(key, image)
        return example | {"image": image} | views


def _view(augment: Augment, number: int, image: jax.Array, key: jax.Array | None) -> jax.Array:
    """One view by a key of its own; without a key the plain image, resized to the view's size."""
    if key is not None:
        # No augmentation folds NO_EXAMPLE into its key, so that a view draws other numbers than `augment` does.
        return augment(jax.random.fold_in(jax.random.fold_in(key, NO_EXAMPLE), number), image)
    shape = jax.eval_shape(augment, jax.random.key(0), image).shape
    return image if shape == image.shape else jax.image.resize(image, shape, "linear")


def Images(
    dataset: str | ExampleSet | Mapping[str, Any],
    batch_size: int = 128,
    epochs: int | None = None,
    num_steps: int | None = None,
    augment: Augment | None = None,
    mix: Mix | None = None,
    eval_split: str = "test",
    train_fraction: float = 1.0,
    normalize: Normalize | Literal["dataset"] | None = "dataset",
    views: Mapping[str, Augment] | None = None,
    repeats: int = 1,
) -> Examples:
    """`Examples` with `image` [B, H, W, C], float32 in [0, 1], augmented in training, and `label` [B] if there is one.

    `fetch` gives the images as they are stored (uint8). `transform` scales, augments and mixes them in [0, 1], where 0
    is black whatever the set. `normalize` is a value beside it, applied to the model's first input alone.

    Args:
      dataset: Name of a set ("digits", "mnist", "fashion_mnist", "cifar10"), or a value such as
        `dl.data.image_folder("photos", size=64)`, `dl.data.tfds("path/to/prepared")` or `dl.data.arrays(...)`.
      batch_size: Examples of a training or evaluation batch.
      epochs: Passes over the training split; give either this or `num_steps`.
      num_steps: Number of training steps.
      augment: Augmentation `(key, image) -> image` of each training example, with the key `fold_in(key, id)`.
      mix: Function of a training batch after `augment`, such as `dl.data.augment.mix.mixup(0.2, 10)`.
      eval_split: Split to evaluate on.
      train_fraction: Fraction of the training images that are used, in (0, 1]; see `Examples`.
      normalize: Normalization of the model's input, such as `dl.data.Standardize(mean, std)`; the set's own by default,
        none when None.
      views: Augmentation of each further field by its name. `{"view_a": f, "view_b": f}` adds two fields, augmented
        independently from the unaugmented image; their sizes may differ from the image's. In an evaluation a view is
        the plain image, resized to the view's size.
      repeats: Number of successive training steps that read the same batch; see `Examples`.

    Raises:
      UserError: an unknown set, a fraction outside (0, 1], not exactly one of `epochs` and `num_steps`, or a view with
        the name of another field.

    Example:
      >>> from deeplab.data import augment
      >>> data = Images("digits", batch_size=128, epochs=2, views={"small": augment.resized_crop(4, 4)})
      >>> data.num_steps, data.num_classes, data.spec()["image"].shape, data.spec()["small"].shape
      (23, 10, (128, 8, 8, 1), (128, 4, 4, 1))
    """
    given = Arrays(dataset) if isinstance(dataset, Mapping) else sets.example_set(dataset)
    if taken := {"image", "label", "id", "weight"} & (views or {}).keys():
        raise UserError(f"a view is called {min(taken)!r}, which is a field of every batch; give it another name")
    return Examples(
        dataset if isinstance(dataset, str) else given,
        batch_size,
        epochs,
        num_steps,  # pyright: ignore[reportArgumentType]  (None stands for "from epochs")
        PrepareImage(augment, tuple((views or {}).items())),
        mix,
        eval_split,
        train_fraction,
        given.normalize if normalize == "dataset" else normalize,
        repeats=repeats,
    )
