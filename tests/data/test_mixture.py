"""`Mixture`: each set's share is exact, its own order is kept, and a batch is a function of (seed, step)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data import Images, Mixture, Text, arrays, augment, text_lines, tfds, weighted, write


def images(size: int, level: int, **kwargs) -> Images:
    """Images whose every pixel is `level`, and whose labels count up."""
    split = np.full((size, 4, 4, 1), level, np.uint8), np.arange(size) % 2
    return Images(arrays({"train": split, "test": split}), batch_size=4, epochs=1, **kwargs)


def mixture(weights=(3, 1), **kwargs) -> Mixture:
    parts = images(30, 10), images(7, 200, augment=augment.shift(1))
    return Mixture(parts, weights, **({"batch_size": 50, "num_steps": 40} | kwargs))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.integers(0, 3))
def test_a_thousand_examples_are_shared_exactly(weights, seed):
    parts = [images(5 + k, k) for k in range(len(weights))]
    data = Mixture(parts, weights, batch_size=1000, num_steps=3)
    ends = np.cumsum([part.num_examples("train") for part in parts])
    for step in (0, 7):
        which = np.searchsorted(ends, data.train_ids(step, seed)[0], side="right")
        counts = np.bincount(which, minlength=len(parts))
        np.testing.assert_array_equal(counts, data.shares)
        np.testing.assert_allclose(counts, np.array(weights) / sum(weights) * 1000, atol=1)


def test_each_set_is_gone_through_epoch_after_epoch():
    data = mixture()
    ids = data.train_ids(0, seed=2, count=40)[:, :].reshape(-1)
    assert np.all(np.bincount(ids[ids < 30]) == 1500 // 30)
    np.testing.assert_allclose(np.bincount(ids[ids >= 30] - 30), 500 / 7, atol=1)


@settings(max_examples=10, deadline=None)
@given(step=st.integers(0, 60), count=st.integers(1, 5), seed=st.integers(0, 3))
def test_steps_asked_for_together_are_those_asked_for_one_by_one(step, count, seed):
    data = mixture()
    one_by_one = np.concatenate([data.train_ids(s, seed) for s in range(step, step + count)])
    np.testing.assert_array_equal(data.train_ids(step, seed, count), one_by_one)


def test_a_batch_holds_examples_of_its_sets():
    data = mixture()
    source = data.open("train")
    batch = data.fetch(source, data.train_ids(3, 0)[0])
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], np.where(batch["set"] == 0, 10, 200))
    own = np.where(batch["set"] == 0, batch["id"], batch["id"] - 30)
    np.testing.assert_array_equal(batch["label"], own % 2)


def test_the_device_gathers_what_the_host_gathers():
    data = mixture()
    source, ids = data.open("train"), data.train_ids(3, 0)[0]
    on_device = {name: jnp.asarray(array) for name, array in source.arrays.items()}
    host = data.fetch(source, ids)
    device = jax.jit(lambda a, ids: data.fetch(dataclasses.replace(source, arrays=a), ids))(on_device, ids)
    jax.tree.map(np.testing.assert_array_equal, host, device)
    assert {k: v.dtype for k, v in host.items()} == {k: v.dtype for k, v in device.items()}


def test_each_example_is_transformed_as_its_own_set_does_it():
    data, key = mixture(), jax.random.key(5)
    batch = data.fetch(data.open("train"), data.train_ids(0, 0)[0])
    out = jax.jit(data.transform)(batch, key)
    assert {k: (v.shape, v.dtype) for k, v in out.items()} == {k: (s.shape, s.dtype) for k, s in data.spec().items()}
    raw = {name: array for name, array in batch.items() if name != "set"}
    for k, part in enumerate(data.parts):
        rows = batch["set"] == k
        np.testing.assert_allclose(out["image"][rows], jax.jit(part.transform)(raw, key)["image"][rows], atol=1e-6)


def test_an_evaluation_sees_each_example_of_each_set_once():
    batches = list(mixture().batches("test"))
    ids, weight, which = (np.concatenate([b[k] for b in batches]) for k in ("id", "weight", "set"))
    assert sorted(ids[weight > 0]) == list(range(37))
    assert np.bincount(which[weight > 0]).tolist() == [30, 7]


def test_a_set_on_the_disk_and_one_in_memory(tmp_path):
    part = images(12, 90)
    path = write(part.builder, tmp_path)
    on_disk = dataclasses.replace(part, dataset=tfds(path, keep="records"), num_steps=None)
    data = Mixture((images(9, 10), on_disk), batch_size=8, num_steps=2)
    for batch in data.batches():
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], np.where(batch["set"] == 0, 10, 90))


def named(names, label):
    """Images of one label, among classes of these names."""
    split = (np.zeros((4, 2, 2, 1), np.uint8), np.full(4, label))
    return Images(arrays({"train": split, "test": split}, class_names=names), batch_size=4, epochs=1)


def test_a_label_stands_for_one_class():
    cats, dogs = named(("bird", "cat"), 1), named(("bird", "dog"), 1)
    for read in (lambda x: x.class_names, lambda x: x.spec(), lambda x: x.open("train")):
        with pytest.raises(UserError, match="the classes bird, cat and bird, dog, so that one label would stand"):
            read(Mixture((cats, dogs), batch_size=4, num_steps=1))
    more = named(("bird", "cat", "dog"), 2)
    assert Mixture((cats, more), batch_size=4, num_steps=1).class_names == ("bird", "cat", "dog")


def test_a_token_stands_for_one_text(tmp_path):
    texts = []
    for name, content in (("a", "abc\n" * 99), ("b", "abd\n" * 99)):
        (tmp_path / f"{name}.txt").write_text(content)
        texts.append(Text(text_lines(tmp_path / f"{name}.txt"), "char", context=4, batch_size=2, num_steps=1))
    with pytest.raises(UserError, match=r"vocabularies char-.*, char-.*; give them the same one"):
        Mixture(texts, batch_size=2, num_steps=1, eval_split="validation").open("train")
    same = (texts[0], texts[0])
    assert Mixture(same, batch_size=2, num_steps=1, eval_split="validation").open("train").size == 2 * texts[
        0
    ].num_examples("train")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture(()), "no sets"),
        (lambda: mixture(weights=(1,)), "expected 2 numbers, one for each set"),
        (lambda: mixture(weights=(1, -1)), "weights is -1, expected above 0"),
        (lambda: mixture(weights=(1, 1e-5)).train_ids(0, 0), "below a thousandth"),
        (lambda: Mixture((images(5, 0), Images("digits", epochs=1)), normalize=None).spec(), "batches of set 1"),
        (lambda: Mixture((images(5, 0), images(5, 0, normalize=None))), "a model has one normalization"),
        (  # labels [B] of one set were broadcast against [B, K] of the other
            lambda: Mixture((images(5, 0), images(5, 0, mix=augment.mix.mixup(0.2, 2)))),
            "set 1 of a mixture has mix=, which would mix the examples of all sets; leave it out",
        ),
        (  # whose weights were looked up by the mixture's numbers
            lambda: Mixture((weighted(images(5, 0), np.ones(5)), images(5, 0))),
            "set 0 of a mixture is weighted by its examples' numbers, .*; leave out",
        ),
    ],
)
def test_what_does_not_mix_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
