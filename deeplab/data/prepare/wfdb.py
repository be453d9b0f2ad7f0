"""PhysioNet's WFDB records: header, signals in format 212, and annotations in the MIT format.

Formats: https://wfdb.io/spec/header-files.html, https://wfdb.io/spec/signal-files.html#fmt212,
https://wfdb.io/spec/annotation-files.html.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from deeplab.core.errors import UserError

# Codes of the annotation format for beats, and their symbols; all other codes are no beats.
BEATS = {
    1: "N", 2: "L", 3: "R", 4: "a", 5: "V", 6: "F", 7: "J", 8: "A", 9: "S", 10: "E", 11: "j", 12: "/", 13: "Q",
    25: "B", 30: "?", 34: "e", 35: "n", 38: "f", 41: "r",
}  # fmt: skip
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63


class Signal(NamedTuple):
    """One signal of a header: its file, format and description.

    Example:
      >>> Signal("100.dat", "212", "MLII").description
      'MLII'
    """

    file: str
    format: str
    description: str


class Header(NamedTuple):
    r"""Header of a record: sampling rate in Hz, samples per signal, and signals.

    Example:
      >>> header(b"100 1 360 650000\n100.dat 212 200 11 1024 995 -22131 0 MLII\n")[:2]  # half an hour
      (360.0, 650000)
    """

    rate: float
    length: int
    signals: tuple[Signal, ...]


def header(content: bytes) -> Header:
    """Reads a `.hea` file.

    Raises:
      UserError: the content is no header; the caller names the record.

    Example:
      >>> header(b"100 1 360 650000\\n100.dat 212 200 11 1024 995 -22131 0 MLII\\n").signals[0]
      Signal(file='100.dat', format='212', description='MLII')
    """
    text = [line.decode("latin-1") for line in content.splitlines()]  # of bytes: `str.splitlines` knows more ends
    lines = [line for line in text if line.strip() and not line.startswith("#")]
    try:
        _, count, rate, length = lines[0].split()[:4]
        signals = tuple(_signal(line) for line in lines[1 : 1 + int(count)])
        if len(signals) != int(count):
            raise ValueError(f"{len(signals)} of {count} signals are described")
        return Header(float(rate.split("/")[0]), int(length), signals)
    except (ValueError, IndexError) as error:
        raise UserError(f"the header is not one of WFDB ({error})") from error


def _signal(line: str) -> Signal:
    file, kind, *_ = parts = line.split(maxsplit=8)  # then gain, bits, zero, first value, checksum, block, description
    return Signal(file, kind, parts[8].strip() if len(parts) > 8 else "")


def signals_212(content: bytes, num_signals: int) -> Int[ndarray, "T S"]:
    """Samples of interleaved signals: two samples of 12 bits in three bytes, with their high bits in the middle one.

    Raises:
      UserError: the bytes are not a whole number of samples of each signal.

    Example:
      >>> signals_212(bytes([0xE3, 0x33, 0xF3]), 2).tolist()
      [[995, 1011]]
    """
    if len(content) % 3 or len(content) // 3 * 2 % num_signals:
        raise UserError(f"{len(content):,} bytes are not a whole number of samples of {num_signals} signals of 12 bits")
    low, middle, high = np.frombuffer(content, np.uint8).reshape(-1, 3).astype(np.int16).T
    pairs = np.stack([low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4], axis=1)
    return np.where(pairs >= 2048, pairs - 4096, pairs).reshape(-1, num_signals).astype(np.int16)


def marks(content: bytes) -> tuple[Int[ndarray, " N"], Int[ndarray, " N"]]:
    """Sample and code of each annotation of a `.atr` file, in the order of time.

    Each is a word of 16 bits: 6 for the code and 10 for the time since the previous one. A SKIP is followed by a longer
    time, its high half first. NUM, SUB, CHN and AUX add to the previous annotation, and are skipped.

    Raises:
      UserError: the file ends before its end mark, a word of 0.

    Example:
      >>> sample, code = marks(bytes([18, 28 << 2, 77 - 18, 1 << 2, 0, 0]))  # a rhythm annotation, a normal beat
      >>> sample.tolist(), code.tolist()
      ([18, 77], [28, 1])
    """
    samples, codes, time, i = [], [], 0, 0
    try:
        while (word := struct.unpack_from("<H", content, i)[0]) != 0:
            code, interval, i = word >> 10, word & 0x3FF, i + 2
            if code == _SKIP:
                high, low = struct.unpack_from("<hH", content, i)
                time, i = time + high * 65536 + low, i + 4
            elif code == _AUX:
                i += interval + interval % 2
            elif code not in (_NUM, _SUB, _CHN):
                time += interval
                samples.append(time)
                codes.append(code)
    except struct.error as error:
        raise UserError(f"the annotations end after {len(content):,} bytes without an end mark") from error
    return np.array(samples, np.int64), np.array(codes, np.int64)


def beats(content: bytes) -> tuple[Int[ndarray, " N"], list[str]]:
    """Sample of the R peak, and symbol, of each annotation that is a beat.

    Example:
      >>> samples, symbols = beats(bytes([18, 28 << 2, 77 - 18, 1 << 2, 0, 0]))  # a rhythm annotation, a normal beat
      >>> samples.tolist(), symbols
      ([77], ['N'])
    """
    samples, codes = marks(content)
    chosen = [i for i, code in enumerate(codes.tolist()) if code in BEATS]
    return samples[chosen], [BEATS[int(codes[i])] for i in chosen]


def lead(head: bytes, content: bytes, name: str, kind: str = "212") -> Int[ndarray, " T"]:
    r"""The samples of the signal with the description `name`, in units of the converter.

    Raises:
      UserError: there is no such signal, or its format or number of samples differs from the header's.

    Example:
      >>> head = b"100 2 360 1\n100.dat 212 200 11 1024 995 0 0 MLII\n100.dat 212 200 11 1024 1011 0 0 V5\n"
      >>> lead(head, bytes([0xE3, 0x33, 0xF3]), "V5").tolist()
      [1011]
    """
    about = header(head)
    names = [signal.description for signal in about.signals]
    if name not in names:
        raise UserError(f"it has no lead {name}, only {', '.join(names)}")
    if any(signal.format != kind for signal in about.signals):
        raise UserError(f"its signals are in format {about.signals[0].format}, expected {kind}")
    samples = signals_212(content, len(about.signals))
    if len(samples) != about.length:
        raise UserError(f"it has {len(samples):,} samples of each lead, its header declares {about.length:,}")
    return samples[:, names.index(name)]
