"""Checks of what functions of probabilities, labels and groups are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jax.core import Tracer
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from deeplab.core.errors import UserError
from deeplab.tasks.contract.outputs import described


def probabilities_of(probabilities: Float[ndarray, "N K"], name: str = "probabilities") -> Float[ndarray, "N K"]:
    """The probabilities as float64.

    Raises:
      UserError: a row holds a negative number or a NaN, or does not sum to one.

    Example:
      >>> probabilities_of(np.array([[2.0, -1.0]]))
      Traceback (most recent call last):
      deeplab.core.errors.UserError: probabilities: row 0 holds -1; give softmax(logits), each row of which sums to 1
    """
    p = matrix_of(probabilities, name, "K")
    bad = ~(p >= 0)
    told = "give softmax(logits), each row of which sums to 1"
    if bad.any():
        n, k = np.argwhere(bad)[0]
        raise UserError(f"{name}: row {n} holds {p[n, k]:g}; {told}")
    sums = p.sum(axis=1)
    if (off := np.abs(sums - 1) > 1e-3).any():  # float16 probabilities of 1,000 classes are that far off
        n = int(off.argmax())
        raise UserError(f"{name}: row {n} sums to {sums[n]:.6g}; {told}")
    return p


def matrix_of(values: Float[ndarray, "N D"], name: str, columns: int | str = "D") -> Float[ndarray, "N D"]:
    """Numbers as float64, a row for each example.

    Args:
      values: Numbers.
      name: Their name, for the message.
      columns: Number of columns; a text is the name of one that may be any.

    Raises:
      UserError: they are not, or have another number of columns.

    Example:
      >>> matrix_of([[1, 2]], "features").tolist()
      [[1.0, 2.0]]
      >>> matrix_of(np.zeros((5, 1)), "features", 3)
      Traceback (most recent call last):
      deeplab.core.errors.UserError: features have the shape [5, 1], expected [N, 3], a row for each example
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 2 or columns not in (x.shape[1], str(columns)):
        raise UserError(f"{name} have the shape {list(x.shape)}, expected [N, {columns}], a row for each example")
    return x


def labels_of(label: Int[ndarray, " N"], num_classes: int, size: int) -> Int[ndarray, " N"]:
    """The labels as integers.

    Raises:
      UserError: there are not as many as examples, or one is no class.

    Example:
      >>> labels_of(np.array([0.0, 2.0]), num_classes=3, size=2).tolist()
      [0, 2]
      >>> labels_of(np.array([0, 3]), num_classes=3, size=2)
      Traceback (most recent call last):
      deeplab.core.errors.UserError: label 3 of example 1 is not one of the classes 0 to 2
    """
    y = np.asarray(label)
    if y.shape != (size,):
        raise UserError(f"the labels have the shape {list(y.shape)}, expected [{size}], one for each example")
    whole = y.astype(np.int64)
    if (bad := (whole != y) | (whole < 0) | (whole >= num_classes)).any():
        raise UserError(
            f"label {y[bad][0]} of example {int(bad.argmax())} is not one of the classes 0 to {num_classes - 1}"
        )
    return whole


def classes_within(numbers: Any, num_classes: int, name: str = "label") -> Any:
    """Numbers of classes on a device, which indexing would wrap or clip; not looked at under a trace.

    Raises:
      UserError: one is no class.

    Example:
      >>> classes_within(np.array([0, 7]), 3, "target")
      Traceback (most recent call last):
      deeplab.core.errors.UserError: target 7 is no class of the model, which has 3: 0 to 2
    """
    if not isinstance(numbers, Tracer) and (off := np.setdiff1d(numbers, np.arange(num_classes))).size:
        raise UserError(f"{name} {off[0]} is no class of the model, which has {num_classes}: 0 to {num_classes - 1}")
    return numbers


