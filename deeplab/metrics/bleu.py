"""Corpus BLEU by `sacrebleu`, on the host."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deeplab.core.errors import UserError

_TOKEN = re.compile(r"\w+(?:[-'.,]\w+)*|[^\w\s]")


def tokenized(text: str) -> str:
    """Lowercase words and punctuation marks, separated by spaces. Marks within a word do not split it.

    Example:
      >>> tokenized('Ein Mann im T-Shirt, 3,5 m "hoch".')
      'ein mann im t-shirt , 3,5 m " hoch " .'
    """
    return " ".join(_TOKEN.findall(text.lower()))


def bleu(translations: Sequence[str], references: Sequence[str]) -> float:
    """BLEU in percent of lowercased, tokenized text, equal to that of Moses' multi-bleu.perl; NaN of no text.

    Raises:
      UserError: not one reference for each translation.

    Example:
      >>> round(bleu(["Ein Hund läuft über den Hof."], ["ein Hund läuft über das Gras ."]), 1)
      43.5

    Source: Papineni et al. 2002, https://aclanthology.org/P02-1040.
    """
    import sacrebleu

    if not _count(translations, references):
        return float("nan")
    pairs = [tokenized(text) for text in translations], [[tokenized(text) for text in references]]
    return sacrebleu.corpus_bleu(*pairs, smooth_method="none", tokenize="none", force=True).score


def sacre_bleu(translations: Sequence[str], references: Sequence[str]) -> float:
    """BLEU in percent of untokenized text, with the signature nrefs:1|case:lc|eff:no|tok:13a|smooth:exp; NaN of none.

    Raises:
      UserError: not one reference for each translation.

    Example:
      >>> round(sacre_bleu(["Ein Hund läuft über den Hof."], ["Ein Hund läuft über den Hof."]), 1)
      100.0

    Source: Post 2018, https://aclanthology.org/W18-6319.
    """
    import sacrebleu

    if not _count(translations, references):
        return float("nan")
    return sacrebleu.corpus_bleu(list(translations), [list(references)], lowercase=True).score


def _count(translations: Sequence[str], references: Sequence[str]) -> int:
    """Number of pairs."""
    if len(translations) != len(references):
        raise UserError(
            f"{len(translations):,} translations and {len(references):,} references, expected one reference for each "
            "translation"
        )
    return len(references)
