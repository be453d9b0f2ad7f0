"""Randomization of weights: a map of what a model has learnt does not survive the loss of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError, nearest
from deeplab.explain.trust.shape import entropy

MethodOf = Callable[[Any], Float[Array, "B ..."]]
"""A method of explanation as a function of the parameters: params -> map."""


@jax.jit
def rank_correlation(a: Float[Array, "B ..."], b: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """Spearman's correlation of two maps, signs included, [B]; 0 where one is constant, ties by their mean rank.

    Sizes alone would condemn every product with the input, 0.6 where signs tell 0.0, and pass guided backpropagation:
    0.25 for 0.52. See the table in the package's README.

    Example:
      >>> float(rank_correlation(jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[-1.0, 4.0, 9.0]]))[0])
      1.0
    """

    def mean_ranks(x: Array) -> Array:
        ordered = jnp.sort(x)
        place = jnp.searchsorted(ordered, x, side="left") + jnp.searchsorted(ordered, x, side="right")
        return place / 2 - place.mean() / 2

    def of_one(a: Array, b: Array) -> Array:
        a, b = mean_ranks(a.reshape(-1)), mean_ranks(b.reshape(-1))
        below = jnp.sqrt(jnp.sum(a * a) * jnp.sum(b * b))
        return jnp.where(below > 0, jnp.sum(a * b) / jnp.where(below > 0, below, 1), 0.0)

    return jax.vmap(of_one)(a, b)


def shuffled(params: Any, key: Array, layers: Sequence[str] | None = None) -> Any:
    """Parameters with the entries of each array in random order: of the same sizes, and without what was learnt.

    Args:
      params: Nested dict of arrays.
      key: Key of the orders.
      layers: Paths of the modules to shuffle, such as "block_2/dense"; all when None.

    Raises:
      UserError: there is no such module.

    Example:
      >>> shuffled({"dense": {"kernel": jnp.arange(4.0)}}, jax.random.key(0))["dense"]["kernel"].sum().item()
      6.0
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    names = ["/".join(str(getattr(part, "key", part)) for part in path) for path, _ in paths]
    for layer in layers or ():
        if not any(_within(name, layer) for name in names):
            raise UserError(f"there are no parameters of {layer!r}; {nearest(layer, modules(params))}")
    keys = jax.random.split(key, len(paths))
    leaves = [
        jax.random.permutation(k, leaf.reshape(-1)).reshape(leaf.shape)
        if layers is None or any(_within(name, layer) for layer in layers)
        else leaf
        for name, (_, leaf), k in zip(names, paths, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves)


def modules(params: Any) -> list[str]:
    """The paths of the modules that hold parameters, in the order of the tree.

    Example:
      >>> modules({"first": {"kernel": 1, "bias": 2}, "block": {"last": {"kernel": 3}}})
      ['first', 'block/last']
    """

    def walk(tree: Any, path: str) -> list[str]:
        inner = [name for name, part in tree.items() if isinstance(part, dict)]
        own = [path] if path and len(inner) < len(tree) else []
        return own + [each for name in inner for each in walk(tree[name], f"{path}/{name}".strip("/"))]

    return walk(params, "")


def randomization(
    method_of: MethodOf, params: Any, *, key: Array, layers: Sequence[str] | None = None, order: str = "cascade"
) -> dict[str, Float[Array, " B"]]:
    """The rank correlation of a map with that of a model whose weights are lost, layer after layer (MPRT).

    Args:
      method_of: Function from parameters to a map.
      params: Parameters of the model, a nested dict.
      key: Key of the shuffles.
      layers: Paths of modules from the output to the input; all in the reverse order of the tree when None.
      order: "cascade", where each layer is lost with those before it in the list; or "independent", each alone.

    Returns:
      Correlation for each layer, [B] by its path, and "all" for the loss of all weights; near 0 is sane.

    Raises:
      UserError: there is no such layer, or no such order.

    Example:
      >>> method_of = lambda params: params["first"]["kernel"] * params["last"]["kernel"]
      >>> params = {"first": {"kernel": jnp.arange(4.0)[None]}, "last": {"kernel": jnp.ones((1, 4))}}
      >>> sorted(randomization(method_of, params, key=jax.random.key(0)))
      ['all', 'first', 'last']

    Source: Adebayo et al. 2018, https://arxiv.org/abs/1810.03292.
    """
    if order not in ("cascade", "independent"):
        raise UserError(f"order={order!r} is unknown; {nearest(order, ('cascade', 'independent'))}")
    names = list(layers) if layers is not None else modules(params)[::-1]
    method_of = jax.jit(method_of)  # the same program for all parameters
    at, found = method_of(params), {}
    for i, name in enumerate(names):
        lost = names[: i + 1] if order == "cascade" else [name]
        found[name] = rank_correlation(at, method_of(shuffled(params, key, lost)))
    return found | {"all": rank_correlation(at, method_of(shuffled(params, key)))}


def smooth(method: Callable[[Array], Array], *, key: Array, scale: float = 0.1, n: int = 50) -> Callable[..., Array]:
    """A method whose map is the mean over noise of the input, without which noise of maps looks like sanity (sMPRT).

    Args:
      method: Function from inputs to their map.
      key: Key of the noise.
      scale: Standard deviation of the noise, as a share of the range of each input.
      n: Number of draws.

    Source: Hedström et al. 2024, https://arxiv.org/abs/2401.06465.
    """

    def averaged(x: Array) -> Array:
        axes = tuple(range(1, x.ndim))
        spread = scale * (x.max(axis=axes, keepdims=True) - x.min(axis=axes, keepdims=True))
        draws = jax.random.split(key, n)
        noisy = jax.lax.map(lambda k: method(x + spread * jax.random.normal(k, x.shape, x.dtype)), draws)
        return jnp.mean(noisy, axis=0)

    return averaged


def rise_of_complexity(method_of: MethodOf, params: Any, *, key: Array, bins: int = 100) -> Float[Array, " B"]:
    """How much the entropy of a map's histogram rises when all weights are lost, relative to it (eMPRT), [B].

    Two maps for each example in place of one for each layer; above 0 is sane.

    Source: Hedström et al. 2024, https://arxiv.org/abs/2401.06465.
    """

    def complexity(values: Array) -> Array:
        counts = jax.vmap(lambda v: jnp.histogram(v.reshape(-1), bins)[0])(values)
        return entropy(counts.astype(values.dtype))

    method_of = jax.jit(method_of)
    before, after = complexity(method_of(params)), complexity(method_of(shuffled(params, key)))
    return (after - before) / jnp.maximum(before, 1e-6)


def _within(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}/")
