"""MIT-BIH Arrhythmia Database: single beats, split by patient."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.features import ecg
from deeplab.data.prepare import tables, wfdb
from deeplab.data.prepare.files import Archive, File
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field

# Number of beats of each record in the four classes: DS1 and DS2 of de Chazal et al. 2004. Records 102, 104, 107 and
# 217 are of pacemakers, and left out as the AAMI recommends.
DS1 = {
    101: 1862, 106: 2027, 108: 1762, 109: 2531, 112: 2539, 114: 1879, 115: 1952, 116: 2411, 118: 2277,
    119: 1987, 122: 2476, 124: 1619, 201: 1963, 203: 2976, 205: 2656, 207: 1859, 208: 2951, 209: 3005,
    215: 3363, 220: 2047, 223: 2605, 230: 2255,
}  # fmt: skip
DS2 = {
    100: 2271, 103: 2084, 105: 2567, 111: 2124, 113: 1794, 117: 1534, 121: 1863, 123: 1517, 200: 2600,
    202: 2136, 210: 2648, 212: 2747, 213: 3250, 214: 2259, 219: 2154, 221: 2427, 222: 2482, 228: 2053,
    231: 1571, 232: 1780, 233: 3077, 234: 2753,
}  # fmt: skip
FOLDS = (
    (101, 106, 112, 205, 209, 230),
    (115, 118, 122, 201, 208),
    (109, 119, 124, 203, 207),
    (108, 114, 116, 215, 220, 223),
)
"""DS1 in four parts, chosen so that each has supraventricular and ventricular beats of more than one patient."""

CLASSES = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F"}
"""The AAMI's classes, and the annotations of each."""

FREQUENCIES = (45856, 944, 3788, 414)
"""Number of beats of each class in DS1."""

ZIP = Archive(
    name="mit-bih-arrhythmia-database-1.0.0.zip",
    url="https://physionet.org/static/published-projects/mitdb/mit-bih-arrhythmia-database-1.0.0.zip",
    size=90_000_000,
    pattern=r"\b(?!102|104|107|217)[12]\d\d\.(hea|dat|atr)$",
)
# The same beats, cut out and packed for NumPy with the waves as differences: an alternative to the original records.
PACKED = File(
    name="mitbih_beats.npz",
    url="https://physionet.org/content/mitdb/1.0.0/",
    size=10_444_510,
    sha256="a10fe4edfc497f7115de59ef9e8b3e85d137569d562b6d02c0f73b932bd1a6f8",
)
DIGEST = "ef4dec33437d53428bb4e4220b78f9441ee879404166f0a4ccbba3c4ed31f59b"


class Beats(NamedTuple):
    """Annotated beats of a record: waves [N, T] in units of the converter, symbols [N], R peaks [N], and the intervals
    to the previous and next beat [N]; times are in samples, and -1 at the record's ends."""

    waves: np.ndarray
    symbols: np.ndarray
    peaks: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclasses.dataclass(frozen=True)
