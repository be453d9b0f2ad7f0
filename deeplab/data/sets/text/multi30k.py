"""Multi30k, task 1: captions of photographs in English and German."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.features.vocab import BPE
from deeplab.data.prepare import cache, originals
from deeplab.data.prepare.files import File
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field

Language = Literal["en", "de"]
PADDING, BEGIN, END = 0, 1, 2
_FIRST = 3  # number of the vocabulary's first token
_BYTES = 256  # the vocabulary's first tokens are the bytes
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
class Multi30k(ExampleSet):
    """29,000 captions for training, 1,014 for validation, and two tests of 1,000.

    An example holds the tokens of both sides, with `END` after the last and padded with 0, and their lengths; and both
    texts as UTF-8, padded with zeros. Tokens are lower-case byte-pair merges, trained on the training part of both
    languages together, so that any text has tokens.

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
    def fields(self) -> Mapping[str, Field]:
        tokens = Field((self.length,), "uint16", 0, self.vocab_size)
        length, text = Field((), "int32", 1, self.length + 1), Field((_TEXT,), "uint8")
        return {
            "source": tokens, "source_length": length, "source_text": text,
            "target": tokens, "target_length": length, "target_text": text,
        }  # fmt: skip

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        vocabulary = self._vocabulary(content)
        arrays = {}
        for side, language in (("source", self.source), ("target", self.target)):
            lines = _lines(content(f"{_STEMS[split]}.{language}"))
            tokens, lengths = self._encode(lines, vocabulary)
            padded = b"".join(line.encode()[:_TEXT].ljust(_TEXT, b"\0") for line in lines)
            text = np.frombuffer(padded, np.uint8).reshape(len(lines), _TEXT)
            arrays |= {side: tokens, f"{side}_length": lengths, f"{side}_text": text}
        return arrays

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Each non-blank line of a UTF-8 text, named FILE:LINE, with a remark on lines that cannot be translated well.

        A line without any merged token, such as one in another script, is spelled byte by byte, and its translation is
        meaningless. A line of more than L - 1 tokens is cut.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read as UTF-8 text ({error}); a line is a sentence") from error
        sentences = {number: line for number, line in enumerate(lines, start=1) if line.strip()}
        if not sentences:
            raise UserError(f"{path} holds no sentence; a line is a sentence")
        vocabulary = self._vocabulary(originals.contents(self.name, self.files, data_dir))
        for number, line in sentences.items():
            tokens, length = self._encode([line], vocabulary)
            whole = len(vocabulary.encode_lines([_plain(line)])[0])
            known = (tokens[0, : length[0] - 1] >= _FIRST + _BYTES).any()
            marks = [] if known else ["no known token"]
            marks += [f"cut to {self.length - 1} tokens"] if whole >= self.length else []
            mark = f" ({', '.join(marks)})" if marks else ""
            yield f"{path.name}:{number}{mark}", {"source": tokens[0], "source_length": length[0]}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {"translation": self.text(prediction["prediction"]), "log_prob": float(prediction["log_prob"])}

    def text(self, tokens: Sequence[int] | np.ndarray) -> str:
        """Tokens as lower-case text, up to the first `END`; as numbers where no vocabulary exists (a smoke run)."""
        tokens = np.asarray(tokens)
        tokens = tokens[: np.append(np.flatnonzero(tokens == END), len(tokens))[0]]
        tokens = tokens[tokens >= _FIRST] - _FIRST
        if not self._path.exists():
            return " ".join(map(str, tokens))
        return self._vocabulary().decode(tokens).strip()

    def _encode(self, lines: Sequence[str], vocabulary: BPE) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [N, L] and lengths [N]."""
        tokens = np.full((len(lines), self.length), PADDING, np.uint16)
        lengths = np.zeros(len(lines), np.int32)
        for n, found in enumerate(vocabulary.encode_lines([_plain(line) for line in lines])):
            found = found[: self.length - 1]
            tokens[n, : len(found)] = found + _FIRST
            tokens[n, len(found)] = END
            lengths[n] = len(found) + 1
        return tokens, lengths

    @property
    def _path(self) -> Path:
        return cache.cache_dir() / self.name / f"{_VERSION}-bpe-{self.vocab_size}.json"

    def _vocabulary(self, content: Content | None = None) -> BPE:
        """The vocabulary from the cache; trained first, on the training part of both languages, if it is not there."""

        def write(partial: Path) -> None:
            given = content or originals.contents(self.name, self.files)
            text = "\n".join(_plain(line) for name in ("train.en", "train.de") for line in _lines(given(name)))
            partial.write_text(BPE.train(text, self.vocab_size - _FIRST).definition, encoding="utf-8")

        path = cache.publish(self._path, write)
        return _load(path, path.stat().st_mtime_ns, self.vocab_size - _FIRST)


@functools.cache
def _load(path: Path, mtime: int, size: int) -> BPE:
    """A stored vocabulary, read once per process, and again when `mtime` says that it was rewritten."""
    return BPE(path.read_text(encoding="utf-8"), size)


def _lines(content: bytes) -> list[str]:
    return content.decode().removesuffix("\n").split("\n")


def _plain(line: str) -> str:
    """Lower-case text with a space before every word, the first too, so that a word has the same tokens everywhere."""
    return " " + " ".join(line.lower().split())
