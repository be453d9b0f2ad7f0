"""WikiText-2, and what is counted per word: the published numbers of words, whatever the tokens."""

import dataclasses
import hashlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data.features.vocab import BPE, Bytes, Characters
from deeplab.data.sets.text import wikitext
from deeplab.data.text import Text, counts
from deeplab.tasks.language import LanguageModeling

LINES = " \n = Ein Käfer = \n \n The <unk> of it , is 3 @.@ 5 m . \n"
PARTS = {"train": LINES * 30, "validation": LINES * 4, "test": LINES * 6 + " \n"}


@pytest.fixture
def folder(tmp_path, monkeypatch, cache):
    """Both forms of the set, made up."""
    for file, split in (("_VALID", "validation"), ("_TEST", "test")):
        content = PARTS[split].encode()
        digest = hashlib.sha256(content).hexdigest()
        made = dataclasses.replace(getattr(wikitext, file), size=len(content), sha256=digest)
        monkeypatch.setattr(wikitext, file, made)
        (tmp_path / made.name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "wikitext-2-v1.zip", "w") as archive:
        for split, stem in (("train", "train"), ("validation", "valid"), ("test", "test")):
            archive.writestr(f"wikitext-2/wiki.{stem}.tokens", PARTS[split])
    digest = hashlib.sha256((tmp_path / "wikitext-2-v1.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(wikitext, "_ARCHIVE", dataclasses.replace(wikitext._ARCHIVE, archive_sha256=digest))
    return tmp_path


def text_of(learn_from, vocabulary="bpe:300") -> Text:
    return Text(wikitext.WikiText2(learn_from), vocabulary, context=8, batch_size=4, num_steps=1, eval_split="test")


@pytest.mark.parametrize(("learn_from", "train"), [("train", "train"), ("validation", "validation")])
def test_parts_are_what_they_say(learn_from, train, folder):
    data = text_of(learn_from)
    for split, part in (("train", train), ("test", "test")):
        tokens = data.open(split, folder).arrays["tokens"]
        assert data.open_vocabulary(folder).decode(tokens) == PARTS[part]


def test_without_the_archive_the_error_names_it(folder):
    (folder / "wikitext-2-v1.zip").unlink()
    with pytest.raises(UserError, match=r"has no wikitext-2-v1\.zip"):
        text_of("train").open("train", folder)


@pytest.mark.parametrize("vocabulary", ["bpe:300", "byte"])
def test_words_and_bytes_are_those_of_the_text(vocabulary, folder):
    """One pass counts each target once: all words and bytes but the first token's, whatever the tokens are."""
    data = text_of("validation", vocabulary)
    total = {"words": 0.0, "bytes": 0.0}
    for batch in data.batches("test", data_dir=folder):
        for unit in total:
            total[unit] += float((batch[unit] * batch["mask"] * batch["weight"][:, None]).sum())
    lines = PARTS["test"].removesuffix("\n").split("\n")
    words = sum(len(line.split()) + 1 for line in lines)
    first = counts(data.open("test", folder).arrays["tokens"][:1], data.open_vocabulary(folder).pieces())
    assert total["words"] == words - first[0][0]
    assert total["bytes"] == len(PARTS["test"].encode()) - first[1][0]


def test_perplexities_differ_by_what_they_are_counted_per():
    """The same nats: p per token, p^(T / W) per word, p^(T / B) per byte."""
    logits = jax.random.normal(jax.random.key(0), (2, 3, 5))
    batch = {
        "tokens": jnp.zeros((2, 3), jnp.int32), "targets": jnp.ones((2, 3), jnp.int32), "weight": jnp.ones(2),
        "mask": jnp.array([[1.0, 1, 1], [0, 1, 1]]),
        "words": jnp.array([[1.0, 0, 0], [9, 1, 0]]), "bytes": jnp.array([[3.0, 2, 1], [9, 4, 2]]),
    }  # fmt: skip
    metrics = LanguageModeling().metrics(lambda tokens: (logits, {}), batch, jax.random.key(0))
    nats = metrics["loss"].compute() * 5
    assert metrics["perplexity"].compute() == pytest.approx(np.exp(nats / 5), rel=1e-5)
    assert metrics["perplexity_word"].compute() == pytest.approx(np.exp(nats / 2), rel=1e-5)
    assert metrics["perplexity_byte"].compute() == pytest.approx(np.exp(nats / 12), rel=1e-5)


TEXT = "naïve café — “quotes”\n\tand 3.5 tabs\r\n"


@pytest.mark.parametrize("vocabulary", [Bytes(), Characters.of(TEXT), BPE.train(TEXT * 3, 280)])
def test_pieces_joined_are_the_text(vocabulary):
    pieces = vocabulary.pieces()
    assert len(pieces) == vocabulary.size
    assert b"".join(pieces[token] for token in vocabulary.encode(TEXT)) == TEXT.encode()
    words, sizes = counts(vocabulary.encode(TEXT), pieces)
    assert (words.sum(), sizes.sum()) == (7 + 2, len(TEXT.encode()))
