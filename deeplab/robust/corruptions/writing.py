"""Corruptions of text, before it is cut into tokens: typing errors and casing, pure functions of text and seed."""

from __future__ import annotations

import random

from deeplab.core import ranges

ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
"""Rows of a keyboard: letters that stand side by side are mistaken for each other."""
WRITING = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Shares of the characters that are changed, of severities 1 to 5: deeplab's own choice."""


@ranges.checked(share=ranges.FRACTION, seed=ranges.NATURAL)
def typos(text: str, share: float, seed: int) -> str:
    """Changes a share of the letters: each is left out, typed twice, exchanged with the next, or hit beside.

    The first character of each word stays, as readers tell by it what was meant.

    Args:
      text: Text.
      share: Probability that a letter is changed.
      seed: Number that all choices follow from, such as the `id` of the example.

    Example:
      >>> typos("a short sentence", 0.3, seed=1) == typos("a short sentence", 0.3, seed=1)
      True
      >>> typos("a short sentence", 0.0, seed=1)
      'a short sentence'
    """
    drawn, out, skip = random.Random(seed), [], False
    for place, letter in enumerate(text):
        chance, kind = drawn.random(), drawn.randrange(4)
        if skip:
            skip = False
            continue
        inside = place > 0 and letter.isalpha() and not text[place - 1].isspace()
        if not inside or chance >= share:
            out.append(letter)
            continue
        following = text[place + 1 : place + 2]
        skip = kind == 2 and following.isalpha()
        out.append(
            ("", letter * 2, following + letter if skip else letter * 2, _beside(letter, drawn.randrange(2)))[kind]
        )
    return "".join(out)


@ranges.checked(share=ranges.FRACTION, seed=ranges.NATURAL)
def casing(text: str, share: float, seed: int) -> str:
    """Turns small letters into capitals, and capitals into small letters, each with the probability `share`.

    Example:
      >>> casing("Anna", 1.0, seed=0)
      'aNNA'
    """
    drawn = random.Random(seed)
    return "".join(letter.swapcase() if drawn.random() < share else letter for letter in text)


def _beside(letter: str, right: int) -> str:
    """The letter left or right of one on a keyboard; itself if there is none."""
    for row in ROWS:
        if (place := row.find(letter.lower())) >= 0:
            other = row[place + 1 if right and place + 1 < len(row) else max(place - 1, 0)]
            return other.upper() if letter.isupper() else other
    return letter
