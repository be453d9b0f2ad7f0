"""`Text`: every window to train on, and evaluations in which every target counts once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data import Text, text_lines
from deeplab.data.features import vocab
from deeplab.data.prepare import cache
from deeplab.data.sets.synthetic import SyntheticText


def random_text(train: int = 500, validation: int = 130, characters: str | None = None) -> SyntheticText:
    return SyntheticText(sizes=(("train", train), ("validation", validation)), characters=characters)


@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(10, 90), context=st.integers(1, 9), batch_size=st.integers(1, 7))
def test_an_evaluation_counts_every_target_once(tokens, context, batch_size):
    data = Text(random_text(validation=tokens), context=context, batch_size=batch_size)
    text = np.asarray(data.open("validation").arrays["tokens"])
    start = np.asarray(data.open("validation").arrays["start"])
    counted = np.zeros(tokens)
    for batch in data.batches("validation"):
        assert np.all(batch["mask"].max(axis=1) == 1)  # no window is for nothing
        place = start[batch["id"]][:, None] + np.arange(context)[None]
        np.testing.assert_array_equal(batch["tokens"], text[place])
        np.testing.assert_array_equal(batch["targets"], text[place + 1])
        np.add.at(counted, place + 1, batch["mask"] * batch["weight"][:, None])
    np.testing.assert_array_equal(counted, [0] + [1] * (tokens - 1))


def test_training_draws_every_window():
    data = Text(random_text(train=50), context=8, batch_size=7, num_steps=6)
    assert data.num_examples("train") == 42
    ids = np.concatenate([batch["id"] for batch in data.batches()])
    assert sorted(ids) == list(range(42))
    tokens = np.asarray(data.open("train").arrays["tokens"])
    for batch in data.batches():
        np.testing.assert_array_equal(batch["tokens"], np.stack([tokens[i : i + 8] for i in batch["id"]]))
        np.testing.assert_array_equal(batch["targets"], np.stack([tokens[i + 1 : i + 9] for i in batch["id"]]))
        assert batch["mask"].min() == 1


def test_the_training_split_in_one_pass_counts_every_target_once():
    data = Text(SyntheticText((("train", 50), ("validation", 20))), vocabulary="byte", context=8, batch_size=3)
    once, whole = data.in_one_pass(), data.open("validation").arrays
    source = once.open("train")
    targets = []
    for ids, weight in zip(*once.eval_ids("train"), strict=True):
        batch = once.fetch(source, ids)
        targets += batch["targets"][batch["mask"] * weight[:, None] > 0].tolist()
    assert targets == source.arrays["tokens"][1:].tolist()
    assert data.num_examples("train") == 42
    for name, array in once.open("validation").arrays.items():
        np.testing.assert_array_equal(array, whole[name])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_device_gathers_what_the_host_gathers(split):
    data = Text(random_text(), context=16, batch_size=4)
    source, ids = data.open(split), np.array([0, 3, 7, 8], np.int32)
    on_device = jax.jit(lambda arrays, ids: data.fetch(dataclasses.replace(source, arrays=arrays), ids))
    host, device = data.fetch(source, ids), on_device(jax.tree.map(jnp.asarray, dict(source.arrays)), ids)
    jax.tree.map(np.testing.assert_array_equal, host, device)
    if split == "validation":
        assert {device.pop(unit).shape for unit in ("words", "bytes")} == {(4, 16)}
    assert {k: (v.shape, v.dtype) for k, v in device.items()} == {k: (s.shape, s.dtype) for k, s in data.spec().items()}


def test_resumed_batches_are_those_of_a_straight_run():
    data = Text(random_text(), num_steps=9)
    for one, other in zip(list(data.batches(seed=3))[4:], data.batches(start=4, seed=3), strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_metadata_opens_nothing(monkeypatch):
    monkeypatch.setattr(cache, "arrays", lambda *_: pytest.fail("opened"))
    shakespeare = Text("tiny_shakespeare", context=64)
    assert (shakespeare.vocab_size, shakespeare.num_examples("train")) == (65, 1_003_854 - 64)
    assert shakespeare.num_examples("validation") == 1743
    assert Text("python_stdlib").vocab_size == 256
    assert Text("tiny_shakespeare", "bpe:4096").vocab_size == 4096


def test_the_standard_library_is_as_long_as_its_files_say():
    data = Text("python_stdlib", context=64)
    for split, size in data.builder.splits.items():
        assert len(data.open(split).arrays["tokens"]) == size
        assert data.open(split).size == data.num_examples(split)
    sizes = data.builder.splits
    assert 0.88 < sizes["train"] / sum(sizes.values()) < 0.92
    assert "import" in data.open_vocabulary().decode(data.open("validation").arrays["tokens"][:20000])


@pytest.mark.parametrize("vocabulary", ["byte", "char", "bpe:300", vocab.Bytes()])
def test_own_text_with_every_vocabulary(tmp_path, vocabulary):
    lines = [f"line {i}: the naïve fox, the näive dog\n" for i in range(60)]
    (tmp_path / "a.txt").write_text("".join(lines[:40]), encoding="utf-8")
    (tmp_path / "b.txt").write_text("".join(lines[40:]), encoding="utf-8")
    data = Text(text_lines(tmp_path), vocabulary, context=8, batch_size=4, num_steps=3)
    decode = data.open_vocabulary().decode
    parts = {split: np.asarray(data.open(split).arrays["tokens"]) for split in ("train", "validation")}
    assert decode(parts["train"]) + decode(parts["validation"]) == "".join(lines)
    assert decode(parts["validation"]).startswith("line ")
    assert max(tokens.max() for tokens in parts.values()) < data.vocab_size
    assert {split: data.open(split).size for split in parts} == {split: data.num_examples(split) for split in parts}


def test_a_text_without_line_breaks_says_how_to_get_a_validation_split(tmp_path):
    (tmp_path / "a.txt").write_text("Call me Ishmael. " * 50)
    data = Text(text_lines(tmp_path), context=8)
    assert data.open("train").size
    with pytest.raises(
        UserError, match=r"'validation' of text_lines is empty; .*: break the text into lines, give a la"
    ):
        data.open("validation")


def test_own_text_split_by_files(tmp_path):
    (tmp_path / "train.txt").write_text("abc\n" * 20)
    (tmp_path / "validation.txt").write_text("xyz\n" * 10)
    data = Text(text_lines(tmp_path), context=8)
    assert data.builder.splits == {"train": 80, "validation": 40}
    assert data.open_vocabulary().decode(data.open("validation").arrays["tokens"]) == "xyz\n" * 10


def test_changed_text_is_prepared_anew(tmp_path):
    (tmp_path / "a.txt").write_text("abc\n" * 20)
    before = Text(text_lines(tmp_path / "a.txt"), context=2).open("train").size
    (tmp_path / "a.txt").write_text("abc\n" * 40)
    assert Text(text_lines(tmp_path / "a.txt"), context=2).open("train").size > before


@pytest.mark.parametrize("vocabulary", ["byte", "char", "bpe:300", "aéö"])
def test_the_synthetic_twin_has_the_same_batches_but_for_their_size(vocabulary, monkeypatch):
    monkeypatch.setattr(cache, "publish", lambda *_: pytest.fail("wrote to the disk"))
    vocabulary = vocab.Characters(vocabulary) if vocabulary == "aéö" else vocabulary
    data = Text("tiny_shakespeare", vocabulary, context=16, batch_size=64)
    twin = data.synthetic(batch_size=8, num_steps=4)
    assert twin.vocab_size == data.vocab_size
    batches = list(twin.batches())
    assert len(batches) == 4
    assert {k: v.shape[1:] for k, v in batches[0].items()} == {k: s.shape[1:] for k, s in data.spec().items()}
    weights = np.concatenate([batch["weight"] for batch in twin.batches("validation")])
    assert weights.sum() == twin.num_examples("validation") < len(weights)


def test_unknown_vocabulary():
    with pytest.raises(UserError, match=r"'word'.*expected 'byte', 'char', 'bpe:SIZE'"):
        Text("tiny_shakespeare", "word")


@pytest.mark.parametrize("validation", [10, 1.0, -0.5, float("nan")])
def test_a_fraction_for_validation_leaves_something_to_train_on(tmp_path, validation):
    """Of a fraction of 10, one line was trained on."""
    with pytest.raises(UserError, match=r"validation is .*, expected 0 or more and below 1"):
        text_lines(tmp_path, validation=validation)
