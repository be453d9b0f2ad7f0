"""Arrays in memory as a data set."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from deeplab.core.errors import UserError
from deeplab.data.base import Source
from deeplab.data.normalize import CENTERED, Normalize
from deeplab.data.prepare.originals import Content
from deeplab.data.sets.base import ExampleSet
from deeplab.data.sets.fields import Field, check_fits, check_values

_DTYPES = {"float64": "float32", "int64": "int32", "uint64": "uint32", "complex128": "complex64"}
_KINDS = "biufc"  # of dtypes that a device has: no strings, objects or times


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays(ExampleSet):
    """Examples that are in memory already. The arrays are wrapped, and not copied.

    A batch has JAX's default dtypes: float64 and int64 become float32 and int32 when it is cut. Texts in a field
    `label` are numbered by their classes.

    Args:
      arrays: For each split its arrays by name, [N, ...] each, all of one length. A pair stands for (`image`, `label`):
        [N, H, W, C] uint8 or floats in [0, 1], and integers or texts [N].
      class_names: Names of the classes of `label`, in order. When empty, they are the texts of all splits, sorted, or
        "0", "1", ... up to the largest number. A field `label` that is neither one integer nor one text an example has
        no classes.
      normalize: Normalization of `image`, where the data are read by `Images`.
      name: Name of the set, for messages.

    Raises:
      UserError: arrays of unequal lengths, of a dtype that no device has, or that differ between splits; texts that are
        no class; on opening a split, values that are not finite, or labels that have no name.

    Example:
      >>> import deeplab as dl
      >>> x, y = np.zeros((100, 8), np.float32), np.zeros(100, np.float32)
      >>> table = dl.data.Examples({"train": {"x": x, "y": y}, "test": {"x": x, "y": y}}, batch_size=20, epochs=2)
      >>> table.num_steps, table.spec()["y"].shape
      (10, (20,))
      >>> pets = Arrays({"train": {"x": x[:3], "label": ["dog", "cat", "dog"]}})
      >>> pets.class_names, pets.arrays["train"]["label"].tolist()
      (('cat', 'dog'), [1, 0, 1])
    """

    arrays: Mapping[str, Mapping[str, np.ndarray] | tuple[np.ndarray, np.ndarray]]
    class_names: tuple[str, ...] = ()
    normalize: Normalize | None = CENTERED
    name: str = "arrays"
    citation: str = ""
    cached: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.arrays:
            raise UserError('arrays are empty, expected {"train": {name: array, ...}, "test": {...}}')
        given = {split: _given(f"split {split!r} of {self.name}", arrays) for split, arrays in self.arrays.items()}
        texts = {split: arrays["label"] for split, arrays in given.items() if _is_text(arrays.get("label"))}
        if texts:
            self._number(given, texts)
        named = {split: _named(f"split {split!r} of {self.name}", arrays) for split, arrays in given.items()}
        object.__setattr__(self, "arrays", named)
        fields = {split: {k: (a.shape[1:], a.dtype) for k, a in arrays.items()} for split, arrays in named.items()}
        (first, expected), *others = fields.items()
        for split, given in others:
            if given != expected:
                raise UserError(
                    f"split {split!r} of {self.name} holds {_described(given)}, and split {first!r} "
                    f"{_described(expected)}; all splits need the same fields, shapes and dtypes"
                )
        if not self.class_names and expected.get("label", ((0,), None))[0] == ():
            object.__setattr__(self, "class_names", _numbers([arrays["label"] for arrays in named.values()]))

    def _number(self, given: Mapping[str, dict[str, np.ndarray]], texts: Mapping[str, np.ndarray]) -> None:
        """Replaces labels that are texts by the numbers of their classes, and takes the classes from them."""
        if texts.keys() != given.keys():
            other = next(split for split in given if split not in texts)
            raise UserError(
                f"labels of split {min(texts)!r} of {self.name} are texts, and those of split {other!r} are not; give "
                "all splits the same kind of labels"
            )
        names = self.class_names or tuple(sorted({str(text) for labels in texts.values() for text in labels}))
        numbers = {str(name): number for number, name in enumerate(names)}
        for split, labels in texts.items():
            if unknown := [text for text in labels if str(text) not in numbers]:
                raise UserError(
                    f"a label of split {split!r} of {self.name} is {str(unknown[0])!r}, expected one of the classes "
                    f"{', '.join(numbers)}"
                )
            given[split]["label"] = np.array([numbers[str(text)] for text in labels], np.int32)
        object.__setattr__(self, "class_names", tuple(map(str, names)))

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  (frozen: nobody sets it)
        return self.digest[:16]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the names, dtypes, shapes and contents of all arrays; computed once, on demand."""
        total = hashlib.sha256(repr(self.class_names).encode())
        for split, arrays in sorted(self._named.items()):
            for name, array in sorted(arrays.items()):
                total.update(repr((split, name, array.dtype.str, array.shape)).encode())
                total.update(memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data))
        return total.hexdigest()

    @property
    def _named(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        return self.arrays  # pyright: ignore[reportReturnType]  (pairs are named in __post_init__)

    @property
    def splits(self) -> Mapping[str, int]:
        return {split: len(next(iter(arrays.values()))) for split, arrays in self._named.items()}

    @functools.cached_property
    def fields(self) -> Mapping[str, Field]:
        """Derived from the arrays: shapes, dtypes, and the ranges of integers."""
        found = {}
        for name, array in next(iter(self._named.values())).items():
            low, below = _range([arrays[name] for arrays in self._named.values()])
            if name == "label" and self.class_names:
                low, below = 0, len(self.class_names)
            elif name == "image" and array.dtype.kind == "f":
                low, below = 0, 1
            found[name] = Field(array.shape[1:], _DTYPES.get(array.dtype.name, array.dtype.name), low, below)
        return found

    def read(self, split: str, content: Content) -> dict[str, np.ndarray]:
        return dict(self._named[split])

    def check(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
        where = f"split {split!r} of {self.name}"
        for name, field in self.fields.items():
            array = arrays[name]
            check_values(name, field, array, where)
            mend = "renumber them" if array.dtype.kind in "iu" else "scale them"
            check_fits(name, array, field.dtype, where, mend)

    def fetch(self, source: Source, ids: Any) -> dict[str, Any]:
        return {name: rows.astype(self.fields[name].dtype) for name, rows in super().fetch(source, ids).items()}


def _is_text(label: np.ndarray | None) -> bool:
    """Whether labels are texts, one an example."""
    if label is None or label.ndim != 1 or not len(label):
        return False
    return label.dtype.kind in "UT" or (label.dtype.kind == "O" and all(isinstance(text, str) for text in label))


def _given(where: str, given: Mapping[str, np.ndarray] | tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    """A split's arrays by name."""
    if not isinstance(given, Mapping):
        image, label = map(np.asarray, given)
        if image.ndim != 4:
            raise UserError(f"images of {where} have shape {image.shape}, expected [N, H, W, C], with C = 1 for gray")
        if image.dtype != np.uint8 and image.dtype.kind != "f":
            raise UserError(f"images of {where} are {image.dtype}, expected uint8, or floats in [0, 1]")
        if label.ndim != 1 or not (label.dtype.kind in "iu" or _is_text(label)):
            raise UserError(
                f"labels of {where} are {label.dtype}{list(label.shape)}, expected integers or texts [N]; name other "
                'targets, as in {"image": ..., "target": ...}'
            )
        given = {"image": image, "label": label}
    return {name: _native(np.asarray(array)) for name, array in given.items()}


def _native(array: np.ndarray) -> np.ndarray:
    """The array in the byte order of this machine: JAX takes no other, such as that of a FITS file."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _named(where: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Checks that a split's arrays are of one length and of dtypes that a device has."""
    if not arrays or {"id", "weight"} & arrays.keys():
        raise UserError(f"{where} holds {sorted(arrays)}, expected one or more names other than 'id' and 'weight'")
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS:
            hint = "rows of unequal length are padded to one" if array.dtype.kind == "O" else "encode it as numbers"
            raise UserError(f"{name!r} of {where} has dtype {array.dtype}, expected numbers or booleans; {hint}")
        if not array.ndim:
            raise UserError(f"{name!r} of {where} is a scalar, expected an array [N, ...]")
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name!r} {len(array):,}" for name, array in arrays.items())
        raise UserError(f"the arrays of {where} differ in length: {lengths}; give each a row for every example")
    return arrays


def _described(fields: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> str:
    return ", ".join(f"{name} {dtype}{list(shape)}" for name, (shape, dtype) in sorted(fields.items()))


def _numbers(labels: list[np.ndarray]) -> tuple[str, ...]:
    """Class names for integer labels, "0" up to the largest; none for labels of another kind."""
    if any(label.dtype.kind not in "iu" for label in labels):
        return ()
    return tuple(map(str, range(1 + max((int(label.max()) for label in labels if len(label)), default=0))))


def _range(arrays: list[np.ndarray]) -> tuple[int, int | None]:
    """The least integer (or 0) and the exclusive upper bound of one field in all splits; (0, None) for other dtypes."""
    if arrays[0].dtype == np.uint8:
        return 0, 256
    given = [array for array in arrays if array.size]
    if arrays[0].dtype.kind not in "iu" or not given:
        return 0, None
    return min(0, *(int(array.min()) for array in given)), 1 + max(int(array.max()) for array in given)
