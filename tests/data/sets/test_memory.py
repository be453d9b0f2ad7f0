"""Arrays in memory: any names and targets, wrapped and not copied, with clear errors and a digest."""

import jax
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data import Examples, Images, arrays
from deeplab.data.sets.fields import Field

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def table(**changes) -> Examples:
    split = {"x": X, "y": np.arange(12, dtype=np.float64)} | changes
    return Examples({"train": split, "test": {name: a[:5] for name, a in split.items()}}, batch_size=4, epochs=2)


def test_a_table_with_a_float_target():
    data = table()
    assert (data.num_steps, data.num_examples("test"), data.class_names) == (6, 5, ())
    batch = next(data.batches())
    np.testing.assert_array_equal(batch["x"], X[batch["id"]])
    np.testing.assert_array_equal(batch["y"], batch["id"].astype(np.float32))
    spec = data.spec()
    assert {name: (a.shape, a.dtype) for name, a in batch.items()} == {n: (s.shape, s.dtype) for n, s in spec.items()}
    assert sum(b["weight"].sum() for b in data.batches("test")) == 5


def test_the_arrays_are_not_copied():
    data = table()
    assert np.shares_memory(data.open("train").arrays["x"], X)


@pytest.mark.parametrize(
    ("target", "field"),
    [
        (np.zeros((12, 2), np.float32), Field((2,), "float32")),
        (np.zeros((12, 7), bool), Field((7,), "bool")),
        (np.arange(12, dtype=np.int64) - 2, Field((), "int32", -2, 10)),
        (np.full((12, 4), 200, np.uint8), Field((4,), "uint8", 0, 256)),
    ],
)
def test_any_target(target, field):
    data = table(y=target)
    assert data.builder.fields["y"] == field
    batch = next(data.batches())
    np.testing.assert_array_equal(batch["y"], target[batch["id"]])
    assert batch["y"].dtype == field.dtype
    twin = data.synthetic(batch_size=4)
    assert twin.spec() == data.spec()
    if field.below is not None:
        made = np.concatenate([b["y"].reshape(-1) for b in twin.batches()])
        assert made.min() >= field.low
        assert made.max() < field.below


def test_integer_labels_are_classes_and_other_targets_are_none():
    assert table(label=np.arange(12) % 3).class_names == ("0", "1", "2")
    assert table(label=np.zeros(12, np.float32)).class_names == ()
    assert table(label=np.zeros((12, 3), np.int32)).class_names == ()
    with pytest.raises(UserError, match="arrays has no classes"):
        _ = table().num_classes


@pytest.mark.parametrize("make", [np.array, lambda texts: np.array(texts, object), list], ids=["str", "object", "list"])
def test_texts_are_numbered_by_their_sorted_order(make):
    texts = ["pear", "apple", "fig", "apple"] * 3
    split = {"x": X, "label": make(texts)}
    data = Examples({"train": split, "test": split}, batch_size=4, epochs=1)
    assert (data.class_names, data.num_classes) == (("apple", "fig", "pear"), 3)
    for batch in data.batches():
        assert [data.class_names[label] for label in batch["label"]] == [texts[i] for i in batch["id"]]
    assert batch["label"].dtype == np.int32
    named = arrays({"train": {"x": X, "label": make(texts)}}, class_names=("pear", "fig", "apple"))
    assert named.read("train", None)["label"].tolist() == [0, 2, 1, 2] * 3
    images = np.zeros((12, 2, 2, 1), np.uint8)
    assert Images({"train": (images, make(texts))}, batch_size=4, epochs=1).class_names == data.class_names


def test_texts_that_are_no_class():
    with pytest.raises(UserError, match="split 'train' of arrays is 'b', expected one of the classes a, c"):
        arrays({"train": {"x": X[:2], "label": ["a", "b"]}}, class_names=("a", "c"))
    with pytest.raises(UserError, match="split 'train' of arrays are texts, and those of split 'test' are not"):
        arrays({"train": {"label": ["a", "b"]}, "test": {"label": [0, 1]}})


