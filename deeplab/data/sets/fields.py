"""Fields: the named arrays that an example is made of, and the check that arrays are what their fields say."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from deeplab.core.errors import UserError


class Field(NamedTuple):
    """One array of an example.

    Attributes:
      shape: Shape of one example's array.
      dtype: NumPy's name of the dtype.
      low: Least value.
      below: Exclusive upper bound. An integer outside the range is an error, because an index out of range gives a
        silent NaN on the device; a float far outside gives a warning.
      per: Name of an index field. The array is then a table [`below` of that field, *shape], stored once for each value
        of the index and not once for each example, and an example holds its row.

    Example:
      >>> Field((32, 32, 3), "uint8"), Field((), "int32", below=10).below
      (Field(shape=(32, 32, 3), dtype='uint8', low=0, below=None, per=None), 10)
    """

    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    low: int = 0
    below: int | None = None
    per: str | None = None


def image_fields(shape: tuple[int, int, int], num_classes: int = 0, dtype: str = "uint8") -> dict[str, Field]:
    """The fields of a set of images: `image` [H, W, C] and, where there are classes, `label`.

    Args:
      shape: (H, W, C).
      num_classes: Number of classes; 0 for images without labels.
      dtype: "uint8", or a float type for values in [0, 1].

    Example:
      >>> sorted(image_fields((28, 28, 1), num_classes=10)), sorted(image_fields((28, 28, 1)))
      (['image', 'label'], ['image'])
    """
    image = Field(shape, dtype, 0, 256 if np.dtype(dtype) == np.uint8 else 1)
    return {"image": image} | ({"label": Field((), "int32", 0, num_classes)} if num_classes else {})


def check_size(size: int | tuple[int, int], channels: int) -> tuple[int, int]:
    """Height and width in pixels.

    Raises:
      UserError: they are no size, or there are neither 1 nor 3 channels.
    """
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    whole = all(isinstance(side, int | np.integer) for side in pair)
    if not whole or len(pair) != 2 or min(pair) < 1 or channels not in (1, 3):
        raise UserError(f"size={size}, channels={channels}; expected pixels, or (height, width), and 1 or 3 channels")
    return pair


def num_rows(fields: Mapping[str, Field], name: str, size: int) -> int:
    """Rows of a field's array in a split of `size` examples; for a table, the bound of its index.

    Example:
      >>> fields = {"user": Field((), "int32", below=944), "age": Field((), per="user")}
      >>> num_rows(fields, "user", 80_000), num_rows(fields, "age", 80_000)
      (80000, 944)
    """
    index = fields[name].per
    return size if index is None else int(fields[index].below or 0)


def check(fields: Mapping[str, Field], arrays: Mapping[str, np.ndarray], size: int, where: str) -> None:
    """Compares a split's arrays with its fields, once, on the host.

    Args:
      fields: What is expected.
      arrays: What was read.
      size: Number of examples.
      where: Name of the split, for messages.

    Raises:
      UserError: a field is missing, has another shape or dtype, or holds a value that is not finite or out of range.
    """
    if arrays.keys() != fields.keys():
        raise UserError(f"{where} was read as {sorted(arrays)}, expected {sorted(fields)}")
    for name, field in fields.items():
        array, rows = arrays[name], num_rows(fields, name, size)
        if array.shape != (rows, *field.shape) or array.dtype != np.dtype(field.dtype):
            given, expected = f"{array.dtype}{list(array.shape)}", f"{field.dtype}{[rows, *field.shape]}"
            raise UserError(f"{name!r} of {where} is {given}, expected {expected}")
        check_values(name, field, array, where)


def check_values(name: str, field: Field, array: np.ndarray, where: str) -> None:
    """Raises UserError for values that are not finite, or integers out of range; warns of floats far out of range."""
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        raise UserError(
            f"{name!r} of example {bad[0]} in {where} is not finite ({len(bad)} such examples); leave such examples "
            "out, or replace the values"
        )
    if array.dtype.kind in "iu" and (field.below is not None or field.low):
        _check_integers(name, field, array, where)
    if array.dtype.kind == "f" and field.below is not None and array.size:
        low, high, slack = array.min(), array.max(), (field.below - field.low) / 2
        if low < field.low - slack or high > field.below + slack:
            warnings.warn(  # a model accepts them silently
                f"{name!r} of {where} is {array.dtype} from {low:g} to {high:g}, expected "
                f"[{field.low}, {field.below}]; scale the values, or give images as uint8",
                stacklevel=2,
            )


def check_fits(name: str, array: np.ndarray, dtype: str, where: str, mend: str) -> None:
    """Raises UserError for integers that a dtype cannot hold, which would wrap, and floats that would become infinite.

    Args:
      name: Name of the array, for the message.
      array: Finite values.
      dtype: NumPy's name of the dtype that they get.
      where: Name of the split, for the message.
      mend: What to do, for the message.

    Example:
      >>> check_fits("time", np.array([1_700_000_000_000]), "int32", "split 'train'", "leave it out")
      Traceback (most recent call last):
      deeplab.core.errors.UserError: 'time' of split 'train' has values that int32 cannot hold; leave it out
    """
    to = np.dtype(dtype)
    if array.dtype == to or not array.size or array.dtype.kind not in ("iu" if to.kind in "iu" else "fc"):
        return
    bounds = np.iinfo(to) if to.kind in "iu" else np.finfo(to)
    parts = (np.real(array), np.imag(array)) if array.dtype.kind == "c" else (array,)
    if any(part.min() < bounds.min or part.max() > bounds.max for part in parts):
        raise UserError(f"{name!r} of {where} has values that {dtype} cannot hold; {mend}")


def _check_integers(name: str, field: Field, array: np.ndarray, where: str) -> None:
    bounds = np.iinfo(array.dtype)
    if field.low <= bounds.min and (field.below is None or field.below > bounds.max):
        return  # the dtype has no other values
    wrong = (array < field.low) | (array >= field.below if field.below is not None else False)
    if wrong.any():
        number = int(np.argwhere(wrong)[0][0])
        raise UserError(
            f"{name!r} of example {number} in {where} is {array[wrong].flat[0]}, expected {field.low} to "
            f"{field.below - 1 if field.below is not None else 'any'} ({int(wrong.sum())} such values)"
        )
