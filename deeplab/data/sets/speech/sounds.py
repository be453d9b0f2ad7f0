"""A user's own sounds: by class in folders, or by a table with classes or transcripts."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplab.core.errors import UserError, raise_all
from deeplab.data.prepare import archives, class_folders, wav
from deeplab.data.prepare.frames import Frame
from deeplab.data.sets import fields as field_checks
from deeplab.data.sets import listed, listing
from deeplab.data.sets.fields import Field
from deeplab.data.sets.listed import Listed
from deeplab.data.sets.listing import Listing
from deeplab.data.sets.speech.spelling import alphabet, encoded

_ARCHIVES = frozenset({".zip", ".tar", ".tgz", ".gz", ".xz"})
_SLACK = 1.01  # a compressed file may hold a little more than its header says
_LONGEST = 60.0  # s, of clips that are not cut by the user's own choice: each is padded to it


@dataclasses.dataclass(frozen=True)
class Sounds(Listed):
    """Clips with a class each, or with transcripts.

    `sounds("clips", labels="folder")` reads `clips/CLASS/*.wav`, below `train`, `val` and `test` if they are there.
    `sounds("clips.csv", label="word")` reads the files that a table names, and `sounds("clips",
    transcripts="clips.csv")` their texts, for a `CTC(data.class_names, separator="")` of characters: the alphabet is
    that of the training transcripts, and `spelling.UNKNOWN` stands for other characters, if there are any.

    Batches hold `audio` [B, S] int16, padded with silence, its `length` [B], and `label`: [B] int32, or [B, L] tokens
    (k + 1 for character k, 0 for padding) with `label_length` [B]. `features.speech.log_mels` is the `prepare` for
    them. Of a clip that is longer than `seconds` the loudest part is read; of one with a transcript, that is an error.

    Args:
      source: Folder or archive of clips (WAV, FLAC, Ogg, ...), or a table: path of a CSV or Parquet file, data frame,
        or dict of columns.
      labels: "folder", where the folders are the classes.
      transcripts: Table with the texts of the clips in the folder `source`.
      file: Name of the column with the names of the files, which may lack their suffix.
      label: Name of the column with the class.
      text: Name of the column with the transcript.
      classes: Names of the classes in their order, or the characters of the alphabet; found when empty.
      root: Folder that the names of a table are relative to; the table's own when None.
      rate: Samples per second, to which others are resampled.
      seconds: Length of an example; that of the longest clip when 0.

    Raises:
      UserError: files are missing or cannot be read as sounds (all are told at once), a cell is empty, a split is
        empty, or a clip with a transcript is too long.

    Example:
      >>> import pathlib, tempfile
      >>> import soundfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for name in ("no", "yes"):
      ...     (folder / name).mkdir()
      ...     for i in range(10):
      ...         soundfile.write(folder / name / f"{i}.wav", np.zeros(1600), 16000)
      ...
      >>> Sounds(folder, labels="folder").class_names
      ('no', 'yes')
    """

    source: Any
    labels: Literal["", "folder"] = ""
    transcripts: Any = None
    file: str = "file"
    label: str = ""
    text: str = "text"
    classes: Sequence[str] = ()
    root: str | Path | None = None
    rate: int = 16_000
    seconds: float = 0.0
    name: str = "sounds"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate < 1 or self.seconds < 0:
            raise UserError(
                f"rate={self.rate}, seconds={self.seconds}; expected a positive rate, and 0 or more seconds"
            )
        if self.labels not in ("", "folder"):
            raise UserError(f"labels={self.labels!r}, expected 'folder'; for a column of a table give label=COLUMN")
        if (self.labels == "folder") + (self.transcripts is not None) + bool(self.label) > 1:
            raise UserError("sounds was given several of labels, transcripts and label; give one of them")
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        for name in ("source", "transcripts"):
            if not isinstance(getattr(self, name), str | Path | None):
                object.__setattr__(self, name, listed.table(getattr(self, name), self.root)[0])

    @property
    def _spoken(self) -> bool:
        """Whether the clips have transcripts."""
        return self.transcripts is not None or not (self.label or self._is_folder)

    @property
    def _is_folder(self) -> bool:
        if self.transcripts is not None or isinstance(self.source, Frame):
            return False
        path = Path(self.source).expanduser()
        return self.labels == "folder" or path.is_dir() or path.suffix.lower() in _ARCHIVES

    @functools.cached_property
    def listing(self) -> Listing:
        if self._is_folder:
            return self._of_folder()
        if self.transcripts is not None:
            frame, root = listed.table(self.transcripts, archives.folder(self.source))
        else:
            frame, root = listed.table(self.source, self.root)
        found = listing.paths(frame, self.file, root, wav.SUFFIXES)
        groups = frame.texts(self.group) if self.group else None
        if not self._spoken:
            values, names = listing.classes(frame, self.label, self.classes)
            rows = self.part(frame, values, self.split, self.group)
            return Listing(frame.where, found, rows, {"label": values}, names, groups)
        texts = [" ".join(text.split()) for text in listing.present(frame, self.text, "the transcript")]
        rows = self.part(frame, np.zeros(len(frame)), self.split, self.group)
        names = tuple(self.classes) or alphabet(texts, rows["train"])
        return Listing(frame.where, found, rows, encoded(texts, names), names, groups)

    def _of_folder(self) -> Listing:
        if self.split:
            raise UserError(f"split={self.split!r} is a column, and folders have none; make folders train and test")
        root = archives.folder(self.source)
        by_split = class_folders.find(self.source, root, wav.SUFFIXES, "sounds")
        found = class_folders.names(by_split, self.source, "sounds", "*.wav")
        if not found:
            raise UserError(f"{self.source} has no folders of classes; expected {self.source}/CLASS/*.wav, or a table")
        names = self.classes or found
        if unknown := {*found} - {*names}:
            raise UserError(f"{self.source} has the folder {min(unknown)}, expected one of {', '.join(names)}")
        files = [
            (p, split, k) for split, of in by_split.items() for k, name in enumerate(names) for p in of.get(name, [])
        ]
        paths, splits, labels = zip(*files, strict=True)
        label = np.array(labels, np.int32)
        frame = listing.of_folder(root, paths, splits, self.group)
        rows = self.part(frame, label, "split" * any(splits), "group" * bool(self.group))
        groups = frame.texts("group") if self.group else None
        return Listing(str(self.source), paths, rows, {"label": label}, tuple(names), groups)

    @functools.cached_property
    def size(self) -> int:
        """Samples of an example."""
        if self.seconds:
            return max(1, round(self.seconds * self.rate))
        return _longest(tuple(listed.stats(self.listing.paths)), self.rate)

    @property
    def fields(self) -> Mapping[str, Field]:
        told = self.listing
        audio = {
            "audio": Field((self.size,), "int16", low=-(2**15)),
            "length": Field((), "int32", low=(self.size + 1) // 2, below=self.size + 1),
        }
        if not self._spoken:
            return audio | {"label": Field((), "int32", below=len(told.class_names))}
        most = told.targets["label"].shape[1]
        return audio | {
            "label": Field((most,), "int32", low=1, below=len(told.class_names) + 1),
            "label_length": Field((), "int32", low=1, below=most + 1),
        }

    def check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        """As for other sets, but for clips of any length, and the padding of tokens."""
        least = {"length": 1, "label": 0}
        fields = {name: field._replace(low=least.get(name, field.low)) for name, field in self.fields.items()}
        field_checks.check(fields, arrays, self.splits[split], f"split {split!r} of {self.name}")

    def load(self, paths: Sequence[Path]) -> Mapping[str, np.ndarray]:
        audio, length = np.zeros((len(paths), self.size), np.int16), np.zeros(len(paths), np.int32)
        failed, told = [], collections.Counter()
        for i, path in enumerate(paths):
            try:
                with warnings.catch_warnings(record=True, action="always") as caught:
                    x = self._clip(path)
            except UserError as error:
                failed.append(error)
                continue
            told.update(str(warning.message).removeprefix(f"{path}: ") for warning in caught)
            audio[i, : len(x)], length[i] = x, len(x)
        raise_all(failed)
        for what, count in told.most_common(5):
            warnings.warn(f"{self.listing.where}: {count:,} of {len(paths):,} clips: {what}", stacklevel=2)
        return {"audio": audio, "length": length}

    def _clip(self, path: Path) -> np.ndarray:
        """One clip, up to `size` samples int16."""
        x = wav.read(path, self.rate)
        if self._spoken and len(x) > _SLACK * self.size:
            raise UserError(
                f"{path} lasts {len(x) / self.rate:.1f} s, and examples {self.size / self.rate:.1f} s; give more "
                "seconds=, or cut the clip with its text"
            )
        if len(x) > _SLACK * self.size:
            warnings.warn(f"{path}: the loudest {self.size / self.rate:g} s are read", stacklevel=2)
        return wav.to_int16(wav.loudest(x, self.size))

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """One audio file; see `prepare.wav.read` for what is resampled or refused."""
        x = self._clip(path)
        padded = np.pad(x, (0, self.size - len(x)))
        yield path.name, {"audio": padded, "length": np.array(len(x), np.int32)}

    def describe(self, prediction: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """One example's predictions in the user's terms: the class by its name, or the transcript."""
        if "prediction_length" not in prediction:
            return super().describe(prediction)
        tokens = prediction["prediction"][: prediction["prediction_length"]]
        transcript = "".join(self.class_names[token - 1] for token in tokens)
        return {"transcript": transcript, "log_prob": float(prediction["log_prob"])}


@functools.lru_cache(maxsize=8)
def _longest(stats: tuple[tuple[str, int, int], ...], rate: int) -> int:
    """Samples of the longest of some files, by their headers; kept while they do not change."""
    lengths, failed = [], []
    for name, _, _ in stats:
        try:
            lengths.append((wav.seconds(Path(name)), name))
        except UserError as error:
            failed.append(error)
    raise_all(failed)
    longest, name = max(lengths)
    if longest > _LONGEST:
        raise UserError(
            f"{name} lasts {longest:.1f} s, to which all clips would be padded; give the seconds= of an example"
        )
    return math.ceil(longest * rate)