def test_classes_are_those_of_all_splits():
    data = arrays({"train": {"label": ["b", "c"]}, "test": {"label": ["a", "c"]}})
    assert data.class_names == ("a", "b", "c")
    assert [data.read(split, None)["label"].tolist() for split in ("train", "test")] == [[1, 2], [0, 2]]


def test_images_without_labels():
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1), np.uint8)
    data = Images({"train": {"image": images}, "test": {"image": images}}, batch_size=4, epochs=1)
    assert sorted(data.spec()) == ["id", "image", "weight"]
    batch = next(data.batches())
    np.testing.assert_allclose(data.transform(batch)["image"] * 255, images[batch["id"]], rtol=1e-6)
    named = Images(arrays({"train": {"image": images, "age": X[:, 0]}}), batch_size=4, epochs=1)
    assert named.spec()["age"].shape == (4,)


def test_images_say_what_they_need():
    with pytest.raises(UserError, match=r"hold \['id', 'weight', 'x', 'y'\], and no field 'image'"):
        Images(table().builder, epochs=1).spec()
    integers = {"image": np.zeros((12, 4, 4, 1), np.int32)}
    with pytest.raises(UserError, match="images are int32, expected uint8, or floats"):
        Images({"train": integers}, batch_size=4, epochs=1).spec()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros(11)}, "differ in length: 'x' 12, 'y' 11"),
        ({"y": np.array(["a"] * 12)}, "'y' .* has dtype <U1, expected numbers or booleans; encode"),
        ({"y": np.array([[1], [1, 2]] * 6, object)}, "'y' .* has dtype object, .*rows of unequal length"),
        ({"y": np.float32(3)}, "'y' .* is a scalar"),
        ({"id": np.zeros(12)}, "expected one or more names other than 'id' and 'weight'"),
    ],
)
def test_what_cannot_be_a_batch_is_refused_at_once(changes, message):
    with pytest.raises(UserError, match=message):
        Examples({"train": {"x": X} | changes}, batch_size=4, epochs=1)


def test_splits_have_the_same_fields():
    with pytest.raises(
        UserError, match=r"split 'test' of arrays holds x float32\[2\], and split 'train' x float32\[3\]"
    ):
        arrays({"train": {"x": X}, "test": {"x": X[:, :2]}})
    with pytest.raises(UserError, match="arrays are empty"):
        arrays({})


def test_values_are_checked_when_a_split_is_opened():
    broken = X.copy()
    broken[7, 1] = np.nan
    with pytest.raises(UserError, match=r"'x' of example 7 in split 'train' of arrays is not finite \(1 such"):
        table(x=broken).open("train")
    with pytest.raises(UserError, match="'y' of split 'train' of arrays has values that int32 cannot hold"):
        table(y=np.full(12, 2**40)).open("train")
    with pytest.raises(UserError, match="'y' of split 'train' of arrays has values that float32 cannot hold; scale"):
        table(y=np.full(12, 1e39)).open("train")  # which became infinite in a batch
    with pytest.raises(UserError, match="complex64 cannot hold; scale"):
        table(y=np.full(12, 1e39j)).open("train")


def test_arrays_in_the_byte_order_of_another_machine():
    """JAX takes none: a TypeError without a name."""
    data = table(x=X.astype(">f4"), y=np.arange(12, dtype=">i8"))
    batch = data.fetch(data.open("train"), np.arange(12))
    np.testing.assert_array_equal(batch["x"], X)
    assert batch["x"].dtype.isnative
    assert jax.device_put(data.open("train").arrays)["y"].tolist() == [*range(12)]


def test_the_digest_is_that_of_the_content():
    same, other = table().builder, table(y=np.arange(12.0) + 1).builder
    assert table().builder.digest == same.digest != other.digest
    assert same.version == same.digest[:16]
    assert table(y=np.arange(12, dtype=np.float32)).builder.digest != same.digest  # another dtype
