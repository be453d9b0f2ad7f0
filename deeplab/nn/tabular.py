"""Embeddings of the columns of a table: numbers and categories."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.embedding import Embedding


def uniform_by_width(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """Uniform in [-1 / sqrt(D), 1 / sqrt(D)], D the last axis: the initializer of tokens in both papers below.

    Example:
      >>> made = uniform_by_width(jax.random.key(0), (500, 4))
      >>> round(float(made.min()), 2), round(float(made.max()), 2)
      (-0.5, 0.5)
    """
    bound = shape[-1] ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


@ranges.checked(width=ranges.COUNT)
class LinearNumbers(nn.Module):
    """Each number as a vector, e_j = x_j w_j + b_j.

    Args:
      width: D, of the vectors.

    Example:
      >>> LinearNumbers(4).init_with_output(jax.random.key(0), jnp.ones((2, 3)))[0].shape
      (2, 3, 4)

    Source: Gorishniy et al. 2021, https://arxiv.org/abs/2106.11959, section 3.3.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B N"]) -> Float[Array, "B N D"]:
        shape = (x.shape[-1], self.width)
        w, b = (self.param(name, uniform_by_width, shape) for name in ("scale", "bias"))
        return x[..., None] * w[None] + b[None]


@ranges.checked(width=ranges.COUNT, frequencies=ranges.COUNT, sigma=ranges.POSITIVE)
class PeriodicNumbers(nn.Module):
    """Each number by waves of its own: e_j = relu(W_j [sin(2 pi c_j x_j), cos(2 pi c_j x_j)] + b_j) ("PLR").

    The frequencies c_j [k] are learned from N(0, sigma^2) on. So a step or a bump of the target in one number is as
    easy as a line, which a network of the raw numbers learns late.

    Args:
      width: D, of the vectors.
      frequencies: k, waves for each number.
      sigma: Standard deviation of the initial frequencies, the most important of the three; may be a tracer.

    Example:
      >>> PeriodicNumbers(4).init_with_output(jax.random.key(0), jnp.ones((2, 3)))[0].shape
      (2, 3, 4)

    Source: Gorishniy et al. 2022, https://arxiv.org/abs/2203.05556, section 3.3.
    """

    width: int
    frequencies: int = 16
    sigma: float | jax.Array = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "B N"]) -> Float[Array, "B N D"]:
        N, k = x.shape[-1], self.frequencies
        c = self.param("frequencies", lambda key, shape: self.sigma * jax.random.normal(key, shape), (N, k))
        angles = 2 * jnp.pi * x[..., None] * c[None]  # [B, N, k]
        waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        kernel = self.param("kernel", nn.initializers.he_normal(batch_axis=(0,)), (N, 2 * k, self.width))
        bias = self.param("bias", nn.initializers.zeros, (N, self.width))
        return nn.relu(jnp.einsum("bnk,nkd->bnd", waves, kernel) + bias[None])


@ranges.checked(cardinalities=ranges.COUNT, width=ranges.COUNT)
class Categories(nn.Module):
    """Each category as a vector, from one table for all columns; a class that its column does not have counts as 0.

    Args:
      cardinalities: Number of classes of each of C columns, the unknown one included.
      width: D, of the vectors.

    Example:
      >>> layer = Categories((3, 2), 4)
      >>> vectors, _ = layer.init_with_output(jax.random.key(0), jnp.array([[2, 0], [7, 0]]))
      >>> vectors.shape, bool((vectors[1, 0] == vectors[0, 0]).all())
      ((2, 2, 4), False)
    """

    cardinalities: Sequence[int]
    width: int

    @nn.compact
    def __call__(self, codes: Int[Array, "B C"]) -> Float[Array, "B C D"]:
        sizes = np.array(self.cardinalities, np.int32)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        known = jnp.where((codes >= 0) & (codes < sizes[None]), codes, 0)
        return Embedding(int(sizes.sum()), self.width, uniform_by_width, name="table")(known + first[None])


@ranges.checked(cardinalities=ranges.COUNT, width=ranges.COUNT, frequencies=ranges.NATURAL, sigma=ranges.POSITIVE)
class Columns(nn.Module):
    """The columns of a table as vectors, [B, N + C, D]: numbers first, then categories.

    Args:
      cardinalities: Number of classes of each of C categories, the unknown one included.
      width: D, of the vectors.
      frequencies: Waves for each number, see `PeriodicNumbers`; 0 is `LinearNumbers`.
      sigma: Standard deviation of the initial frequencies; may be a tracer.

    Raises:
      ValueError: there are other categories than `cardinalities`, or no column at all.

    Example:
      >>> numbers, categories = jnp.ones((2, 3)), jnp.zeros((2, 1), jnp.int32)
      >>> Columns((5,), width=4).init_with_output(jax.random.key(0), numbers, categories)[0].shape
      (2, 4, 4)
    """

    cardinalities: Sequence[int]
    width: int
    frequencies: int = 0
    sigma: float | jax.Array = 0.1

    @nn.compact
    def __call__(
        self, numbers: Float[Array, "B N"], categories: Int[Array, "B C"] | None = None
    ) -> Float[Array, "B T D"]:
        given = 0 if categories is None else categories.shape[-1]
        if given != len(self.cardinalities):
            raise ValueError(
                f"the batch has {given} categories, and the model cardinalities of {len(self.cardinalities)}; give "
                "cardinalities=data.cardinalities"
            )
        if not numbers.shape[-1] + given:
            raise ValueError("a table without columns: neither numbers nor categories")
        vectors = []
        if numbers.shape[-1]:
            periodic = functools.partial(PeriodicNumbers, frequencies=self.frequencies, sigma=self.sigma)
            make = periodic if self.frequencies else LinearNumbers
            vectors.append(make(self.width, name="numbers")(numbers))
        if categories is not None and given:
            vectors.append(Categories(self.cardinalities, self.width, name="categories")(categories))
        return jnp.concatenate(vectors, axis=1)
