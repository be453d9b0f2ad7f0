"""Texts as the tokens of another model: as its tokenizer says, cut and padded, and prepared anew for another one."""

import dataclasses

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

import deeplab as dl
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "what", "is", "caf\u00e9", "?")
TEXTS = (b"What is caf\xe9", "caf\u00e9 ?".encode(), b"is is is is is is is")


def tokenizer(words=WORDS):
    made = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    made.enable_padding(length=30)  # as saved ones have; the set's own length counts
    return made


@dataclasses.dataclass(frozen=True)
class Texts(ExampleSet):
    name: str = "texts"
    version: str = "1"
    citation: str = ""
    class_names: tuple[str, ...] = ("a", "b")

    @property
    def splits(self):
        return {"train": 3}

    @property
    def fields(self):
        return {"text": Field((24,), "uint8"), "label": Field((), "int32", 0, 2)}

    def read(self, split, content):
        text = np.frombuffer(
            b"".join(text.ljust(24, fill) for text, fill in zip(TEXTS, (b" ", b"\0", b" "), strict=True)), np.uint8
        )
        return {"text": text.reshape(3, 24), "label": np.array([0, 1, 0], np.int32)}


def test_tokens_are_those_of_the_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPLAB_CACHE", str(tmp_path))
    read = dl.data.tokenized(Texts(), tokenizer, vocab_size=8, length=6)
    arrays = read.open("train").arrays
    assert arrays["tokens"].tolist() == [[1, 4, 5, 6, 2, 0], [1, 6, 7, 2, 0, 0], [1, 5, 5, 5, 5, 2]]
    assert arrays["label"].tolist() == [0, 1, 0]
    other = dl.data.tokenized(Texts(), lambda: tokenizer((*WORDS[:4], *WORDS[7:3:-1])), vocab_size=8, length=6)
    assert other.open("train").arrays["tokens"][0].tolist() == [1, 7, 6, 5, 2, 0]
    assert read.open("train").arrays["tokens"][0].tolist() == [1, 4, 5, 6, 2, 0]


def test_lines_of_ones_own(tmp_path):
    (tmp_path / "mine.txt").write_text("what ?\n\nIs is\n", encoding="utf-8")
    found = dict(dl.data.tokenized(Texts(), tokenizer, vocab_size=8, length=5).read_file(tmp_path / "mine.txt"))
    assert {name: fields["tokens"].tolist() for name, fields in found.items()} == {
        "mine.txt:1": [1, 4, 7, 2, 0],
        "mine.txt:3": [1, 5, 5, 2, 0],
    }


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(dl.UserError, match="the tokenizer has 8 tokens, the model 7"):
        dl.data.tokenized(Texts(), tokenizer, vocab_size=7).open("train")
    with pytest.raises(dl.UserError, match="digits has no field 'text' to tokenize, only image, label"):
        dl.data.tokenized(dl.data.sets.example_set("digits"), tokenizer, vocab_size=8)
    with pytest.raises(dl.UserError, match=r"has no tokenizer.json; AutoTokenizer"):
        dl.hub.tokenizer(tmp_path)()
