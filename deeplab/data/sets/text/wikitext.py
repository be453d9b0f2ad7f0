"""WikiText-2: articles of Wikipedia as words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from deeplab.data.prepare.files import Archive, File, Original
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import TextSet

_ARCHIVE = Archive(
    name="wikitext-2-v1.zip",
    url="https://wikitext.smerity.com/wikitext-2-v1.zip",
    size=13_500_000,
    pattern=r"wiki\.(train|valid|test)\.tokens$",
    archive_sha256="92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
)
_URL = (
    "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/"
    "word_language_model/data/wikitext-2"
)
_VALID = File(
    "valid.txt",
    f"{_URL}/valid.txt",
    1_121_681,
    "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
)
_TEST = File(
    "test.txt",
    f"{_URL}/test.txt",
    1_256_449,
    "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
)
_STEMS = {"train": "train", "validation": "valid", "test": "test"}


@dataclasses.dataclass(frozen=True)
class WikiText2(TextSet):
    """720 good or featured articles: words and punctuation marks separated by blanks, rare words as <unk>.

    Perplexity is reported per word, and the end of a line counts as a word: 217,646 in the validation split, 245,569 in
    the test.

    Args:
      learn_from: Part used for training. "train" is the published one, from the archive. "validation" trains on the
        validation part and has only the test split besides: for users who have the two small files without the archive,
        such as the copy beside PyTorch's examples. Its results compare with no published figure.

    Example:
      >>> dict(WikiText2("validation").splits)
      {'train': 1121681, 'test': 1256449}
    """

    learn_from: Literal["train", "validation"] = "train"
    name: str = "wikitext2"
    citation: str = (
        "Merity, Xiong, Bradbury, Socher: Pointer sentinel mixture models. ICLR 2017. https://arxiv.org/abs/1609.07843"
    )

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return f"1.0.0-{self.learn_from}"

    @property
    def files(self) -> tuple[Original, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (_ARCHIVE,) if self.learn_from == "train" else (_VALID, _TEST)

    @property
    def splits(self) -> Mapping[str, int]:
        if self.learn_from == "validation":
            return {"train": _VALID.size, "test": _TEST.size}
        return {"train": 10_797_148, "validation": _VALID.size, "test": _TEST.size}

    def read(self, split: str, content: Content) -> bytes:
        if self.learn_from == "validation":
            return content(_VALID.name if split == "train" else _TEST.name)
        return content.members(_ARCHIVE.name)[f"wiki.{_STEMS[split]}.tokens"]
