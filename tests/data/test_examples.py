"""Examples of any kind: the contract of `Data`, and what is refused."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data import Examples, sets
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field
from deeplab.data.sets.synthetic import SyntheticExamples

FIELDS = {"x": Field((3,)), "label": Field((), "int32", below=4), "tokens": Field((5,), "int16", low=1, below=9)}


@dataclasses.dataclass(frozen=True, eq=False)
class Given(ExampleSet):
    """Arrays that a test gives."""

    arrays: Mapping[str, np.ndarray]
    name: str = "given"
    version: str = "1.0.0"
    citation: str = ""
    cached: ClassVar[bool] = False

    @property
    def splits(self):
        return {"train": 6}

    @property
    def fields(self):
        return FIELDS

    def read(self, split, content):
        return dict(self.arrays)


def good() -> dict[str, np.ndarray]:
    return SyntheticExamples(FIELDS, (("train", 6),)).read("train", None)


def noisy(example, key):
    noise = 0.0 if key is None else jax.random.normal(key, (3,))
    return example | {"x": 2 * example["x"] + noise}


def data(**changes) -> Examples:
    dataset = SyntheticExamples(FIELDS, (("train", 10), ("test", 7)), tuple("abcd"))
    return Examples(dataset, batch_size=4, epochs=2, prepare=noisy, **changes)


def test_batches_are_what_the_spec_says():
    batch = data().transform(next(data().batches("test")), None)
    spec = data().spec()
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {k: (v.shape, v.dtype) for k, v in spec.items()}
    assert batch["id"].tolist() == [0, 1, 2, 3]


def test_an_evaluation_reads_each_example_once():
    batches = list(data().batches("test"))
    counted = np.concatenate([b["id"][b["weight"] > 0] for b in batches])
    assert counted.tolist() == list(range(7))


def test_augmentation_belongs_to_the_example():
    batch, key = next(data().batches("train")), jax.random.key(3)
    whole = data().transform(batch, key)
    alone = data().transform({k: v[2:3] for k, v in batch.items()}, key)
    np.testing.assert_array_equal(whole["x"][2], alone["x"][0])
    assert not np.allclose(whole["x"], data().transform(batch)["x"])


def test_mix_comes_in_training_alone():
    mixed = data(mix=lambda key, batch: batch | {"x": jnp.zeros_like(batch["x"])})
    batch = next(mixed.batches("train"))
    assert not mixed.transform(batch, jax.random.key(0))["x"].any()
    assert mixed.transform(batch)["x"].any()


def test_a_synthetic_twin_has_the_same_spec():
    assert data().synthetic(batch_size=4).spec() == data().spec()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": np.full(6, 4, np.int32)}, r"'label' of example 0 .* is 4, expected 0 to 3 \(6 such"),
        ({"label": np.array([0, 0, -1, 0, 0, 0], np.int32)}, "'label' of example 2 .* is -1, expected 0 to 3"),
        ({"tokens": np.zeros((6, 5), np.int16)}, "'tokens' of example 0 .* is 0, expected 1 to 8"),
        ({"x": np.full((6, 3), np.nan, np.float32)}, "'x' of example 0 .* is not finite"),
        ({"x": np.zeros((6, 2), np.float32)}, r"'x' .* is float32\[6, 2\], expected float32\[6, 3\]"),
        ({"more": np.zeros(6)}, r"was read as \['label', 'more', 'tokens', 'x'\]"),
    ],
)
def test_wrong_examples_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        Given(good() | change).open("train")


def test_right_examples_are_not():
    assert Given(good()).open("train").size == 6


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(UserError, match="no data set 'nonsense'"):
        sets.example_set("nonsense")
    with pytest.raises(UserError, match=r"digits is no running text; use dl\.data\.Examples"):
        sets.text_set("digits")
    with pytest.raises(UserError, match=r"tiny_shakespeare is running text, .* use dl\.data\.Text"):
        Examples("tiny_shakespeare", epochs=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Visits(ExampleSet):
    """Six visits of three patients, whose age is kept once each."""

    age: np.ndarray
    name: str = "visits"
    version: str = "1.0.0"
    citation: str = ""
    cached: ClassVar[bool] = False

    @property
    def splits(self):
        return {"train": 6}

    @property
    def fields(self):
        return {"patient": Field((), "int32", below=3), "age": Field((), "float32", per="patient")}

    def read(self, split, content):
        return {"patient": np.array([0, 2, 1, 2, 0, 1], np.int32), "age": self.age}


def test_a_field_per_index_is_the_row_of_its_table():
    visits = Examples(Visits(np.array([40, 50, 60], np.float32)), batch_size=6, epochs=1)
    source = visits.open("train")
    on_host = visits.fetch(source, np.arange(6))
    on_device = jax.jit(lambda arrays: visits.fetch(dataclasses.replace(source, arrays=arrays), jnp.arange(6)))
    assert on_host["age"].tolist() == on_device(dict(source.arrays))["age"].tolist() == [40, 60, 50, 60, 40, 50]
    assert visits.spec()["age"].shape == (6,)
    twin = visits.synthetic(batch_size=4)
    assert twin.open("train").arrays["age"].shape == (3,)
    assert next(twin.batches("train"))["age"].shape == (4,)


def test_a_table_has_a_row_for_each_value_of_its_index():
    with pytest.raises(UserError, match=r"'age' .* is float32\[6\], expected float32\[3\]"):
        Visits(np.ones(6, np.float32)).open("train")
