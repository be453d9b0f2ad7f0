"""EK-FAC: the Gauss-Newton matrix by layers, each in the Kronecker product of two eigenbases."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.core.precision import exact
from deeplab.explain.examples.gradients import examples_in, per_example_gradients, summed
from deeplab.explain.examples.influence import Solve
from deeplab.explain.examples.products import Layer, layers_of, matrix, with_products

Factors = tuple[Float[Array, "D D"], Float[Array, "O O"]]
_NUMBERS = 2**24  # of the gradients that are held at once by default: 64 MiB in float32


def ekfac(
    outputs: Callable[[Any, Any], Any],
    losses: Callable[[Array, Any], Float[Array, " B"]],
    params: Any,
    batch: Any,
    damping: float = 1e-3,
    *,
    chunk: int | None = None,
) -> Solve:
    """An approximate inverse of the Gauss-Newton matrix + damping: once computed, each solve is four small products.

    A layer y = [x, 1] W has the block Q_A kron Q_G, the eigenbases of the sums of its inputs' x x^T and of its
    outputs' gradients' g g^T; what stands between them is the true diagonal of the Gauss-Newton matrix in that basis.
    Layers are the matrix products and convolutions by a parameter, with its bias, wherever they are in the program;
    those between layers count as 0. Parameters in none, such as the scales of norms, have their own diagonal.

    Args:
      outputs: Function `(params, batch) -> [B, ...]` of the model; some hundred numbers for each example at most, since
        each costs a backward pass.
      losses: Function `(outputs, batch) -> [B]`.
      params: Pytree of the parameters.
      batch: Pytree of arrays [B, ...], whose mean loss is meant.
      damping: Number added to the diagonal.
      chunk: Number of examples at once; as many as fit 64 MiB when None.

    Raises:
      UserError: there is no layer.

    Example:
      >>> logits = lambda w, batch: batch["x"] @ w
      >>> losses = lambda y, batch: jnp.sum(y**2, axis=1) / 2
      >>> solve = ekfac(logits, losses, jnp.zeros((2, 1)), {"x": jnp.array([[2.0, 0.0], [0.0, 1.0]])}, damping=0.0)
      >>> solve(jnp.ones((2, 1))).round(3).tolist()
      [[0.5], [2.0]]

    Source: George et al. 2018, https://arxiv.org/abs/1806.03884; Grosse et al. 2023, https://arxiv.org/abs/2308.03296.
    """
    B, leaves = examples_in(batch), jax.tree.leaves(params)
    numbers = math.prod(jax.eval_shape(outputs, params, batch).shape[1:])
    chunk = chunk or max(1, _NUMBERS // (numbers * sum(leaf.size for leaf in leaves)))
    layers = layers_of(outputs, params, batch)
    _check(layers, params)

    def roots_of(part: Any) -> Array:
        return _roots(losses, outputs(params, part), part)

    factors = summed(lambda part: _factors(layers, outputs, roots_of(part), params, part), batch, chunk)
    into = _change_of_basis(layers, jax.tree.map(lambda s: jnp.linalg.eigh(s)[1], factors))

    def squares(part: Any) -> Any:
        def along(p: Any, pair: Any) -> Array:
            return jnp.einsum("bm,bmk->bk", _flat(outputs(p, pair[0])), pair[1], precision="highest")

        keep = lambda jacobian: jax.tree.map(lambda c: jnp.sum(c**2, axis=0), jax.vmap(into)(jacobian))  # noqa: E731
        found = per_example_gradients(along, params, (part, roots_of(part)), keep=keep)
        return jax.tree.map(lambda c: jnp.sum(c, axis=0) / B, found)

    eigenvalues, back = summed(squares, batch, chunk), jax.linear_transpose(into, params)
    return lambda gradient: back(jax.tree.map(lambda c, size: c / (size + damping), into(gradient), eigenvalues))[0]


def _roots(losses: Callable[[Array, Any], Array], out: Array, part: Any) -> Float[Array, "B M K"]:
    """S with S S^T the curvature of each example's loss by its outputs; K = M."""

    def of_one(out: Array, example: Any) -> Array:
        one = jax.tree.map(lambda x: x[None], example)
        curve = jax.hessian(lambda flat: losses(flat.reshape(1, *out.shape), one)[0])(out.reshape(-1))
        values, vectors = jnp.linalg.eigh(curve)
        return vectors * jnp.sqrt(jnp.maximum(values, 0))[None]

    return jax.vmap(of_one)(out, jax.tree.map(jnp.asarray, part))


def _factors(layers: Sequence[Layer], outputs: Any, roots: Array, params: Any, part: Any) -> list[Factors]:
    """The sums of x x^T and of g g^T of each layer, over all places where it is used."""
    run, products = with_products(outputs, params, part)
    zeros = [jnp.zeros(product.shape.shape, product.shape.dtype) for product in products]
    out, pull, inputs = jax.vjp(run, zeros, has_aux=True)
    pulled = jax.vmap(lambda root: pull(root.reshape(out.shape))[0])(jnp.moveaxis(roots, -1, 0))

    @exact
    def of_one(layer: Layer) -> Factors:
        found = []
        for product, x, slopes in zip(products, inputs, pulled, strict=True):
            if product.layer[:2] == layer[:2]:
                g = jax.vmap(product.columns)(slopes)  # [K, R, O]
                x = x if layer.bias is None else jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)
                found.append((x.T @ x, jnp.einsum("kri,krj->ij", g, g)))
        return jax.tree.map(lambda *sums: sum(sums[1:], sums[0]), *found)

    return [of_one(layer) for layer in layers]


def _change_of_basis(layers: Sequence[Layer], bases: Sequence[Factors]) -> Callable[[Any], list[Array]]:
    """An orthogonal function from the parameters to their coefficients: of each layer, and of what is in none."""
    covered = {part.leaf for layer in layers for part in (layer.weight, layer.bias) if part is not None}

    @exact  # or the bases would not be orthogonal, and the way back not the way
    def into(tree: Any) -> list[Array]:
        leaves = jax.tree.leaves(tree)
        of_layers = [left.T @ matrix(layer, leaves) @ right for layer, (left, right) in zip(layers, bases, strict=True)]
        return of_layers + [leaf for i, leaf in enumerate(leaves) if i not in covered]

    return into


def _check(layers: Sequence[Layer], params: Any) -> None:
    paths = [jax.tree_util.keystr(path) or "the parameters" for path, _ in jax.tree.leaves_with_path(params)]
    if not layers:
        raise UserError(
            f"no product or convolution by a parameter was found among {', '.join(paths[:5])}; EK-FAC is of layers, so "
            "take conjugate_gradients or exact_solve"
        )
    known = {part.leaf for layer in layers for part in (layer.weight, layer.bias) if part is not None}
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(params)]
    if left := [paths[i] for i, shape in enumerate(shapes) if len(shape) > 1 and i not in known]:
        warnings.warn(
            f"EK-FAC has a diagonal only for {', '.join(left[:5])}, in no product that it knows", stacklevel=3
        )


def _flat(out: Array) -> Array:
    return out.reshape(len(out), -1)
