"""Parts of a training split: what is held out, and what a fraction of the rest is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data import Images, arrays, held_out


def numbered(size: int, every: int):
    """A set whose images tell their number."""
    image = np.arange(size, dtype=np.float32).reshape(-1, 1, 1, 1) / 1000
    split = (image, np.zeros(size, int))
    return held_out(arrays({"train": split, "test": split}), every=every)


def numbers(dataset, split):
    return np.round(1000 * dataset.open(split).arrays["image"].reshape(-1)).astype(int).tolist()


@settings(max_examples=25, deadline=None)
@given(size=st.integers(2, 60), every=st.integers(2, 12))
def test_the_parts_are_the_training_split(size, every):
    dataset = numbered(size, every)
    train, validation = numbers(dataset, "train"), numbers(dataset, "validation")
    assert sorted(train + validation) == list(range(size))
    assert validation == list(range(0, size, every))
    assert dict(dataset.splits) == {"train": len(train), "validation": len(validation), "test": size}
    assert numbers(dataset, "test") == list(range(size))


def test_it_is_a_set_like_any_other():
    data = Images(held_out("digits", every=10), batch_size=50, epochs=1, eval_split="validation")
    assert (data.num_examples("train"), data.num_examples("validation"), data.num_classes) == (1293, 144, 10)
    batches = list(data.batches("validation"))
    assert sum(batch["weight"].sum() for batch in batches) == 144
    with pytest.raises(UserError, match="no split 'valid'"):
        data.open("valid")


def test_what_cannot_be_held_out_is_told():
    with pytest.raises(UserError, match="every is 1"):
        held_out("digits", every=1)
    with pytest.raises(UserError, match="a validation split already"):
        held_out(held_out("digits"))
    with pytest.raises(UserError, match="did you mean 'digits'"):
        held_out("digit")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), small=st.floats(0.001, 1), large=st.floats(0.001, 1))
def test_a_fraction_is_nested_and_a_function_of_the_seed(seed, small, large):
    """Each epoch gives every one of its examples once, and no other."""

    def learnt(fraction):
        data = Images("digits", batch_size=1, epochs=1, train_fraction=fraction)
        assert data.num_train == data.num_steps == max(1, round(fraction * 1437))
        ids = data.train_ids(0, seed, 2 * data.num_train).reshape(2, -1)
        assert set(ids[0]) == set(ids[1])
        assert len(set(ids[0])) == data.num_train
        return set(ids[0].tolist())

    small, large = sorted((small, large))
    assert learnt(small) <= learnt(large)


def test_seeds_learn_from_different_parts_and_a_whole_is_as_ever():
    data = Images("digits", batch_size=12, epochs=1, train_fraction=0.1)
    parts = [set(data.train_ids(0, seed, 12).flat) for seed in (0, 1)]
    assert [len(part) for part in parts] == [144, 144]  # an epoch, so that the order is nothing to the sets
    assert parts[0] != parts[1]
    whole = Images("digits", batch_size=10, epochs=1)
    assert sorted(whole.train_ids(0, 3, 143).flat) != list(range(1430))
    assert set(whole.train_ids(0, 3, 143).flat) <= set(range(1437))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_a_fraction_outside_is_told(fraction):
    with pytest.raises(UserError, match="train_fraction"):
        Images("digits", batch_size=10, epochs=1, train_fraction=fraction)