def refuse_missing(batch: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuses a batch without a field that is needed.

    Raises:
      UserError: it lacks one.

    Example:
      >>> refuse_missing({"image": 0.5}, ("image", "weight"))  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: the batch has no field 'weight' but ['image']; give it ...
    """
    if missing := [name for name in names if name not in batch]:
        told = f"the batch has no field {missing[0]!r} but {sorted(batch)}; give it "
        if missing[0] not in ("id", "weight"):
            raise UserError(told + "one")
        raise UserError(
            told + "the examples' own numbers, such as jnp.arange(B), as id, and ones (0 where an example is padding) "
            "as weight"
        )


def refuse_unbound(apply: Any) -> None:
    """Refuses a model whose parameters are not known, such as a function from inputs to logits.

    Raises:
      UserError: it is none.

    Example:
      >>> refuse_unbound(lambda x: x)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: the model is ... whose parameters are not known; give run.bound(B)
    """
    if not dataclasses.is_dataclass(apply) or isinstance(apply, type):
        raise UserError(f"the model is {described(apply)}, whose parameters are not known; give run.bound(B)")


def refuse_labels(batches: Iterable[Mapping[str, Any]], outputs: Any) -> None:
    """Refuses labels that are no classes of a model, of examples that count.

    Args:
      batches: Batches on the host.
      outputs: Outputs of the model, or their shapes and dtypes; other than logits [B, K] they have no classes.

    Raises:
      UserError: one is no class.

    Example:
      >>> batch = {"label": np.array([0, 3]), "weight": np.array([1.0, 1.0])}
      >>> refuse_labels([batch], outputs=np.zeros((2, 3)))
      Traceback (most recent call last):
      deeplab.core.errors.UserError: label 3 is no class of the model, which has 3: 0 to 2
    """
    if len(shape := getattr(outputs, "shape", ())) == 2:
        for batch in batches:
            label = np.asarray(batch.get("label", 0))
            if label.ndim == 1:
                classes_within(label[np.asarray(batch["weight"]) > 0], shape[1])


def refuse_wide(radius: Any, low: Any, high: Any) -> None:
    """Refuses a radius of bytes: one that is larger than the box of the inputs; not looked at under a trace.

    Args:
      radius: Radius, in the maximum norm.
      low: Least value of an input.
      high: Largest value.

    Raises:
      UserError: it is.

    Example:
      >>> refuse_wide(8 / 255, low=0.0, high=1.0)
      >>> refuse_wide(8, low=0.0, high=1.0)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: radius=8 is larger than the box, whose values are 0.0 to 1.0; ...
    """
    if any(isinstance(value, Tracer) for value in (radius, low, high)):
        return
    width = float(np.max(np.asarray(high, np.float64) - np.asarray(low, np.float64)))
    if np.max(radius) > width:
        raise UserError(
            f"radius={radius} is larger than the box, whose values are {low} to {high}; images are moved in [0, 1], "
            f"before their normalization: give {radius} / 255 where it counts bytes"
        )


def truths_of(truths: Shaped[ndarray, " N"], name: str, size: int) -> Shaped[ndarray, " N"]:
    """Booleans, or numbers that are 0 and 1.

    Raises:
      UserError: there are not as many as examples, or one is neither 0 nor 1, such as a class.

    Example:
      >>> truths_of(np.array([0, 2]), "group", size=2)
      Traceback (most recent call last):
      deeplab.core.errors.UserError: group holds 2, expected 0 and 1; of several classes, pass group == k
    """
    x = np.asarray(truths)
    if x.shape != (size,):
        raise UserError(f"{name} has the shape {list(x.shape)}, expected [{size}], one for each example")
    if (bad := (x != 0) & (x != 1)).any():
        raise UserError(f"{name} holds {x[bad][0]}, expected 0 and 1; of several classes, pass {name} == k")
    return x


def groups_of(group: Shaped[ndarray, " N"], size: int) -> Shaped[ndarray, " N"]:
    """The groups as an array.

    Raises:
      UserError: there are not as many as examples.

    Example:
      >>> groups_of(["a", "b"], size=3)
      Traceback (most recent call last):
      deeplab.core.errors.UserError: the groups have the shape [2], expected [3], one for each example
    """
    if np.shape(group) != (size,):
        raise UserError(f"the groups have the shape {list(np.shape(group))}, expected [{size}], one for each example")
    return np.asarray(group)


def numbers_of(**arrays: Float[ndarray, " N"]) -> list[Float[ndarray, " N"]]:
    """Arrays [N] of one length, as float64; [N, 1] beside [N] would be all pairs.

    Raises:
      UserError: their shapes differ, or are not [N].

    Example:
      >>> numbers_of(low=np.zeros(3), target=np.ones((3, 1)))
      Traceback (most recent call last):
      deeplab.core.errors.UserError: low [3], target [3, 1]; expected [N] of each, such as target[:, 0]
    """
    made = [np.asarray(x, np.float64) for x in arrays.values()]
    if len({x.shape for x in made}) > 1 or made[0].ndim != 1:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in zip(arrays, made, strict=True))
        raise UserError(f"{shapes}; expected [N] of each, such as {list(arrays)[-1]}[:, 0]")
    return made


def bins_of(probability: Float[ndarray, " N"], num_bins: int) -> Int[ndarray, " N"]:
    """The bin m of each probability, of the bins (m / M, (m + 1) / M]; 0 is in the first.

    Example:
      >>> bins_of(np.array([0.0, 0.5, 0.6]), num_bins=2).tolist()
      [0, 0, 1]
    """
    return np.clip(np.ceil(probability * num_bins).astype(int) - 1, 0, num_bins - 1)


def of_label(values: Float[ndarray, "N K"], label: Int[ndarray, " N"]) -> Float[ndarray, " N"]:
    """values[n, label[n]].

    Example:
      >>> of_label(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 0])).tolist()
      [0.9, 0.8]
    """
    return np.take_along_axis(values, label[:, None], axis=1)[:, 0]
