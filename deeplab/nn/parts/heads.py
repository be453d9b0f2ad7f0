"""From the states of an encoder to what a task wants: a vector, classes, tokens.

All have the same interface: `(encoded, embed, train) -> outputs`; see `deeplab.models.encoder`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from deeplab.core import ranges
from deeplab.nn.transformer import INIT

Read = Callable[[Float[Array, "B T D"], Bool[Array, "B T"] | None], Float[Array, "B P"]]
"""From states and the mask of those that are no padding to one vector for each sequence."""


def first(states: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B D"]:
    """The state of the first position, where a class token stands.

    Example:
      >>> first(jnp.array([[[1.0], [3.0], [8.0]]]), None).tolist()
      [[1.0]]
    """
    del mask
    return states[:, 0]


def mean(states: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B D"]:
    """The mean over the positions that are no padding.

    Example:
      >>> mean(jnp.array([[[1.0], [3.0], [8.0]]]), jnp.array([[True, True, False]])).tolist()
      [[2.0]]
    """
    if mask is None:
        return jnp.mean(states, axis=1)
    weight = mask.astype(states.dtype)[..., None]
    return jnp.sum(states * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1)


def last(states: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B D"]:
    """The state of the last position that is no padding, which stands at the end.

    Example:
      >>> last(jnp.array([[[1.0], [3.0], [8.0]]]), jnp.array([[True, True, False]])).tolist()
      [[3.0]]
    """
    if mask is None:
        return states[:, -1]
    return states[jnp.arange(len(states)), jnp.maximum(jnp.sum(mask, axis=1) - 1, 0)]


def final(states: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B D"]:
    """The state of the last position, be it padding or not.

    Example:
      >>> final(jnp.array([[[1.0], [3.0], [8.0]]]), jnp.array([[True, True, False]])).tolist()
      [[8.0]]
    """
    del mask
    return states[:, -1]


def first_and_mean(
    states: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None, skip: int = 1
) -> Float[Array, "B 2D"]:
    """The state of the first position beside the mean of all from position `skip` on.

    Example:
      >>> first_and_mean(jnp.array([[[1.0], [3.0], [8.0]]]), None).tolist()
      [[1.0, 5.5]]
    """
    rest = None if mask is None else mask[:, skip:]
    return jnp.concatenate([first(states, mask), mean(states[:, skip:], rest)], axis=-1)


class Pooled(nn.Module):
    """activation(read W + b), and a norm, where there are any.

    Args:
      read: Function from states and mask to one vector for each sequence.
      width: Number of columns of W; there is none when None.
      activation: Function of the product.
      norm: Norm of the result, if any.
      use_bias: Whether the product has a bias.

    Example:
      >>> Pooled(width=4).init_with_output(jax.random.key(0), jnp.ones((2, 3, 8)), None)[0].shape
      (2, 4)
    """

    read: Read = first
    width: int | None = None
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh
    norm: nn.Module | None = None
    use_bias: bool = True

    @nn.compact
    def __call__(self, states: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B P"]:
        x = self.read(states, mask)
        if self.width is not None:
            x = self.activation(nn.Dense(self.width, self.use_bias, kernel_init=INIT, name="dense")(x))
        return x if self.norm is None else self.norm(x)


@ranges.checked(width=ranges.COUNT)
class Projection(nn.Module):
    """A linear map of what is pooled, to a space that models of several kinds of data share.

    Args:
      pool: Module from states and mask to one vector for each sequence.
      width: Width of that space.
      use_bias: Whether the map has a bias.

    Example:
      >>> Projection(Pooled(), width=4).init_with_output(jax.random.key(0), jnp.ones((2, 3, 8)), None)[0].shape
      (2, 4)
    """

    pool: nn.Module
    width: int
    use_bias: bool = False

    @nn.compact
    def __call__(self, states: Float[Array, "B T D"], mask: Bool[Array, "B T"] | None) -> Float[Array, "B P"]:
        return nn.Dense(self.width, self.use_bias, kernel_init=INIT, name="projection")(self.pool(states, mask))


class States(nn.Module):
    """The states, and what `pool` makes of them, if there is one: an `Encoded`.

    Example:
      >>> from deeplab.models.encoder import Encoded
      >>> encoded = Encoded(jnp.ones((2, 3, 8)), pooled=None, mask=None)
      >>> States(Pooled()).apply({}, encoded, None, False).pooled.shape
      (2, 8)
    """

    pool: nn.Module | None = None

    def __call__(self, encoded: Any, embed: nn.Module, train: bool) -> Any:
        del embed, train
        return encoded if self.pool is None else encoded._replace(pooled=self.pool(encoded.states, encoded.mask))


@ranges.checked(num_classes=ranges.COUNT, dropout=ranges.RATE)
class Classifier(nn.Module):
    """Logits of classes.

    Args:
      num_classes: K.
      pool: Module from states and mask to one vector for each sequence.
      dropout: Probability of dropping one of its components in training; may be a tracer.
      kernel_init: Initializer of the kernel.

    Example:
      >>> from deeplab.models.encoder import Encoded
      >>> encoded = Encoded(jnp.ones((2, 3, 8)), pooled=None, mask=None)
      >>> Classifier(5, Pooled()).init_with_output(jax.random.key(0), encoded, None, False)[0].shape
      (2, 5)
    """

    num_classes: int
    pool: nn.Module
    dropout: float = 0.0
    kernel_init: jax.nn.initializers.Initializer = INIT

    @nn.compact
    def __call__(self, encoded: Any, embed: nn.Module, train: bool) -> Float[Array, "B K"]:
        del embed
        pooled = self.pool(encoded.states, encoded.mask)
        pooled = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(pooled)
        return nn.Dense(self.num_classes, kernel_init=self.kernel_init, name="classes")(pooled)


class MaskedTokens(nn.Module):
    """Logits of the token at each position: norm(activation(x W + b)) by the token embedding, and a bias.

    Args:
      activation: Function of the product.
      norm: Norm of the result.
      use_bias: Whether the product with W has a bias.

    Example:
      >>> from deeplab.models.encoder import Encoded
      >>> encoded = Encoded(jnp.ones((2, 3, 8)), pooled=None, mask=None)
      >>> from deeplab.nn.parts.vocabulary import TokenEmbedding
      >>> embed = TokenEmbedding(size=7, width=8).bind({"params": {"embedding": jnp.ones((7, 8))}})
      >>> MaskedTokens(nn.gelu, nn.LayerNorm()).init_with_output(jax.random.key(0), encoded, embed, False)[0].shape
      (2, 3, 7)

    Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805.
    """

    activation: Callable[[jax.Array], jax.Array]
    norm: nn.Module
    use_bias: bool = True

    @nn.compact
    def __call__(self, encoded: Any, embed: Any, train: bool) -> Float[Array, "B T V"]:
        del train
        x = encoded.states
        dense = nn.Dense(x.shape[-1], self.use_bias, kernel_init=INIT, name="dense")
        logits = embed.attend(self.norm(self.activation(dense(x))))
        return logits + self.param("bias", nn.initializers.zeros, (logits.shape[-1],))[None, None]


@ranges.checked(num_classes=ranges.COUNT, dropout=ranges.RATE)
class EachPosition(nn.Module):
    """Logits of classes at each position, such as of the tokens of a transcript.

    Args:
      num_classes: K.
      dropout: Probability of dropping a component of a state in training; may be a tracer.

    Example:
      >>> from deeplab.models.encoder import Encoded
      >>> encoded = Encoded(jnp.ones((2, 3, 8)), pooled=None, mask=None)
      >>> EachPosition(5).init_with_output(jax.random.key(0), encoded, None, False)[0].shape
      (2, 3, 5)
    """

    num_classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, encoded: Any, embed: nn.Module, train: bool) -> Float[Array, "B T K"]:
        del embed
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(encoded.states)
        return nn.Dense(self.num_classes, kernel_init=INIT, name="classes")(x)
