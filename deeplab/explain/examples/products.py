"""The layers of a program: products and convolutions by a parameter, with their biases, found where it is traced."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array, Float

from deeplab.core.interpret import Interpretation, interpret, traced
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import CALLS

_SAME = frozenset({"reshape", "squeeze", "broadcast_in_dim", "convert_element_type", "name", "copy"})


class Part(NamedTuple):
    """A leaf of the parameters; or a row of one, of a layer of a stack that is a loop."""

    leaf: int
    row: int | None = None

    def of(self, leaves: Sequence[Array]) -> Array:
        """The array itself."""
        return leaves[self.leaf] if self.row is None else leaves[self.leaf][self.row]


class Layer(NamedTuple):
    """A weight, and its bias where it has one.

    Attributes:
      weight: Weight.
      axes: Axes of the weight: those that are summed over, then those of the outputs.
      summed: Number of the axes that are summed over.
      bias: Bias, of the size of the outputs.
    """

    weight: Part
    axes: tuple[int, ...]
    summed: int
    bias: Part | None = None


class _Value(NamedTuple):
    """An array, and what it is up to its shape and type: a parameter, or the product of this number."""

    array: Any
    part: Part | None = None
    product: int | None = None


@dataclasses.dataclass
class Product:
    """A use of a layer.

    Attributes:
      layer: Layer.
      rows: Function to its inputs [R, D].
      columns: Function from what is shaped as its outputs to [R, O].
      shape: Shape and type of its outputs.
    """

    layer: Layer
    rows: Callable[[], Float[Array, "R D"]]
    columns: Callable[[Array], Float[Array, "R O"]]
    shape: Any = None


def matrix(layer: Layer, leaves: Sequence[Array]) -> Float[Array, "D O"]:
    """What the leaves have at a layer, as a matrix from inputs to outputs; a bias is its last row.

    Example:
      >>> matrix(Layer(Part(0), (0, 1), 1, Part(1)), [jnp.ones((2, 1)), jnp.zeros(1)]).tolist()
      [[1.0], [1.0], [0.0]]
    """
    weight = layer.weight.of(leaves).transpose(layer.axes)
    weight = weight.reshape(math.prod(weight.shape[: layer.summed]), -1)
    return weight if layer.bias is None else jnp.concatenate([weight, layer.bias.of(leaves).reshape(1, -1)])


def layers_of(outputs: Callable[[Any, Any], Any], params: Any, batch: Any) -> list[Layer]:
    """The layers of a function `(params, batch) -> outputs`, in the order of its program."""
    layers: dict[Part, Layer] = {}
    for product in _products(outputs, params, batch):
        layers.setdefault(product.layer.weight, product.layer)
    counts = Counter(part.leaf for part in layers if part.row is not None)
    rows = [leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(params)]
    return [layer for part, layer in layers.items() if part.row is None or counts[part.leaf] == rows[part.leaf]]


Added = Callable[[list[Array]], tuple[Array, list[Float[Array, "R D"]]]]


def with_products(outputs: Callable[[Any, Any], Any], params: Any, batch: Any) -> tuple[Added, list[Product]]:
    """The function from what is added to each product to (outputs, inputs of the products), and the products.

    The derivative by what is added is that by the layer's outputs, at each place where it is used.
    """

    def run(added: list[Array]) -> tuple[Array, list[Array]]:
        out, products = _interpreted(outputs, params, batch, added)
        return out, [product.rows() for product in products]

    return run, _products(outputs, params, batch)


def _products(outputs: Callable[[Any, Any], Any], params: Any, batch: Any) -> list[Product]:
    """The products alone; nothing is computed."""
    found: list[Product] = []
    jax.eval_shape(lambda params, batch: found.extend(_interpreted(outputs, params, batch, None)[1]), params, batch)
    return found


def _interpreted(
    outputs: Callable[[Any, Any], Any], params: Any, batch: Any, added: list[Array] | None
) -> tuple[Array, list[Product]]:
    """The outputs and the products, in the order of the program."""
    program, _ = traced(outputs, params, batch)
    leaves = jax.tree.leaves(params)
    products: list[Product] = []

    def rule(eqn: core.JaxprEqn, values: list[_Value], scope: str) -> Any:
        del scope
        name = eqn.primitive.name
        if (name in CALLS or name == "scan") and any(value.part is not None for value in values):
            return NotImplemented
        out = bind(eqn, [value.array for value in values])
        product = _product(eqn, values, leaves)
        if product is not None:
            products.append(dataclasses.replace(product, shape=jax.ShapeDtypeStruct(out[0].shape, out[0].dtype)))
            number = len(products) - 1
            return [_Value(out[0] if added is None else out[0] + added[number], product=number)]
        if name == "add":
            return [_Value(out[0], product=_biased(products, values[0], values[1], leaves))]
        return [_Value(x, *_origin(eqn, values[0], leaves)) if values else _Value(x) for x in out]

    inputs = [_Value(leaf, Part(i)) for i, leaf in enumerate(leaves)] + [_Value(x) for x in jax.tree.leaves(batch)]
    (out,) = interpret(program, inputs, Interpretation(rule, lift=_Value))
    return out.array, products


def _origin(eqn: core.JaxprEqn, value: _Value, leaves: Sequence[Array]) -> tuple[Part | None, int | None]:
    """What the outputs of an equation with one array are."""
    name, part = eqn.primitive.name, value.part
    if name in _SAME:
        return part, value.product
    if name == "slice" and part is not None and part.row is None and value.array.shape == part.of(leaves).shape:
        start, stop = eqn.params["start_indices"], eqn.params["limit_indices"]
        rows = stop[0] - start[0] == 1 and stop[1:] == value.array.shape[1:] and not eqn.params["strides"]
        return (part._replace(row=start[0]) if rows else None), None
    return None, value.product if name == "transpose" else None


def _biased(products: list[Product], a: _Value, b: _Value, leaves: Sequence[Array]) -> int | None:
    """The number of the product that one of two summands is, if the other is its bias, which it gets."""
    for y, bias in ((a, b), (b, a)):
        if y.product is not None and bias.part is not None:
            product = products[y.product]
            layer, weight = product.layer, product.layer.weight.of(leaves)
            size = math.prod(weight.shape[axis] for axis in layer.axes[layer.summed :])
            taken = {other.layer.weight for other in products if other.layer.bias == bias.part} - {layer.weight}
            if layer.bias is None and not taken and bias.part.of(leaves).size == size:
                product.layer = layer._replace(bias=bias.part)
                return y.product
    return None


def _product(eqn: core.JaxprEqn, values: list[_Value], leaves: Sequence[Array]) -> Product | None:
    """The use of a layer that an equation is; None of any other."""
    for side in (1, 0) if eqn.primitive.name in ("dot_general", "conv_general_dilated") else ():
        part, x = values[side].part, values[1 - side].array
        if part is not None and values[1 - side].part is None and values[side].array.shape == part.of(leaves).shape:
            make = _dense if eqn.primitive.name == "dot_general" else _convolution
            return make(eqn.params, part, x, values[side].array, side)
    return None


def _dense(params: Any, part: Part, x: Array, weight: Array, side: int) -> Product | None:
    contracted, batched = params["dimension_numbers"]
    if batched[0]:
        return None
    of_weight, of_x = contracted[side], contracted[1 - side]
    outs = tuple(axis for axis in range(weight.ndim) if axis not in of_weight)
    free = tuple(axis for axis in range(x.ndim) if axis not in of_x)
    size = math.prod(weight.shape[axis] for axis in of_weight)

    def columns(y: Array) -> Array:  # the axes of the left argument come first
        turned = y if side else jnp.moveaxis(y, tuple(range(len(outs))), tuple(range(-len(outs), 0)))
        return turned.reshape(-1, weight.size // size)

    layer = Layer(part, (*of_weight, *outs), len(of_weight))
    return Product(layer, lambda: x.transpose(*free, *of_x).reshape(-1, size), columns)


def _convolution(params: Any, part: Part, x: Array, weight: Array, side: int) -> Product | None:
    if side == 0 or params["feature_group_count"] > 1 or params["batch_group_count"] > 1:
        return None
    numbers = params["dimension_numbers"]
    (outs, ins, *window), features = numbers.rhs_spec, numbers.out_spec[1]

    def last(y: Array) -> Array:
        return jnp.moveaxis(y, features, -1).reshape(-1, y.shape[features])

    def rows() -> Array:  # [R, C h w]
        patches = jax.lax.conv_general_dilated_patches(
            x, [weight.shape[axis] for axis in window], params["window_strides"], params["padding"],
            params["lhs_dilation"], params["rhs_dilation"], numbers, precision=params["precision"],
        )  # fmt: skip
        return last(patches)

    return Product(Layer(part, (ins, *window, outs), 1 + len(window)), rows, last)
