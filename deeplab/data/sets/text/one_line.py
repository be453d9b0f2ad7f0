"""Labeled texts in one line: a known corpus by its name, or a user's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from deeplab.core.errors import UserError
from deeplab.data.sets.text.labeled import LabeledText
from deeplab.data.sets.text.own_sentences import OwnSentences
from deeplab.data.sets.text.sentences import CORPORA, Sentences


def sentences(
    source: Any,
    text: str = "text",
    label: str = "label",
    *,
    classes: Sequence[Any] = (),
    split: str = "",
    group: str = "",
    test: float = 0.2,
    validation: float = 0.0,
    fold: int = 0,
    seed: int = 0,
    part: Literal["test", "validation"] = "test",
    length: int | None = None,
    missing: Sequence[Any] = (),
    num_words: int = 2**14,
    num_buckets: int = 2**14,
    num_features: int = 16,
) -> LabeledText:
    """Labeled texts: `tokens` [L, F], features of words for `dl.models.TextCNN` and others, and `label`.

    A number L of words is stored of each text: by default so many that 99 % of the training texts are whole; `notes`
    tell it. The vocabulary is of the training part alone, and each word has its character n-grams, too.

    Args:
      source: Path of a CSV, TSV or Parquet file, a pandas data frame or a dict of columns; of a folder of text files by
        class (`CLASS/*.txt`, or `train/CLASS/*.txt` and so on), of lines "LABEL TAB TEXT" (.txt); or the name of a
        known corpus: "mr", "sst2", "trec" or "subj".
      text: Name of the column of the texts.
      label: Name of the column of the labels.
      classes: Classes in their order; sorted when empty.
      split: Name of a column that says "train", "test" and so on for each row.
      group: Name of a column, such as the author, all of whose rows are in one split.
      test: Share of the rows (or groups) in the split "test", in (0, 1), alike for each class.
      validation: Share of the rows (or groups) in the split "validation", in [0, 1).
      fold: Index of the part that is the test split: 0 to 4 hold each row once, where `test` is 0.2. Of a known corpus,
        one of its ten folds.
      seed: Seed of the shuffle before the split.
      part: Part of a known corpus to evaluate on; see `Sentences`.
      length: Number L of words of a text.
      missing: Texts that stand for a missing cell, such as "n/a"; an empty cell always does.
      num_words: Number of features for words; see `Lexicon`.
      num_buckets: Number of features for character n-grams.
      num_features: Largest number of features F of a word; 1 leaves the n-grams out.

    Raises:
      UserError: the source cannot be read, a column is not there, a text or label is empty, or a split is.

    Example:
      >>> reviews = {"body": ["good", "so bad", "very good"] * 4, "stars": [5, 1, 5] * 4}
      >>> mine = sentences(reviews, text="body", label="stars", test=0.25)
      >>> mine.class_names, dict(mine.splits), mine.fields["tokens"].shape
      (('1', '5'), {'train': 9, 'test': 3}, (2, 16))
    """
    features: dict[str, Any] = {"num_words": num_words, "num_buckets": num_buckets, "num_features": num_features}
    own: dict[str, Any] = {
        "text": text, "label": label, "classes": classes, "split": split, "group": group, "test": test,
        "validation": validation, "seed": seed, "length": length, "missing": missing,
    }  # fmt: skip
    if not (isinstance(source, str) and source in CORPORA):
        if part != "test":
            raise UserError(f'part is {part!r}; for texts of your own give validation=0.1 and eval_split="validation"')
        return OwnSentences(source, **own, fold=fold, **features)
    defaults = {field.name: field.default for field in dataclasses.fields(OwnSentences)}
    if wrong := [f"{name}={value!r}" for name, value in own.items() if value != defaults[name]]:
        raise UserError(
            f"{source!r} is a known corpus, and {', '.join(wrong)} is for texts of your own; its parts are chosen by "
            "fold= and part="
        )
    return Sentences(source, fold, part, **features)  # pyright: ignore[reportArgumentType]  (it is one of CORPORA)
