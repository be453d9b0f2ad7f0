"""The axes of matrices, for optimizers that treat them as such."""

from __future__ import annotations

import re
from typing import Any

import jax
import optax.contrib

from deeplab.optim.paths import name, stacked_axes


def hidden_matrices(params: Any, others: str = r"embed|(^|/)head") -> Any:
    """Which parameters `optax.contrib.muon` orthogonalizes, and along which axes: hidden kernels, each layer by itself.

    `optax.contrib.muon(rate, muon_weight_dimension_numbers=dl.optim.hidden_matrices)`. Its own rule, all arrays of two
    axes, takes the biases of stacked layers [L, D] and the embeddings for matrices, and stacked kernels [L, a, b] for
    none. All that is no kernel is None, and trained by Adam. The kernel of a convolution is one matrix of (height,
    width, channels) to channels.

    Args:
      params: Parameters.
      others: Regular expression of the paths of kernels that are not hidden.

    Example:
      >>> import jax.numpy as jnp
      >>> kernel, bias = jnp.ones((12, 64, 96)), jnp.ones((12, 96))
      >>> axes = hidden_matrices({"blocks": {"dense": {"kernel": kernel, "bias": bias}}})["blocks"]["dense"]
      >>> axes["bias"], axes["kernel"].reduction_axis, axes["kernel"].output_axis
      (None, (1,), (2,))

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
    """

    def axes(path: Any, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
        full = name(path)
        batch = stacked_axes(full)
        if not full.endswith("kernel") or leaf.ndim < batch + 2 or re.search(others, full):
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(batch, leaf.ndim - 1)), (leaf.ndim - 1,))

    return jax.tree_util.tree_map_with_path(axes, params)
