"""Learning rates that fall with the distance from the output."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.optim.paths import check_found, name, names, stacked_axes
from deeplab.optim.schedules import Scalar

FIRST = r"embed|stem|subsampling|patches|condition|columns/|target/|position|(^|/)token$"
"""What comes before the layers in this toolkit's models: all else outside of them has the rate of the head."""
_LAYER = re.compile(r"^(?P<tower>(?:[^/]+/)*?)(?P<stack>blocks\d*(?:/layers_\d+)?|[^/]*block\d+)/")
"""A stack of layers (or every k-th of them, where layers alternate), or a layer of its own: block1, stage2_block1."""


@ranges.checked(decay=ranges.Range(above=0, at_most=1))
def by_depth(
    optimizer: optax.GradientTransformation, decay: Scalar = 0.8, first: str = FIRST
) -> optax.GradientTransformationExtraArgs:
    """Multiplies an optimizer's updates by decay^n: n is 0 at the head, 1 in the last of L layers, L in the first one.

    What comes before the layers, such as embeddings, has n = L + 1; `first` says what does, by its name, and all else
    outside of the layers is taken for a part of the head. Layers are the modules whose names end in "block" and a
    number, and those stacked as "blocks", whose parameters [L, ...] have a factor for each layer. Each tower of a
    model, such as the encoder and the decoder, counts its own. In an `optax.chain` it comes last, around the optimizer;
    `with_ema` goes around it.

    Args:
      optimizer: Optimizer of the head's learning rate.
      decay: Factor from layer to layer, in (0, 1]; may be a tracer.
      first: Regular expression of the parameters before the layers.

    Raises:
      UserError: There are no layers, or `first` matches no parameter.

    Example:
      >>> tx = by_depth(optax.sgd(1.0), decay=0.5)
      >>> params = {"embed": jnp.ones(1), "blocks": {"kernel": jnp.ones((2, 3))}, "head": jnp.ones(1)}
      >>> updates, _ = tx.update(params, tx.init(params), params)
      >>> updates["embed"].tolist(), updates["blocks"]["kernel"][:, 0].tolist(), updates["head"].tolist()
      ([-0.125], [-0.25, -0.5], [-1.0])

    Source: Clark et al. 2020 (ELECTRA), https://arxiv.org/abs/2003.10555, appendix A; Bao et al. 2021 (BEiT),
      https://arxiv.org/abs/2106.08254.
    """

    def init(params: Any) -> optax.EmptyState:
        distances(params, first)
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factors = jax.tree.map(lambda n: jnp.power(decay, jnp.asarray(n, jnp.float32)), distances(updates, first))
        return jax.tree.map(lambda u, factor: u * factor.astype(u.dtype), updates, factors), state

    return optax.chain(optimizer, optax.GradientTransformation(init, update))


def distances(params: Any, first: str = FIRST) -> Any:
    """How far each parameter is from the output, in layers; see `by_depth`.

    Args:
      params: Parameters, of which the shapes are read.
      first: Regular expression of the parameters before the layers.

    Returns:
      A tree of integer arrays that broadcast with the parameters.

    Raises:
      UserError: There are no layers, or `first` matches no parameter.

    Example:
      >>> distances({"embed": jnp.ones(1), "block1": {"bias": jnp.ones(1)}, "block2": {"bias": jnp.ones(1)}})["embed"]
      array(3)
    """
    numbers, sizes = _layers(params)
    if first != FIRST:  # those of the default are in some models only
        check_found([first], names(params))
    if not sizes:
        raise UserError(
            "the parameters have no layers by their names (blocks/..., block1/..., stage1_block1/...), so that there "
            f"is no depth: {', '.join(names(params)[:8])}, ...; use dl.optim.groups"
        )

    def distance(path: Any, leaf: Any) -> np.ndarray:
        full = name(path)
        if found := _LAYER.match(f"{full}/"):
            n = sizes[found["tower"]] - numbers[found["tower"], found["stack"]]
            return n.reshape(-1, *[1] * (leaf.ndim - 1)) if stacked_axes(full) else n.reshape(())
        if not re.search(first, full):
            return np.array(0)
        own = [tower for tower in sizes if tower and full.startswith(tower)]
        return np.array((sizes[max(own, key=len)] if own else max(sizes.values())) + 1)

    return jax.tree_util.tree_map_with_path(distance, params)


def _layers(params: Any) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, int]]:
    """The numbers of the layers of each stack, from 0 on, and how many each tower has."""
    lengths: dict[tuple[str, str], int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if found := _LAYER.match(f"{name(path)}/"):
            lengths[found["tower"], found["stack"]] = leaf.shape[0] if stacked_axes(name(path)) else 1
    numbers: dict[tuple[str, str], np.ndarray] = {}
    sizes: dict[str, int] = {}
    periods: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for tower, stack in sorted(lengths, key=lambda key: [_natural(part) for part in key]):
        periods.setdefault((tower, stack.partition("/")[0]), []).append((tower, stack))
    for (tower, _), members in periods.items():  # the stacks in their order, each with the layers of its period
        start, period = sizes.get(tower, 0), len(members)
        for j, member in enumerate(members):
            numbers[member] = start + j + period * np.arange(lengths[member])
        sizes[tower] = start + sum(lengths[member] for member in members)
    return numbers, sizes


def _natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts numbers within names by their values."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
