"""Vocabularies lose nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.features import vocab

UNICODE = st.text(st.characters(exclude_categories=["Cs"]))
TRAINED = vocab.BPE.train("the cat sat on the mat, and the other cat sat there\nxyzzy\n" * 20, 290)


@settings(deadline=None)
@given(text=UNICODE)
def test_bytes_lose_nothing(text):
    assert vocab.Bytes().decode(vocab.Bytes().encode(text)) == text


@settings(deadline=None)
@given(text=UNICODE)
def test_characters_lose_nothing(text):
    characters = vocab.Characters.of(text)
    tokens = characters.encode(text)
    assert characters.decode(tokens) == text
    assert len(tokens) == len(text)


@settings(deadline=None)
@given(text=UNICODE)
def test_byte_pairs_lose_nothing(text):
    tokens = TRAINED.encode(text)
    assert TRAINED.decode(tokens) == text
    assert tokens.max(initial=0) < TRAINED.size


def test_byte_pairs_are_merged_where_they_are_frequent():
    assert len(TRAINED.encode("the cat sat")) < len("the cat sat") / 2
    assert len(TRAINED.encode("xyzzy")) < len("xyzzy")


def test_a_trained_vocabulary_is_its_definition(tmp_path):
    (tmp_path / "bpe.json").write_text(TRAINED.definition)
    loaded = vocab.BPE.load(tmp_path / "bpe.json")
    assert loaded.size <= TRAINED.size
    np.testing.assert_array_equal(loaded.encode("the mat\n"), TRAINED.encode("the mat\n"))


@pytest.mark.parametrize(("size", "dtype"), [(65, np.uint8), (256, np.uint8), (257, np.uint16), (70_000, np.int32)])
def test_tokens_take_the_smallest_type(size, dtype):
    points = [chr(i) for i in range(0x100, 0x100 + size + 0x800) if not 0xD800 <= i <= 0xDFFF][:size]
    characters = vocab.Characters("".join(points))
    tokens = characters.encode(points[0] + points[-1])
    assert tokens.dtype == dtype
    assert tokens.tolist() == [0, size - 1]


def test_keys_tell_vocabularies_apart():
    keys = [v.key for v in (vocab.Bytes(), vocab.Characters("ab"), vocab.Characters("ba"), TRAINED)]
    assert len(set(keys)) == 4


def test_an_unknown_character_is_named():
    with pytest.raises(UserError, match=r"character 'x' \(position 1\) is not among the 3"):
        vocab.Characters("abc").encode("axb")


def test_text_that_is_not_utf8_is_named():
    with pytest.raises(UserError, match="byte 0xff at 2"):
        vocab.Characters.of(b"ab\xff")


def saved(folder, change) -> Path:
    definition = json.loads(TRAINED.definition)
    change(definition)
    (folder / "tokenizer.json").write_text("\ufeff" + json.dumps(definition), encoding="utf-8")
    return folder / "tokenizer.json"


def special(definition: dict) -> None:
    """`<s>` and `</s>` around every text, as the tokenizers of many models ask for."""
    for number, token in enumerate(("<s>", "</s>"), start=TRAINED.size):
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        definition["added_tokens"].append({"id": number, "content": token, "special": True} | flags)
    definition["post_processor"] = {
        "type": "BertProcessing", "sep": ["</s>", TRAINED.size + 1], "cls": ["<s>", TRAINED.size],
    }  # fmt: skip


def cut(definition: dict) -> None:
    definition["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    definition["padding"] = {
        "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "!",
    }  # fmt: skip


@pytest.mark.parametrize("change", [special, cut])
def test_a_loaded_vocabulary_adds_and_leaves_out_nothing(tmp_path, change):
    loaded = vocab.BPE.load(saved(tmp_path, change))
    text = "the cat\nsat there\n"
    np.testing.assert_array_equal(loaded.encode(text), TRAINED.encode(text))
    assert loaded.decode(loaded.encode(text)) == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(normalizer={"type": "Lowercase"}), r"changes a text: .* becomes 'two  words,\\té\\n'"),
        (lambda d: d["pre_tokenizer"].update(add_prefix_space=True), "changes a text: .* becomes ' Two"),
        (lambda d: d["model"]["vocab"].update({"▁word": 290}), "no byte-level tokenizer"),
        (lambda d: d.pop("model"), "no byte-level tokenizer .not a tokenizer's JSON"),
    ],
)
def test_tokenizers_that_change_a_text_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=rf"tokenizer\.json is .*{message}"):
        vocab.BPE.load(saved(tmp_path, change))


def test_a_tokenizer_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json cannot be read"):
        vocab.BPE.load(tmp_path / "gone.json")
