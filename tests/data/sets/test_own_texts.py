"""Labeled texts and translations of one's own: splits, vocabularies, and the sources that they come from."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.data.sets.text.own_sentences import OwnSentences


@given(labels=st.lists(st.sampled_from("abc"), min_size=15, max_size=40), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_folds_hold_each_row_once_and_the_vocabulary_is_of_the_training_part(labels, seed):
    labels = [*"abc", *labels]
    source = {"text": [f"word{i} shared" for i in range(len(labels))], "label": labels}
    found = []
    for fold in range(5):
        dataset = OwnSentences(source, fold=fold, seed=seed)
        rows = dataset._made.rows
        assert not set(rows["train"]) & set(rows["test"])
        assert set(dataset.lexicon().words) == {"shared", *(f"word{i}" for i in rows["train"])}
        found += rows["test"].tolist()
    assert sorted(found) == list(range(len(labels)))


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_folders_of_text_files(tmp_path, cache):
    """Classes; or splits above classes, inside a folder that an archive added."""
    flat = write(tmp_path / "flat", {f"{c}/{i}.txt": f"{c} film {i}\nüber" for c in ("neg", "pos") for i in range(5)})
    dataset = dl.data.sentences(flat)
    assert (dataset.class_names, dict(dataset.splits)) == (("neg", "pos"), {"train": 8, "test": 2})
    deep = {f"aclImdb/{s}/{c}/{i}.txt": f"{c} {i}" for s in ("train", "val") for c in ("neg", "pos") for i in range(3)}
    dataset = dl.data.sentences(write(tmp_path / "deep", deep))
    assert dict(dataset.splits) == {"train": 6, "validation": 6}
    assert [*dict(dataset.read_file(flat / "pos/0.txt"))] == ["0.txt"]  # a file is a text, as in the set
    write(tmp_path / "stray", {"a/1.txt": "one", "b/1.txt": "two", "b/2.txt": " ", "readme.md": "x", "top.txt": "y"})
    with (
        pytest.warns(UserWarning, match=r"2 files are in no folder of a class, or no .txt, and are left out: .*readme"),
        pytest.warns(UserWarning, match=r"1 text files are empty"),
    ):
        assert dl.data.sentences(tmp_path / "stray", test=0.5).class_names == ("a", "b")
    write(tmp_path / "untaught", {"test/a/1.txt": "one", "val/b/1.txt": "two"})
    with pytest.raises(UserError, match="has the folders test, val, but none to train on"):
        dict(dl.data.sentences(tmp_path / "untaught").splits)


def test_lines_with_labels_and_words_that_look_missing(tmp_path, cache):
    (tmp_path / "own.txt").write_text("none\t?\nsome\tn/a is fine\n" * 5)
    dataset = dl.data.sentences(tmp_path / "own.txt")
    assert dataset.class_names == ("none", "some")
    assert set(dict(dataset.read_file(tmp_path / "own.txt"))) == {f"own.txt:{i}" for i in range(1, 11)}
    (tmp_path / "own.tsv").write_text('label\ttext\nnone\t"quoted\nsome\tn/a\n' * 1 + 'none\tb "c"\nsome\td\n' * 4)
    assert dl.data.sentences(tmp_path / "own.tsv").class_names == ("none", "some")


def test_the_length_covers_the_training_texts_and_is_told():
    texts = ["a b c"] * 199 + ["a b c d e f g"]
    dataset = dl.data.sentences({"text": texts, "label": ["x", "y"] * 100})
    assert dataset.fields["tokens"].shape == (3, 16)
    assert dataset.notes == ("3 words of a text are read; 1 of 200 texts are longer, and cut",)
    assert dl.data.sentences({"text": texts, "label": ["x", "y"] * 100}, length=9).fields["tokens"].shape == (9, 16)


def test_splits_by_group_and_by_column():
    source = {"text": [f"t {i}" for i in range(20)], "label": ["x", "y"] * 10, "who": [i // 4 for i in range(20)]}
    rows = dl.data.sentences(source, group="who")._made.rows
    assert not {i // 4 for i in rows["train"]} & {i // 4 for i in rows["test"]}
    source["part"] = ["train"] * 15 + ["dev"] * 5
    assert dict(dl.data.sentences(source, split="part").splits) == {"dev": 5, "train": 15}


def test_classes_that_are_numbers_are_in_their_order():
    stars = {"text": ["a"] * 12, "label": [10, 9, 2] * 4}
    assert dl.data.sentences(stars).class_names == ("2", "9", "10")
    assert dl.data.sentences(stars, classes=(10, 9, 2)).class_names == ("10", "9", "2")
    with pytest.raises(UserError, match="the class '9'; "):
        dict(dl.data.sentences(stars, classes=(10, 2)).splits)


def test_known_corpora_go_by_their_names():
    assert dl.data.sentences("trec", part="validation").splits["validation"] == 548
    with pytest.raises(UserError, match="'trec' is a known corpus, and text=0 is for texts of your own"):
        dl.data.sentences("trec", 0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r'give validation=0\.1 and eval_split="validation"'):
        dl.data.sentences({"text": ["a"], "label": ["b"]}, part="validation")


LINES = [(f"house {i}", f"maison {i}") for i in range(30)]


def test_translations_from_every_source_are_the_same(tmp_path, cache):
    (tmp_path / "a.en").write_text("".join(f"{a}\n" for a, _ in LINES))
    (tmp_path / "a.fr").write_text("".join(f"{b}\r\n" for _, b in LINES), newline="")
    (tmp_path / "a.txt").write_text("".join(f"{a}\t{b}\tCC-BY\n" for a, b in LINES))
    (tmp_path / "a.tsv").write_text("en\tfr\tid\n" + "".join(f"{a}\t{b}\t1\n" for a, b in LINES))
    columns = {"en": [a for a, _ in LINES], "fr": [b for _, b in LINES]}
    made = [
        dl.data.pairs(tmp_path / "a.en", tmp_path / "a.fr", vocab_size=270),
        dl.data.pairs(tmp_path / "a.txt", vocab_size=270),
        dl.data.pairs(tmp_path / "a.tsv", columns=("en", "fr"), vocab_size=270),
        dl.data.pairs(pd.DataFrame(columns), vocab_size=270),
    ]
    assert len({dataset.version for dataset in made}) == 1
    arrays = made[0].open("test").arrays
    for i in range(made[0].splits["test"]):
        text = bytes(arrays["target_text"][i]).rstrip(b"\0").decode()
        assert made[0].text(arrays["target"][i]) == text
        assert (bytes(arrays["source_text"][i]).rstrip(b"\0").decode(), text) in LINES


def test_given_splits_and_shares(tmp_path, cache):
    for name, lines in {"t": LINES, "v": LINES[:4]}.items():
        for side, language in enumerate(("en", "fr")):
            (tmp_path / f"{name}.{language}").write_text("\n".join(pair[side] for pair in lines) + "\n")
    train, valid = ((tmp_path / f"{name}.en", tmp_path / f"{name}.fr") for name in "tv")
    mine = dl.data.pairs(*train, validation=valid, test=0.1, vocab_size=260)
    assert dict(mine.splits) == {"train": 27, "validation": 4, "test": 3}
    mine = dl.data.pairs({"train": train, "news": valid}, vocab_size=260)
    assert dict(mine.splits) == {"train": 30, "news": 4}
    upper = dl.data.pairs({"train": train, "news": valid}, vocab_size=260, lower=False)
    assert upper.version != mine.version


@given(st.lists(st.integers(0, 5), min_size=10, max_size=30), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_an_equal_source_is_in_one_split(numbers, seed):
    source = [f"line {n}" for n in [*range(4), *numbers]]
    dataset = dl.data.pairs({"a": source, "b": source}, test=0.3, validation=0.3, seed=seed, vocab_size=260, length=8)
    found = [set(texts) for texts, _ in dataset._made.lines.values()]
    assert sum(map(len, found)) == len(set(source))
    assert sum(dataset.splits.values()) == len(source)


def test_pairs_with_a_blank_side_are_left_out_and_told(tmp_path):
    (tmp_path / "a.en").write_text("one\n\ntwo\n" + "three\n" * 9)
    (tmp_path / "a.fr").write_text("un\ndeux\n \n" + "trois\n" * 9)
    mine = dl.data.pairs(tmp_path / "a.en", tmp_path / "a.fr", test=0.5, vocab_size=260)
    with pytest.warns(UserWarning, match="2 of 12 pairs have a blank side, and are left out; the first is number 2"):
        assert sum(mine.splits.values()) == 10
