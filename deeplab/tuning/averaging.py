"""Averages of trained parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError


def average(*trees: Any) -> Any:
    """The mean of parameters that several runs have found, or one run at several steps: a model soup.

    They must come from one beginning, such as the same pretrained weights: means of unrelated networks are no network.
    Sums are in float32. Statistics of batch norms are of a network that is none of these; compute them anew.

    Args:
      *trees: Parameters, such as `run.state.params`.

    Raises:
      UserError: There are none, or they differ in structure or shapes.

    Example:
      >>> average({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 6.0])})["w"].tolist()
      [2.0, 4.0]

    Source: Wortsman et al. 2022, https://arxiv.org/abs/2203.05482; of steps: Izmailov et al. 2018,
      https://arxiv.org/abs/1803.05407.
    """
    if len(trees) == 1 and isinstance(trees[0], list | tuple):
        raise UserError(f"a {type(trees[0]).__name__} is one tree of parameters; average(*trees) takes them one by one")
    shapes = [jax.tree.map(jnp.shape, tree) for tree in trees]
    if not trees or any(shape != shapes[0] for shape in shapes):
        raise UserError(f"{len(trees)} trees of parameters to average, expected one or more of equal names and shapes")
    total = jax.tree.map(lambda *leaves: sum(x.astype(jnp.float32) for x in leaves), *trees)
    return jax.tree.map(lambda x, like: (x / len(trees)).astype(like.dtype), total, trees[0])
