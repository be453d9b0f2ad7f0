"""A small experiment in memory, with everything that makes a resume hard: dropout, batch statistics, augmentation."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from deeplab import scale, tasks
from deeplab.core import ranges
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch, Data, Source, Spec, steps_of
from deeplab.experiment import Experiment
from deeplab.train.feed import Feed, make_feed
from deeplab.train.initialize import init
from deeplab.train.state import State

SIZES = {"train": 50, "test": 21}


@dataclasses.dataclass(frozen=True)
class Toy(Data):
    """Points in the plane, labelled by their quadrant; jittered in training, each by its own id."""

    batch_size: int = 16
    steps: int = 20
    jitter: Any = 0.1
    eval_split: str = "test"
    epochs: int | None = None

    @property
    def num_steps(self) -> int:
        return self.steps if self.epochs is None else steps_of(self, self.epochs, None)

    def num_examples(self, split: str) -> int:
        return SIZES[split]

    def spec(self) -> Spec:
        shape, struct = (self.batch_size,), jax.ShapeDtypeStruct
        return {
            "image": struct((*shape, 2), jnp.float32),
            "label": struct(shape, jnp.int32),
            "weight": struct(shape, jnp.float32),
            "id": struct(shape, jnp.int32),
        }

    def open(self, split: str, data_dir: Any = None) -> Source:
        x = np.random.default_rng(split == "test").normal(size=(SIZES[split], 2)).astype(np.float32)
        label = (x[:, 0] > 0) * 2 + (x[:, 1] > 0)
        return Source(SIZES[split], {"image": x, "label": label.astype(np.int32)})

    def fetch(self, source: Source, ids: Any) -> Batch:
        batch = {name: array[ids] for name, array in source.arrays.items()}
        return batch | {"id": ids, "weight": np.ones(ids.shape, np.float32)}

    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        if key is None:
            return batch
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["id"])
        noise = jax.vmap(lambda k: jax.random.normal(k, (2,)))(keys)
        return batch | {"image": batch["image"] + self.jitter * noise}

    def synthetic(self, batch_size: int = 8, num_steps: int = 4) -> Toy:
        return dataclasses.replace(self, batch_size=batch_size, steps=num_steps)


class Given(Toy):
    """One batch, over and over: of any fields, `weight` and `id` among them."""

    def __init__(self, batch: Batch):
        super().__init__(len(batch["id"]))
        object.__setattr__(self, "batch", batch)

    def spec(self) -> Spec:
        return jax.eval_shape(lambda: self.batch)

    def transform(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        return batch


@ranges.checked(dropout=ranges.RATE)
class Net(nn.Module):
    """Dense, batch norm, dropout."""

    dropout: Any = 0.2
    norm: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Dense(8, name="hidden")(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(nn.relu(x))
        return nn.Dense(4, name="head")(x)


def experiment(
    batch_size: int = 16,
    steps: int = 20,
    norm: bool = True,
    learning_rate: float = 1e-2,
    weight_decay: float = 1e-3,
    dropout: float = 0.2,
    label_smoothing: float = 0.1,
    jitter: float = 0.1,
) -> Experiment:
    return Experiment(
        data=Toy(batch_size, steps, jitter),
        model=Net(dropout, norm),
        task=tasks.Classification(label_smoothing),
        optimizer=optax.adamw(learning_rate, weight_decay=weight_decay),
    )


def start(exp: Experiment, mesh: str = "auto", seed: int = 0, runtime: Runtime = Runtime()) -> tuple[State, Feed, Feed]:
    """The first state and the two feeds, on a mesh."""
    grid = scale.make_mesh(mesh)
    shapes = jax.eval_shape(lambda key: init(exp, key, runtime), jax.random.key(seed))
    shardings = scale.state_shardings(shapes, exp.sharding_rules, grid)
    state = jax.jit(lambda key: init(exp, key, runtime), out_shardings=shardings)(jax.random.key(seed))
    train, test = (make_feed(exp.data, exp.data.open(split), grid) for split in ("train", "test"))
    return state, train, test


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal, bit by bit."""

    def raw(x: Any) -> bytes:
        key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if key else x).tobytes()

    return [*map(raw, jax.tree.leaves(a))] == [*map(raw, jax.tree.leaves(b))]


if __name__ == "__main__":
    import deeplab

    deeplab.main(experiment)
