"""Packing: every document whole and once, rows full, and no document sees another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.data import Packed, Text, text_lines
from deeplab.data.packing import first_fit, pack
from deeplab.models import GPT
from deeplab.models.text.decoders import gpt
from deeplab.tasks import LanguageModeling

T = 16
DOCUMENTS = st.lists(st.integers(1, 40), min_size=1, max_size=30).map(
    lambda lengths: [np.random.default_rng(i).integers(1, 99, n) for i, n in enumerate(lengths)]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_first_fit_puts_each_piece_where_there_is_room(lengths):
    row, start = first_fit(lengths, capacity=20)
    cells = [(r, s + i) for r, s, n in zip(row, start, lengths, strict=True) for i in range(n)]
    assert len(set(cells)) == len(cells) == sum(lengths)
    assert max(place for _, place in cells) < 20
    assert sum(np.bincount(row, weights=lengths) <= 10) <= 1  # two rows half empty would have been one


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_every_target_of_every_document_is_there_once(documents):
    rows = pack(documents, T)
    found = []
    for tokens, targets, segments in zip(rows["tokens"], rows["targets"], rows["segments"], strict=True):
        for number in range(1, segments.max(initial=0) + 1):
            inside = segments == number
            found.append((tuple(tokens[inside]), tuple(targets[inside])))
    pieces = [d[at : at + T + 1] for d in documents for at in range(0, len(d) - 1, T)]
    assert sorted(found) == sorted((tuple(p[:-1]), tuple(p[1:])) for p in pieces)


def test_a_packed_document_is_read_as_if_it_were_alone():
    """The losses, and so their gradient, are those of one row a document."""
    documents = [np.random.default_rng(n).integers(1, 99, n) for n in (9, 5, 14, 3, 30)]
    packed, alone = pack(documents, T), [pack([document], T) for document in documents]
    alone = {name: np.concatenate([one[name] for one in alone]) for name in packed}
    assert len(packed["tokens"]) == 4 < len(alone["tokens"]) == 6
    model, task = GPT(vocab_size=99, **gpt.VARIANTS["test"]), LanguageModeling()
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, T), jnp.int32))
    # Of the size that training gives them: at the start, a place hardly differs from the next.
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(jax.random.key(1), p.shape), params)

    def loss(params, rows):
        rows = rows | {"mask": (rows["segments"] > 0).astype(np.float32), "weight": np.ones(len(rows["tokens"]))}

        def apply(*inputs, **_):
            return model.apply(params, *inputs), {}

        return task.loss(apply, rows, jax.random.key(0)).loss.total

    (one, grad), (other, expected) = (jax.jit(jax.value_and_grad(loss))(params, rows) for rows in (packed, alone))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), grad, expected)
    blind = packed | {"segments": (packed["segments"] > 0).astype(np.int32)}
    assert abs(jax.jit(loss)(params, blind) - other) > 1e-2 * other


@pytest.fixture
def data(tmp_path):
    documents = ["To be", "or", "not to be: that is the question"] * 20
    path = tmp_path / "play.txt"
    path.write_text("\n\n".join(documents))
    return Packed(Text(text_lines(path), context=T, batch_size=4, num_steps=5))


def test_batches_are_as_specified(data):
    batches = list(data.batches())
    assert len(batches) == data.num_steps == 5
    transformed = jax.jit(data.transform)(batches[0], jax.random.key(0))
    got = {name: (array.shape, array.dtype) for name, array in transformed.items()}
    assert got == {name: (s.shape, s.dtype) for name, s in data.spec().items()}
    assert data.num_examples("train") == data.open("train").size
    vocabulary = data.open_vocabulary()
    row = batches[0]["tokens"][0][batches[0]["segments"][0] == 1]
    assert vocabulary.decode(row).split("\n")[0][:2] in ("To", "or", "no", "is", "e ", "th", "ti", "ha")


def test_separators_in_a_row_make_no_document(data, tmp_path):
    path = tmp_path / "gaps.txt"
    path.write_text("\n\na b\n\n\n\nc d\n\n")
    text = dataclasses.replace(data.text, dataset=text_lines(path, validation=0.0))
    rows = dataclasses.replace(data, text=text).open("train").arrays
    assert bytes(rows["tokens"][rows["segments"] == 1].astype(np.uint8)) == b"a b\n"
    assert bytes(rows["tokens"][rows["segments"] == 2].astype(np.uint8)) == b"c d\n"


def test_the_synthetic_twin_is_packed_too(data):
    twin = data.synthetic(batch_size=4, num_steps=3)
    batches = list(twin.batches())
    assert len(batches) == 3
    assert max(batch["segments"].max() for batch in batches) > 1
