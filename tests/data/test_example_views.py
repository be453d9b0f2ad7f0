"""Views: further fields of an example, each augmented from the plain image by a key of its own."""

import jax
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data import Images, augment

RECIPE = augment.chain(augment.shift(2), augment.flip(), augment.erase(0.3))  # moves pixels and computes none
VIEWS = {"view_a": RECIPE, "view_b": RECIPE, "local": augment.resized_crop(4, 5)}


def digits(**changes):
    return Images("digits", batch_size=20, epochs=1, **changes)


@pytest.fixture(scope="module")
def batch():
    data = digits(augment=RECIPE, views=VIEWS)
    return jax.jit(data.transform)(next(data.batches()), jax.random.key(3))


def test_views_stand_beside_what_supervised_training_reads(batch):
    data = digits(augment=RECIPE)
    plain = jax.jit(data.transform)(next(data.batches()), jax.random.key(3))
    assert batch.keys() == plain.keys() | VIEWS.keys()
    for name in plain:
        np.testing.assert_array_equal(batch[name], plain[name])


def test_views_are_independent(batch):
    names = ["image", "view_a", "view_b"]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        differ = np.any(np.asarray(batch[names[one]] != batch[names[other]]), axis=(1, 2, 3))
        assert differ.mean() > 0.8


def test_a_view_belongs_to_its_example_whatever_the_batch(batch):
    data = digits(augment=RECIPE, views=VIEWS)
    few = {name: array[5:8] for name, array in next(data.batches()).items()}
    alone = jax.jit(data.transform)(few, jax.random.key(3))
    for name in VIEWS:
        np.testing.assert_allclose(alone[name], batch[name][5:8], atol=1e-6)


def test_in_an_evaluation_a_view_is_the_plain_image_at_its_size(batch):
    data = digits(augment=RECIPE, views=VIEWS)
    evaluated = jax.jit(data.transform)(next(data.batches("test")))
    np.testing.assert_array_equal(evaluated["view_a"], evaluated["image"])
    assert evaluated["local"].shape == batch["local"].shape == (20, 4, 5, 1)
    expected = jax.image.resize(evaluated["image"], (20, 4, 5, 1), "linear")
    np.testing.assert_allclose(evaluated["local"], expected, atol=1e-6)
    spec = data.spec()
    assert {name: array.shape for name, array in batch.items()} == {name: s.shape for name, s in spec.items()}


def test_a_view_replaces_no_other_field():
    with pytest.raises(UserError, match="a view is called 'label'"):
        digits(views={"label": RECIPE})


def test_data_with_views_are_hashable_and_equal_to_themselves():
    assert digits(views=VIEWS) == digits(views=VIEWS)
    assert hash(digits(views=VIEWS)) == hash(digits(views=VIEWS))
    assert digits() != digits(views=VIEWS)
