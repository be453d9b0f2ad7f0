"""A summary tells what a set holds, and what leaks, whatever the set is."""

import numpy as np
import pytest

import deeplab as dl
from deeplab.data.sets import SETS, leaks, summary

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 6, 6, 1), np.uint8)


def told(train, test, validation=None, **options):
    splits = {"train": train, "test": test} | ({"validation": validation} if validation else {})
    made = dl.data.arrays({name: {"image": x, "label": y} for name, (x, y) in splits.items()}, **options)
    return dl.data.Images(made, epochs=1).summary()


def test_splits_fields_and_classes():
    label = np.arange(40) % 3
    found = told((IMAGES[:40], label), (IMAGES[40:], label[:20]), class_names=("a", "b", "c"))
    assert found.sizes == {"train": 40, "test": 20}
    assert found.rows[0][:2] == ("image", "uint8[6, 6, 1]")
    assert found.rows[0][2] == f"{IMAGES.min()} to {IMAGES.max()}"
    assert found.rows[1] == ("label", "int32[]", "0 to 2", "a, b, c")
    assert found.counts == {
        "a": {"train": 14, "test": 7}, "b": {"train": 13, "test": 7}, "c": {"train": 13, "test": 6},
    }  # fmt: skip
    assert found.notes == ()
    text = str(found)
    assert "arrays: train 40 examples, test 20 examples" in text
    assert any(line.split() == ["b", "13", "7"] for line in text.splitlines())


def test_what_may_be_wrong():
    x = IMAGES.copy()
    x[41:44], x[50], x[30] = x[:3], x[45], 7
    label = np.array([0] * 38 + [1] * 2)
    found = told((x[:40], label), (x[40:50], label[:10]), (x[50:], np.full(10, 2)), class_names=("a", "b", "c"))
    assert found.notes == (
        "3 of 10 examples of split 'test' are equal to a training example",
        "1 of 10 examples of split 'validation' are equal to one of split 'test'",
        "1 training examples have a 'image' of one value only",
        "classes without training examples: c",
    )
    many = told((IMAGES[:41], np.array([0] * 40 + [1])), (IMAGES[41:], np.zeros(19, int)))
    assert many.notes == ("class '0' is 40 times as frequent as '1'; class_weights of the task count",)
    same = told((np.full_like(IMAGES[:4], 9), label[:4]), (IMAGES[4:6], label[:2]))
    assert same.notes[0] == "'image' is 9 in all training examples"


@pytest.mark.parametrize("chunk", [1, 100, 2**24])
def test_a_chunk_changes_nothing(chunk, monkeypatch):
    """The summary of the digits, whatever is in memory at once."""
    expected = SETS["digits"].summary()
    monkeypatch.setattr(summary, "_CHUNK", chunk * 68)  # bytes of an example
    assert SETS["digits"].summary() == expected


def test_no_more_than_a_chunk_is_fetched(monkeypatch):
    monkeypatch.setattr(summary, "_CHUNK", 68 * 100)
    sizes = []
    digits = SETS["digits"]

    def fetch(source, ids):
        sizes.append(len(ids))
        return digits.fetch(source, ids)

    sources = {split: digits.open(split) for split in digits.splits}
    summary.summarize("digits", digits.splits, digits.fields, digits.class_names, sources, fetch, {})
    assert max(sizes) == 100
    assert sum(sizes) == sum(digits.splits.values())


def test_a_part_of_a_large_split_is_told(monkeypatch):
    monkeypatch.setattr(summary, "_STORED", 68 * 100)
    assert "the first 100 of 1,437 examples of split 'train' were looked at" in SETS["digits"].summary().notes


def test_several_labels_masks_and_texts(tmp_path):
    several = {"x": np.eye(4, dtype=np.float32), "label": np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool)}
    found = dl.data.arrays({"train": several, "test": several}, class_names=("cat", "dog")).summary()
    assert found.counts == {"cat": {"train": 3, "test": 3}, "dog": {"train": 1, "test": 1}}
    assert found.rows[1][3] == "cat, cat+dog, none"
    assert found.notes[0] == "4 of 4 examples of split 'test' are equal to a training example"
    assert dl.data.held_out(dl.data.arrays({"train": several}), 2).summary().sizes == {"train": 2, "validation": 2}
    path = tmp_path / "novel.txt"
    path.write_text("Call me Ishmael.\n" * 100)
    assert "'Call me Ishmael." in str(dl.data.text_lines(path).summary())


@pytest.mark.parametrize("name", ["breast_cancer", "python_stdlib"])
def test_sets_that_need_no_files(name):
    assert str(SETS[name].summary()).startswith(f"{name}: train ")


def test_equal_rows_have_equal_digests():
    rows = RNG.integers(0, 3, (200, 3))
    ours, (_, theirs) = leaks.digests([rows[:, :2], rows[:, 2:]]), np.unique(rows, axis=0, return_inverse=True)
    np.testing.assert_array_equal(ours[:, None] == ours[None], np.equal.outer(theirs.reshape(-1), theirs.reshape(-1)))
