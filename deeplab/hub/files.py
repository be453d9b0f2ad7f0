"""Files of tensors in the safetensors format: headers first, then one tensor at a time.

A file is the length of a header in 8 bytes, the header as JSON (name -> dtype, shape and first and last byte), and the
bytes of the tensors; see https://github.com/huggingface/safetensors. Nothing in it is executed, unlike in a pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

DTYPES = {
    "F64": np.dtype(np.float64), "F32": np.dtype(np.float32), "F16": np.dtype(np.float16),
    "BF16": jnp.dtype(jnp.bfloat16), "I64": np.dtype(np.int64), "I32": np.dtype(np.int32), "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8), "U8": np.dtype(np.uint8), "BOOL": np.dtype(np.bool_),
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # bytes, as in the reference implementation


class Header(NamedTuple):
    """What a file says of one tensor.

    Attributes:
      file: File that holds it.
      dtype: Name of the dtype, as the format spells it.
      shape: Shape.
      offset: Number of its first byte in the file.
      size: Number of its bytes.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype}"


def read_headers(file: Path) -> tuple[dict[str, Header], list[str]]:
    """The tensors of a file, and what is wrong with it, if anything."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            return {}, [
                f"{file.name}: the header claims {length:,} bytes, and the file has {size:,}; download it again"
            ]
        try:
            header = json.loads(stream.read(length))
            tensors = {name: _header(file, 8 + length, said) for name, said in header.items() if name != "__metadata__"}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return {}, [f"{file.name}: the header is no table of tensors ({error}); download it again"]
    wrong = []
    for name, tensor in tensors.items():
        dtype = DTYPES.get(tensor.dtype)
        if dtype is not None and math.prod(tensor.shape) * dtype.itemsize != tensor.size:
            wrong.append(f"{file.name}: {name} is {tensor}, and has {tensor.size:,} bytes")
        if tensor.offset < 8 + length or tensor.size < 0 or tensor.offset + tensor.size > size:
            wrong.append(
                f"{file.name}: {name} ends at byte {tensor.offset + tensor.size:,} of {size:,}; it is truncated"
            )
    return tensors, wrong


def _header(file: Path, start: int, said: Mapping[str, Any]) -> Header:
    first, last = said["data_offsets"]
    return Header(file, said["dtype"], tuple(said["shape"]), start + first, last - first)


def read_tensor(header: Header) -> np.ndarray:
    """The values of one tensor, in memory of their own."""
    dtype = DTYPES[header.dtype]
    raw = np.fromfile(header.file, np.uint8, count=header.size, offset=header.offset)
    return raw.view(dtype).reshape(header.shape)


def write_file(file: Path, tensors: Iterable[tuple[str, Header]], read: Any) -> None:
    """Writes a file, one tensor at a time.

    Args:
      file: File to write.
      tensors: Names, and headers of which dtype and shape are used.
      read: Function from a name to its values.
    """
    tensors, said, end = list(tensors), {}, 0
    for name, header in tensors:
        size = math.prod(header.shape) * DTYPES[header.dtype].itemsize
        said[name] = {"dtype": header.dtype, "shape": list(header.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **said}).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, _ in tensors:
            np.ascontiguousarray(read(name)).reshape(-1).view(np.uint8).tofile(stream)
