"""The identity of a split's content, so that a run can tell whether its data have changed."""

from __future__ import annotations

import hashlib
import warnings

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Data, Source
from deeplab.data.prepare import cache

_PROBED = 32  # examples of a set of records that are read


def digest(data: Data, source: Source) -> str:
    """Digest of all arrays of a split, or, where it is read record by record, of its size and some examples.

    Arrays in the cache carry their checksums, so that nothing is read for them.

    Args:
      data: Data set that the split belongs to.
      source: Opened split.

    Example:
      >>> import deeplab as dl
      >>> one, other = ({"train": {"x": np.arange(4) + k}, "test": {"x": np.arange(2)}} for k in (0, 1))
      >>> a, b = (dl.data.Examples(arrays, batch_size=2, epochs=1) for arrays in (one, other))
      >>> [digest(a, a.open(split)) == digest(b, b.open(split)) for split in ("train", "test")]
      [False, True]
    """
    total = hashlib.sha256(str(source.size).encode())
    for name, array in sorted(source.arrays.items()):
        total.update(repr((name, array.dtype.name, tuple(array.shape), cache.checksums(array))).encode())
    if not source.arrays:
        for number in np.unique(np.linspace(0, source.size - 1, _PROBED).astype(np.int32)):
            total.update(_content(data, source, number))
    return total.hexdigest()[:16]


def _content(data: Data, source: Source, number: int) -> bytes:
    """Bytes of one example; b"" for a corrupted record, which is reported where it is trained on."""
    try:
        with warnings.catch_warnings(action="ignore"):
            example = data.fetch(source, np.array([number], np.int32))
    except UserError:
        return b""
    return b"".join(name.encode() + np.asarray(value).tobytes() for name, value in sorted(example.items()))
