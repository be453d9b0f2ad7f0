"""The Free Spoken Digit Dataset."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from deeplab.data.prepare import wav
from deeplab.data.prepare.files import Archive
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field

Speaker = Literal["", "george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
SIZE = 8000
"""Samples of an example: 1 s. 20 of the 3,000 recordings are longer; they keep at least 99.2 % of their power."""

_ARCHIVE = Archive(
    "free-spoken-digit-dataset.tar.gz",
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz",
    size=21_128_848,
    pattern=r"recordings/\w+\.wav$",
    sha256="04e1baae96c6a26e39c623f2b01d0182ddae627ba0ac02a3cdc17ba2af99fd9b",
)
_TAKES, _TEST_TAKES, _VALIDATION_TAKES = range(50), range(5), range(5, 10)


@dataclasses.dataclass(frozen=True)
class FSDD(ExampleSet):
    """Ten digits, spoken 50 times each by six people; 8 kHz, cut or padded with silence to 1 s.

    The official split: takes 0 to 4 are the test set, 5 to 49 the training set. Use `validation` to choose recipes.
    Recordings are ordered by speaker, digit and take: number (s * 10 + d) * takes + t is take t of digit d.

    Args:
      held_out: Speaker excluded from training, whose 500 recordings are the test set.
      validation: Whether takes 5 to 9 are a split "validation" instead of training examples.
    """

    held_out: Speaker = ""
    validation: bool = False
    name: str = "fsdd"
    citation: str = (
        "Jackson, Souza, Flaks, Pan, Nicolas and Thite, Free Spoken Digit Dataset, CC BY-SA 4.0, "
        "https://doi.org/10.5281/zenodo.1342401"
    )
    files: tuple[Archive, ...] = (_ARCHIVE,)
    class_names: tuple[str, ...] = DIGITS
    rate: ClassVar[int] = RATE

    @property
    def version(self) -> str:
        return "1.0.0" + f"-without-{self.held_out}" * bool(self.held_out) + "-validation" * self.validation

    def grid(self, split: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The speakers and the takes of a split."""
        others = tuple(s for s in SPEAKERS if s != self.held_out)
        if split == "test":
            return ((self.held_out,), tuple(_TAKES)) if self.held_out else (SPEAKERS, tuple(_TEST_TAKES))
        if split == "validation":
            return others, tuple(_VALIDATION_TAKES)
        unseen = {*(() if self.held_out else _TEST_TAKES), *(_VALIDATION_TAKES if self.validation else ())}
        return others, tuple(t for t in _TAKES if t not in unseen)

    @property
    def splits(self) -> Mapping[str, int]:
        names = ("train", "validation", "test") if self.validation else ("train", "test")
        return {split: 10 * len(speakers) * len(takes) for split in names for speakers, takes in [self.grid(split)]}

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "audio": Field((SIZE,), "int16", low=-(2**15)),
            "length": Field((), "int32", low=1000, below=SIZE + 1),
            "label": Field((), "int32", below=10),
            "speaker": Field((), "int32", below=len(SPEAKERS)),
        }

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        files = content.members(self.files[0].name)
        speakers, takes = self.grid(split)
        wanted = [(s, d, t) for s in speakers for d in range(10) for t in takes]
        sounds = [
            wav.decode(files[f"recordings/{d}_{s}_{t}.wav"], f"{d}_{s}_{t}.wav", "int16")[0] for s, d, t in wanted
        ]
        return {
            "audio": np.stack([fit(sound[:, 0]) for sound in sounds]),
            "length": np.array([min(len(sound), SIZE) for sound in sounds], np.int32),
            "label": np.array([d for _, d, _ in wanted], np.int32),
            "speaker": np.array([SPEAKERS.index(s) for s, _, _ in wanted], np.int32),
        }

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """The loudest second of one audio file; see `prepare.wav.read` for what is resampled or refused."""
        x = wav.read(path, RATE)
        if len(x) > SIZE:
            warnings.warn(f"{path}: of {len(x) / RATE:.2f} s the loudest second is read", stacklevel=2)
        x = wav.loudest(x, SIZE)
        yield (
            path.name,
            {
                "audio": fit(wav.to_int16(x)),
                "length": np.array(len(x), np.int32),
            },
        )


def fit(x: np.ndarray) -> np.ndarray:
    """The first `SIZE` samples, padded with silence."""
    return np.pad(x[:SIZE], (0, max(0, SIZE - len(x))))
