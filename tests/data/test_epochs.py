"""Epochs: a run over `epochs=e` counts each training example exactly e times."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.data import records
from deeplab.data.augment import mix


def table(n: int, **options) -> dl.data.Examples:
    x = np.arange(n, dtype=np.float32)
    return dl.data.Examples({"train": {"x": x}, "test": {"x": x[:2]}}, **options)


def counted(batches, size: int) -> np.ndarray:
    total = np.zeros(size)
    for batch in batches:
        np.add.at(total, batch["id"], batch["weight"])
    return total


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_each_example_counts_once_an_epoch(data):
    n, batch_size, epochs = (data.draw(st.integers(1, high)) for high in (60, 80, 5))
    fraction = data.draw(st.sampled_from([1.0, 0.5, 0.33, 0.05]))
    seed = data.draw(st.integers(0, 2**31 - 1))
    one = table(n, batch_size=batch_size, epochs=epochs, train_fraction=fraction)
    batches = list(one.batches(seed=seed))
    used = max(1, round(fraction * n))
    assert len(batches) == one.num_steps == -(-epochs * used // batch_size)
    assert all(len(batch["weight"]) == batch_size for batch in batches)
    total = counted(batches, n)
    assert sorted(total) == [0] * (n - used) + [epochs] * used
    pipeline = records.pipeline(one, one.open("train"), seed)
    np.testing.assert_array_equal(counted(pipeline, n), total)


def test_an_epoch_counts_the_steps_that_it_takes():
    assert [table(n, batch_size=64, epochs=10).num_steps for n in (127, 128, 129, 10)] == [20, 20, 21, 2]
    assert [table(n, batch_size=64, epochs=10).steps_per_epoch for n in (127, 128, 129, 10)] == [2, 2, 3, 1]
    assert [table(n, batch_size=64, num_steps=3).num_steps for n in (127, 10)] == [3, 3]
    with pytest.raises(UserError, match="epochs is 0, expected 1 or more"):
        table(10, epochs=0)


def test_repeated_batches_count_each_time():
    """A batch comes as often in succession, from any step on; the last one is padded each time."""
    plain, repeated = table(41, batch_size=8, epochs=2), table(41, batch_size=8, epochs=6, repeats=3)
    assert (repeated.num_steps, repeated.steps_per_epoch) == (33, 18)
    np.testing.assert_array_equal(repeated.train_ids(0, 2, 33), np.repeat(plain.train_ids(0, 2, 11), 3, axis=0))
    np.testing.assert_array_equal(repeated.train_ids(7, 2, 4), repeated.train_ids(0, 2, 33)[7:11])
    assert counted(repeated.batches(seed=2), 41).tolist() == [6] * 41
    with pytest.raises(UserError, match=r"epochs is 7, expected a multiple of repeats=3, .*; use 6 or 9"):
        table(41, epochs=7, repeats=3)


def test_steps_have_no_end_to_pad():
    for one in (table(10, batch_size=4, num_steps=3), table(12, batch_size=4, epochs=1)):
        assert all(batch["weight"].all() for batch in one.batches())


def test_padding_keeps_the_weights_of_the_records():
    """A record that was left out keeps weight 0, whatever its place in the batch."""
    one = table(6, batch_size=4, epochs=1)
    source = one.open("train")
    ids = one.train_ids(0, 0, 2).reshape(-1)
    arrays = {"x": source.arrays["x"], "weight": (np.arange(6) != ids[4]).astype(np.float32)}

    class WithHole(dl.data.Examples):
        def fetch(self, source, ids):
            return super().fetch(source, ids) | {"weight": arrays["weight"][ids]}

    holed = WithHole(**{f.name: getattr(one, f.name) for f in dataclasses.fields(one)} | {"num_steps": None})
    assert [batch["weight"].tolist() for batch in holed.batches()] == [[1, 1, 1, 1], [0, 1, 0, 0]]


@pytest.mark.parametrize("mixing", [mix.mixup(1.0, 3), mix.cutmix(1.0, 3)], ids=["mixup", "cutmix"])
def test_padding_is_not_mixed_into_an_example(mixing):
    """The neighbor of the first example is the last one, which is padding here."""
    image = np.zeros((4, 8, 8, 1), np.float32)
    image[3] = 1
    batch = {"image": image, "label": np.array([0, 0, 1, 2]), "id": np.arange(4), "weight": np.array([1.0, 1, 1, 0])}
    mixed = mixing(jax.random.key(0), jax.tree.map(jax.numpy.asarray, batch))
    np.testing.assert_array_equal(mixed["image"][:3], image[:3])
    assert mixed["label"][0].tolist() == [1, 0, 0]
    assert 0 < mixed["label"][2][1] < 1  # its neighbor is real
    np.testing.assert_array_equal(mixed["weight"], batch["weight"])
