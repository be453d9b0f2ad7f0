"""Words and their features: what is split, what is numbered, what a model may learn to do without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data.features.words import PADDING, UNKNOWN, Lexicon, forget_words, split_words

SENTENCES = [split_words(s) for s in ("a cat and a dog", "a cat", "cats sleep")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Isn't it?", "is n't it ?"),
        ("don't  WON'T", "do n't wo n't"),
        ("do n't", "do n't"),  # as the Stanford treebank has it
        ("the film's 'big' idea", "the film 's ' big ' idea"),
        ("naïve, café-goer", "naïve , café - goer"),
        ("¿qué?!", "¿ qué ? !"),
        (" \t", ""),
    ],
)
def test_words(text, words):
    assert split_words(text) == words.split()


@given(st.text())
def test_splitting_again_changes_nothing(text):
    words = split_words(text)
    assert split_words(" ".join(words)) == words
    assert all(word == word.strip() != "" for word in words)


def lexicon(**changes) -> Lexicon:
    return Lexicon.of(SENTENCES, **({"num_words": 5, "num_buckets": 50, "num_features": 6} | changes))


def test_the_most_frequent_words_are_known():
    assert lexicon().words == ("a", "cat", "and")
    assert [lexicon().features(word)[0] for word in ("a", "cat", "and", "dog")] == [2, 3, 4, UNKNOWN]
    assert lexicon().knows("cat")
    assert not lexicon().knows("dog")


def test_relatives_share_ngrams():
    cat, cats, dog = (
        set(lexicon(num_features=99, num_buckets=5000).features(word)[1:]) for word in ("cat", "cats", "dog")
    )
    assert len(cat & cats) >= 2  # "<ca" and "cat"
    assert not cat & dog
    assert min(cat) >= 5
    assert max(cat) < 5005


@pytest.mark.parametrize("num_features", [1, 3, 6])
def test_encoded_sentences_are_padded_and_cut(num_features):
    small = lexicon(num_features=num_features)
    tokens = small.encode(SENTENCES, length=3)
    assert tokens.shape == (3, 3, num_features)
    assert tokens[:, :, 0].tolist() == [[2, 3, 4], [2, 3, PADDING], [UNKNOWN, UNKNOWN, PADDING]]
    for n, t in np.argwhere(tokens[:, :, 0] != PADDING):
        features = small.features(SENTENCES[n][t])
        assert tokens[n, t].tolist() == features + [PADDING] * (num_features - len(features))


def test_features_must_fit_in_16_bits():
    with pytest.raises(UserError, match=r"60000 words and 6000 buckets .* more than the 65536"):
        Lexicon((), 60_000, 6_000, 4).encode([["a"]], 1)


def test_words_are_forgotten_at_their_rate_and_only_in_training():
    tokens = jnp.asarray(lexicon().encode([["cat"] * 400], 500)[0])
    example, prepare = {"tokens": tokens, "label": 1}, forget_words(0.25)
    np.testing.assert_array_equal(prepare(example, None)["tokens"], tokens)
    got = prepare(example, jax.random.key(0))
    assert got["label"] == 1
    np.testing.assert_array_equal(got["tokens"][:, 1:], tokens[:, 1:])
    np.testing.assert_array_equal(got["tokens"][400:], tokens[400:])
    assert 0.15 < np.mean(got["tokens"][:400, 0] == UNKNOWN) < 0.35