class MitBihBeats(ExampleSet):
    """Beats of 44 half-hour records in four classes: N, supraventricular S, ventricular V, and F, a fusion of V and N.

    Train and test are DS1 and DS2 of de Chazal, O'Dwyer and Reilly 2004, https://doi.org/10.1109/TBME.2004.827359; no
    record is in both. (Records 201 and 202, one in each, are of the same man: a known flaw of the split.) A beat is
    half a second of lead MLII around the annotated R peak. With it come the median beat of its record and the intervals
    around it, which need no labels. Not among the examples, but part of the rhythm, are the 15 unclassifiable beats
    (class Q), and 25 too close to a record's ends.

    The originals are PhysioNet's records in one zip; or, where the data folder holds it, `mitbih_beats.npz`, the same
    beats cut out and packed for NumPy.

    Args:
      fold: 0 trains on all of DS1; 1 to 4 make one part of DS1's records the split "validation".

    Raises:
      UserError: there is no such fold.
    """

    fold: int = 0
    name: str = "mitbih_beats"
    citation: str = (
        "Moody, Mark: The impact of the MIT-BIH Arrhythmia Database. IEEE Engineering in Medicine and Biology 20(3), "
        "2001. https://physionet.org/content/mitdb/1.0.0/, https://doi.org/10.13026/C2F305 (ODC-By 1.0)"
    )
    files: tuple[Archive, ...] = (ZIP,)
    class_names: tuple[str, ...] = tuple(CLASSES)

    def __post_init__(self) -> None:
        if not 0 <= self.fold <= len(FOLDS):
            raise UserError(f"fold is {self.fold}, expected 0 (all of DS1) or 1 to {len(FOLDS)}")

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # another fold is another copy
        return "1.0.0" + (f"-fold{self.fold}" if self.fold else "")

    @property
    def splits(self) -> Mapping[str, int]:
        counts = DS1 | DS2
        names = ("train", "validation", "test") if self.fold else ("train", "test")
        return {split: sum(counts[record] for record in self.records(split)) for split in names}

    @property
    def fields(self) -> Mapping[str, Field]:
        return {
            "beat": Field((ecg.BEFORE + ecg.AFTER,)),  # mV
            "average": Field((ecg.BEFORE + ecg.AFTER,)),  # mV, of the record
            "intervals": Field((2,)),  # s
            "usual": Field((4,)),
            "label": Field((), "int32", below=4),
            "record": Field((), "int32"),
            "peak": Field((), "int32"),
        }

    def records(self, split: str) -> Sequence[int]:
        """The records, which are patients, of a split."""
        held_out = FOLDS[self.fold - 1] if self.fold else ()
        by_split = {"train": [r for r in DS1 if r not in held_out], "validation": held_out, "test": list(DS2)}
        return by_split[split]

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        packed = content.instead(PACKED)
        beats = _from_wfdb(content.members(ZIP.name)) if packed is None else _from_packed(packed)
        _check(beats)
        parts = [_examples(record, beats[record]) for record in self.records(split)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def read_file(self, path: Path, data_dir: str | Path | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Beats of a CSV file of one lead at 360 Hz, with the columns `mv` and `beat` (1 at an R peak, and else 0)."""
        columns = tables.read(path, ("mv", "beat"))
        peaks = np.flatnonzero(columns["beat"] > 0)
        waves, inside = ecg.windows(columns["mv"], peaks)
        if not len(waves):
            raise UserError(
                f"{path} has no beat with {ecg.BEFORE} samples before it and {ecg.AFTER} after: "
                f"{len(peaks)} of {len(columns['beat'])} rows have a 1 in the column 'beat'"
            )
        before, after = ecg.intervals_of(peaks)
        examples = ecg.with_context(waves, before[inside], after[inside])
        for i, peak in enumerate(peaks[inside]):
            yield f"{path.name}:{peak}", {name: array[i] for name, array in examples.items()}


def _from_wfdb(members: Mapping[str, bytes]) -> dict[int, Beats]:
    """From PhysioNet's files `RECORD.hea`, `.dat` and `.atr`."""
    return {record: _record(record, members) for record in (*DS1, *DS2)}


def _record(record: int, members: Mapping[str, bytes]) -> Beats:
    try:
        header, signals, annotations = (members[f"{record}.{suffix}"] for suffix in ("hea", "dat", "atr"))
        signal = wfdb.lead(header, signals, "MLII", "212")
        peaks, symbols = wfdb.beats(annotations)
    except KeyError as error:
        raise UserError(f"{ZIP.name} holds no {error.args[0]}; get it again from {ZIP.url}") from None
    except UserError as error:
        raise UserError(f"record {record} of {ZIP.name}: {error}") from error
    waves, inside = ecg.windows(signal, peaks)
    before, after = ecg.intervals_of(peaks)
    return Beats(waves, np.array(symbols)[inside], peaks[inside], before[inside], after[inside])


def _from_packed(content: bytes) -> dict[int, Beats]:
    with np.load(io.BytesIO(content), allow_pickle=False) as packed:
        waves = np.cumsum(packed["x_delta"], axis=1, dtype=np.int16)
        rest = [
            packed["symbol"].view("S1").astype("U1"),
            *(packed[n].astype(np.int64) for n in ("sample", "rr_pre", "rr_post")),
        ]
        return {r: Beats(waves[m], *(a[m] for a in rest)) for r in (*DS1, *DS2) for m in [packed["record"] == r]}


def _check(beats: Mapping[int, Beats]) -> None:
    """Raises UserError unless the beats are the published ones, bit by bit, whichever file they come from."""
    total = hashlib.sha256()
    for record in sorted(beats):
        waves, symbols, *times = beats[record]
        for array in (waves.astype("<i2"), symbols.astype("S1"), *(time.astype("<i4") for time in times)):
            total.update(array.tobytes())
    if total.hexdigest() != DIGEST:
        raise UserError(
            f"the beats read are not those of the published records: digest {total.hexdigest()}, expected {DIGEST}; "
            f"get {ZIP.name} again from {ZIP.url}"
        )


def _examples(record: int, beats: Beats) -> dict[str, np.ndarray]:
    """The beats of the four classes; the other beats are part of the rhythm and of the median beat."""
    fields = ecg.with_context((beats.waves - np.float32(1024)) / 200, beats.before, beats.after)
    label = np.array([next((k for k, s in enumerate(CLASSES.values()) if symbol in s), -1) for symbol in beats.symbols])
    size = len(label)
    fields |= {
        "label": label.astype(np.int32),
        "record": np.full(size, record, np.int32),
        "peak": beats.peaks.astype(np.int32),
    }
    return {name: array[label >= 0] for name, array in fields.items()}


MITBIH_BEATS = MitBihBeats()
