"""`Images`: metadata without opening, batches as a function of the step, the same from memory and from the device."""

import dataclasses
import hashlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data import Images, arrays, augment
from deeplab.data.prepare import cache


def digits(**kwargs) -> Images:
    return Images("digits", **({"batch_size": 100, "epochs": 1} | kwargs))


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist"])
def test_metadata_opens_nothing(name, monkeypatch):
    monkeypatch.setattr(cache, "arrays", lambda *_: pytest.fail("opened"))
    data = Images(name, batch_size=10, epochs=2)
    assert data.num_classes == len(data.class_names) == 10
    assert data.num_steps == math.ceil(2 * data.num_examples("train") / 10)
    assert len(data.normalize.mean) == len(data.normalize.std) == data.image_shape[-1] == 1
    assert data.spec()["image"].shape == (10, *data.image_shape)


def test_digits_are_split_as_documented():
    labels = {split: np.asarray(digits().open(split).arrays["label"]) for split in ("train", "test")}
    assert {split: len(label) for split, label in labels.items()} == {"train": 1437, "test": 360}
    assert np.bincount(labels["test"]).tolist() == [36, 36, 36, 36, 37, 36, 36, 36, 35, 36]
    # The split of published numbers: it must not change with a version of scikit-learn or of ours.
    images = np.asarray(digits().open("test").arrays["image"])
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "f8da3231f745dc76"


def test_declared_moments_are_those_of_the_training_images():
    image = np.asarray(digits().open("train").arrays["image"]) / 255
    normalize = digits().normalize
    np.testing.assert_allclose(image.mean((0, 1, 2)), normalize.mean, atol=1e-4)
    np.testing.assert_allclose(image.std((0, 1, 2)), normalize.std, atol=1e-4)
    batch = digits().transform({"image": np.asarray(digits().open("train").arrays["image"])})
    normalized = normalize(batch["image"])
    np.testing.assert_allclose([normalized.mean(), normalized.std()], [0, 1], atol=1e-3)


@settings(max_examples=10, deadline=None)
@given(start=st.integers(0, 13), seed=st.integers(0, 5))
def test_resumed_batches_are_those_of_a_straight_run(start, seed):
    data = digits(epochs=None, num_steps=15)
    straight = list(data.batches(seed=seed))[start:]
    for one, other in zip(straight, data.batches(start=start, seed=seed), strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_steps_asked_for_together_are_those_asked_for_one_by_one():
    data = digits()
    together = data.train_ids(3, seed=1, count=4)
    np.testing.assert_array_equal(together, np.concatenate([data.train_ids(step, 1) for step in range(3, 7)]))


def test_an_evaluation_sees_each_example_once():
    batches = list(digits().batches("test"))
    ids, weights = (np.concatenate([batch[k] for batch in batches]) for k in ("id", "weight"))
    assert len(ids) == 400
    assert sorted(ids[weights > 0]) == list(range(360))


def test_the_device_gathers_what_the_host_gathers():
    data = digits()
    source = data.open("train")
    resident = dataclasses.replace(source, arrays={k: jnp.asarray(v) for k, v in source.arrays.items()})
    ids = data.train_ids(2, seed=0)[0]
    on_device = jax.jit(lambda arrays, ids: data.fetch(dataclasses.replace(source, arrays=arrays), ids))
    host, device = data.fetch(source, ids), on_device(resident.arrays, ids)
    jax.tree.map(np.testing.assert_array_equal, host, device)
    assert jax.tree.map(lambda x: x.dtype, host) == jax.tree.map(lambda x: np.dtype(x.dtype), device)


def test_batches_are_as_specified():
    data = digits(augment=augment.shift(1))
    batch = jax.jit(data.transform)(next(data.batches()), jax.random.key(0))
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {k: (s.shape, s.dtype) for k, s in data.spec().items()}


def test_an_example_is_augmented_alike_in_any_batch():
    data = digits(augment=augment.chain(augment.shift(2), augment.rotate(20.0)))
    source, key, transform = data.open("train"), jax.random.key(7), jax.jit(data.transform)

    def image(ids, key=key):
        return transform(data.fetch(source, ids), key)["image"]

    whole = image(np.arange(12))
    np.testing.assert_allclose(whole, image(np.arange(12)[::-1])[::-1], atol=1e-6)
    np.testing.assert_allclose(whole[:6], image(np.arange(6)), atol=1e-6)
    assert not np.allclose(whole, image(np.arange(12), jax.random.key(8)))
    np.testing.assert_allclose(
        image(np.arange(12), None), jax.jit(digits().transform)(data.fetch(source, np.arange(12)))["image"]
    )


def test_a_float_of_an_augmentation_may_be_traced():
    data = digits()
    batch = data.fetch(data.open("train"), np.arange(8))

    def augmented(degrees):
        return digits(augment=augment.rotate(degrees)).transform(batch, jax.random.key(0))

    degrees = jnp.array([0.0, 30.0])
    together = jax.jit(jax.vmap(lambda d: augmented(d)["image"]))(degrees)
    for member, alone in zip(together, degrees, strict=True):
        np.testing.assert_allclose(member, jax.jit(augmented)(alone)["image"], atol=1e-5)


def test_the_synthetic_twin_has_the_same_batches_but_for_their_size(monkeypatch):
    monkeypatch.setattr(cache, "arrays", lambda *_: pytest.fail("opened"))
    data = Images("mnist", batch_size=128, epochs=10, augment=augment.shift(1))
    twin = data.synthetic(batch_size=8, num_steps=4)
    transform = jax.jit(twin.transform)
    batches = [transform(batch, jax.random.key(0)) for batch in twin.batches()]
    assert len(batches) == twin.num_steps == 4
    for name, spec in data.spec().items():
        assert (batches[0][name].shape[1:], batches[0][name].dtype) == (spec.shape[1:], spec.dtype)
    assert sum(float(b["weight"].sum()) for b in twin.batches(twin.eval_split)) == twin.num_examples("test") == 12
    assert (twin.class_names, twin.normalize) == (data.class_names, data.normalize)


@pytest.mark.parametrize("given", [{}, {"epochs": 1, "num_steps": 1}])
def test_exactly_one_length_is_given(given):
    with pytest.raises(UserError, match="exactly one"):
        Images("digits", **given)


def test_arrays_in_memory():
    rng = np.random.default_rng(0)
    split = rng.integers(0, 256, (20, 5, 4, 3), np.uint8), np.arange(20) % 4
    data = Images(arrays({"train": split, "test": split}), batch_size=8, epochs=2)
    assert (data.num_classes, data.image_shape, data.num_steps) == (4, (5, 4, 3), 5)
    batch = next(data.batches())
    np.testing.assert_array_equal(batch["image"], split[0][batch["id"]])
    np.testing.assert_array_equal(batch["label"], split[1][batch["id"]])
    as_floats = Images(arrays({"train": (split[0] / np.float32(255), split[1])}), batch_size=8, epochs=2)
    np.testing.assert_allclose(
        data.transform(batch)["image"], as_floats.transform(next(as_floats.batches()))["image"], atol=1e-6
    )
