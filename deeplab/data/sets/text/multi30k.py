"""Multi30k, task 1: captions of photographs in English and German."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from deeplab.core.errors import UserError
from deeplab.data.prepare import cache
from deeplab.data.prepare.files import File
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.text.parallel import ParallelText

Language = Literal["en", "de"]
_TEXT = 320  # bytes stored of a caption; the longest has 261
_VERSION = "1.0.0"
_URL = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
_STEMS = {
    "train": "train",
    "validation": "val",
    "test_2016_flickr": "test_2016_flickr",
    "test_2017_flickr": "test_2017_flickr",
}
_SIZES = {"train": 29_000, "validation": 1_014, "test_2016_flickr": 1_000, "test_2017_flickr": 1_000}
_FILES = tuple(
    File(name, f"{_URL}/{name}.gz", size, sha256)
    for name, size, sha256 in (
        ("train.en", 1_801_238, "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
        ("train.de", 2_110_398, "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
        ("val.en", 63_297, "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
        ("val.de", 75_981, "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
        ("test_2016_flickr.en", 62_076, "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
        ("test_2016_flickr.de", 70_649, "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
        ("test_2017_flickr.en", 55_242, "ce1450ddc5ab0834502579d77a170849952e15a2938b34cc503bdc25ebb4fb98"),
        ("test_2017_flickr.de", 64_059, "c3078bc3b36808bf9d20eb2347ed6137016179ef59ec0d2b9b8ecc3fb2880081"),
    )
)


@dataclasses.dataclass(frozen=True)
class Multi30k(ParallelText):
    """29,000 captions for training, 1,014 for validation, and two tests of 1,000.

    See `ParallelText` for the fields of an example. Tokens are of both languages in lower case.

    Args:
      source: Language to translate from.
      target: Language to translate to.
      vocab_size: Size of the vocabulary, with `PADDING`, `BEGIN` and `END`.
      length: Tokens L of a caption with `END`; a longer caption is cut (none is with 6,144 tokens).

    Raises:
      UserError: source and target are the same language.

    Example:
      >>> captions = Multi30k()
      >>> captions.splits["train"], captions.fields["source"].shape
      (29000, (56,))
    """

    source: Language = "en"
    target: Language = "de"
    vocab_size: int = 6144
    length: int = 56
    name: str = "multi30k"
    citation: str = (
        "Elliott, Frank, Sima'an, Specia: Multi30K: Multilingual English-German image descriptions. 2016. "
        "https://aclanthology.org/W16-3210; Elliott et al. 2017, https://aclanthology.org/W17-4718"
    )
    files: tuple[File, ...] = _FILES

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise UserError(f"{self.source} was to be translated into {self.target}; name two languages, en and de")

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return f"{_VERSION}-{self.source}-{self.target}-{self.vocab_size}-{self.length}"

    @property
    def splits(self) -> Mapping[str, int]:
        return _SIZES

    @property
    def max_tokens(self) -> int:
        return self.length

    @property
    def max_bytes(self) -> int:
        return _TEXT

    @property
    def vocabulary_path(self) -> Path:
        return cache.cache_dir() / self.name / f"{_VERSION}-bpe-{self.vocab_size}.json"

    def lines(self, split: str, content: Content) -> tuple[Sequence[str], Sequence[str]]:
        source, target = (_lines(content(f"{_STEMS[split]}.{language}")) for language in (self.source, self.target))
        return source, target

    def training_lines(self, content: Content) -> Sequence[str]:
        return [line for name in ("train.en", "train.de") for line in _lines(content(name))]


def _lines(content: bytes) -> list[str]:
    return content.decode().removesuffix("\n").split("\n")
