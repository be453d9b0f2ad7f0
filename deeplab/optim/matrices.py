"""The axes of matrices, for optimizers that treat them as such."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import optax.contrib

from deeplab.optim.paths import check_found, name, names

STACKED = r"(^|/)(blocks\d*|layers|Scan\w+_\d+)/"
"""Layers under one name, [L, ...]: as ours are called, as many call them, and as Linen calls what has no name."""
OTHERS = (
    r"embed|columns/|patches/"  # what reads tokens, columns of a table, or patches
    r"|(^|/)(head|(classes|box|quality|score)/)|(^(model/)?|tower/|decoder/)out/"  # last layers
    r"|depthwise|convolution/kernel$"  # a filter for each channel
)
"""Kernels that are not hidden matrices, by the names that they have in this toolkit's models."""


def hidden_matrices(params: Any, others: str = OTHERS, stacked: str = STACKED) -> Any:
    """Which parameters `optax.contrib.muon` orthogonalizes, and along which axes: hidden kernels, each layer by itself.

    `optax.contrib.muon(rate, muon_weight_dimension_numbers=dl.optim.hidden_matrices)`. Its own rule, all arrays of two
    axes, takes the biases of stacked layers [L, D] and the embeddings for matrices, and stacked kernels [L, a, b] for
    none. All that is no kernel is None, and trained by Adam; so is what has one input or one output.

    The path decides, since shapes do not tell layers [L, a, b] from a convolution [k, a, b]. Of a "kernel" the first
    axis is that of layers where `stacked` is found; the rest is one matrix of (height, width, channels) to channels,
    or, of Linen's "query", "key" and "value" of three axes, of channels to (heads, channels). A filter for each channel
    [k, 1, D] is none. Of a "..._kernel", such as those of experts or of gates within heads, the last two axes are a
    matrix. A kernel is of several layers, too, where the bias beside it has two axes, the first as long. Layers of your
    own with another name: `functools.partial(dl.optim.hidden_matrices, stacked="decoder/")`.

    `learning_rate` of `optax.contrib.muon` is Adam's, too, unless `adam_learning_rate` is given; `weight_decay_mask` is
    of the hidden matrices alone: with `adam_weight_decay` biases and norms are decayed, too.

    Args:
      params: Parameters.
      others: Regular expression of the paths of kernels that are not hidden.
      stacked: Regular expression of the paths whose first axis is that of layers.

    Raises:
      UserError: `others` or `stacked` are given and match no parameter.

    Example:
      >>> import jax.numpy as jnp
      >>> kernel, bias = jnp.ones((12, 64, 96)), jnp.ones((12, 96))
      >>> axes = hidden_matrices({"blocks": {"dense": {"kernel": kernel, "bias": bias}}})["blocks"]["dense"]
      >>> axes["bias"], axes["kernel"].reduction_axis, axes["kernel"].output_axis
      (None, (1,), (2,))

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
    """
    given = [pattern for pattern, usual in ((others, OTHERS), (stacked, STACKED)) if pattern != usual]
    check_found(given, names(params))
    shapes = {name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def axes(path: Any, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        full = name(path)
        if leaf.ndim < 2 or not full.endswith("kernel") or re.search(others, full):
            return None
        batch = _batch(full, leaf.ndim, stacked) or int(_of_layers(full, shapes))
        inputs, outputs = range(batch, leaf.ndim - 1), range(leaf.ndim - 1, leaf.ndim)
        if leaf.ndim - batch == 3 and re.search(r"(^|/)(query|key|value)/kernel$", full):
            inputs, outputs = range(batch, batch + 1), range(batch + 1, leaf.ndim)
        elif len(inputs) > 1 and leaf.shape[-2] == 1:
            return None
        sizes = [math.prod(leaf.shape[axis] for axis in side) for side in (inputs, outputs)]
        return optax.contrib.MuonDimensionNumbers(tuple(inputs), tuple(outputs)) if min(sizes) > 1 else None

    return jax.tree_util.tree_map_with_path(axes, params)


def _of_layers(path: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the bias beside a kernel tells that it holds several: that of a single layer has one axis.

    Those of Linen's heads have two.
    """
    bias = shapes.get(f"{path.removesuffix('kernel')}bias", ())
    heads = re.search(r"(^|/)(query|key|value)/kernel$", path)
    return not heads and len(bias) == 2 and len(shapes[path]) > 2 and bias[0] == shapes[path][0]


def _batch(path: str, ndim: int, stacked: str) -> int:
    """Number of leading axes of a kernel along which it holds several."""
    if not re.search(r"(^|/)kernel$", path):
        return ndim - 2
    layers = bool(re.search(stacked, path)) + bool(re.search("(^|/)experts/", path))
    return min(layers, ndim - 2)
