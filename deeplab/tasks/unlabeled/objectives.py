"""Losses of embeddings, pure: of each example's two views, [B, D], and of pairs of examples; those of moments beside.

Examples of weight 0, such as the padding of a batch, are neither compared nor counted. Losses over pairs see all
examples of the batch, whatever devices hold them: on a mesh the result is that of one device. Where a step is
accumulated over microbatches (`dl.Runtime(accumulate=k)`), they see those of a microbatch only: fewer negatives.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core.errors import UserError

Number = float | jax.Array
"""A float, or a tracer."""

_NEVER = -1e9  # as a logit


def unit(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    """Vectors of length 1; 0 stays 0, and has a gradient of finite size.

    Example:
      >>> unit(jnp.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
      [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-24))


def several(x: Float[Array, "B D"]) -> None:
    """Refuses a batch of one example, whose loss would be a constant.

    Raises:
      UserError: It is one.

    Example:
      >>> several(jnp.ones((2, 8)))
      >>> several(jnp.ones((1, 8)))  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      deeplab.core.errors.UserError: a batch of one example has no other to compare it with; give a batch_size, ...
    """
    if len(x) < 2:
        raise UserError(
            "a batch of one example has no other to compare it with; give a batch_size, or microbatches, of 2 or more"
        )


def nt_xent(
    a: Float[Array, "B D"], b: Float[Array, "B D"], weight: Float[Array, " B"], temperature: Number = 0.5
) -> Float[Array, " B"]:
    """Cross-entropy of an example's other view among all other views of the batch, the mean over its two views.

    l_i = -s_ip + log sum over k != i of exp(s_ik), with s_ik = cos(z_i, z_k) / temperature and the partner p of i.

    Source: Chen et al. 2020, https://arxiv.org/abs/2002.05709, equation 1.

    Example:
      >>> z = jnp.eye(4)
      >>> round(nt_xent(z, z, jnp.ones(4))[0].item(), 4)  # log(1 + 6 exp(-2))
      0.5944
    """
    logits, others = _views(a, b, weight, temperature)
    own = jnp.tile(jnp.sum(unit(a) * unit(b), axis=-1) / temperature, 2)
    losses = jax.nn.logsumexp(jnp.where(others, logits, _NEVER), axis=-1) - own
    return _by_example(losses)


def supervised_contrast(
    a: Float[Array, "B D"],
    b: Float[Array, "B D"],
    label: Int[Array, " B"],
    weight: Float[Array, " B"],
    temperature: Number = 0.1,
) -> Float[Array, " B"]:
    """Cross-entropy of all views of an example's class among all other views: `nt_xent` with labels.

    The mean is taken outside the logarithm: over the other views p of the same class, of -s_ip + log sum exp(s_ik).

    Source: Khosla et al. 2020, https://arxiv.org/abs/2004.11362, equation 2.

    Example:
      >>> z, weight = jnp.eye(4), jnp.ones(4)
      >>> losses = supervised_contrast(z, z, jnp.arange(4), weight, 0.5)  # each of a class of its own
      >>> bool(jnp.allclose(losses, nt_xent(z, z, weight, 0.5)))
      True
    """
    logits, others = _views(a, b, weight, temperature)
    labels = jnp.tile(label, 2)
    same = others & (labels[:, None] == labels[None])
    alike = jnp.where(same, logits, 0).sum(axis=-1) / jnp.maximum(same.sum(axis=-1), 1)
    return _by_example(jax.nn.logsumexp(jnp.where(others, logits, _NEVER), axis=-1) - alike)


def _views(a: Array, b: Array, weight: Array, temperature: Number) -> tuple[Array, Array]:
    """Similarities of all views [2B, 2B], and which of them are of another view of an example that counts."""
    several(a)
    z = unit(jnp.concatenate([a, b]))
    counts = jnp.tile(weight != 0, 2)
    return z @ z.T / temperature, counts[None] & ~jnp.eye(len(z), dtype=bool)


def _by_example(losses: Float[Array, " 2B"]) -> Float[Array, " B"]:
    return losses.reshape(2, -1).mean(axis=0)


def sigmoid_pairs(
    a: Float[Array, "B D"], b: Float[Array, "B D"], weight: Float[Array, " B"], scale: Number, bias: Number
) -> Float[Array, " B"]:
    """Binary cross-entropy of each pair (i, j): whether they are the two sides of one example; the sum over j.

    -sum_j log sigmoid(y_ij (scale cos(a_i, b_j) + bias)), with y = 1 for i = j and -1 otherwise. No pair depends on
    another, so that devices may hold parts of it.

    Source: Zhai et al. 2023, https://arxiv.org/abs/2303.15343, equation 1.

    Example:
      >>> z, weight = jnp.eye(2), jnp.ones(2)
      >>> round(sigmoid_pairs(z, z, weight, scale=0.0, bias=0.0)[0].item(), 4)  # 2 log 2: it knows nothing of two pairs
      1.3863
      >>> round(sigmoid_pairs(z, z, weight, scale=40.0, bias=-20.0)[0].item(), 4)
      0.0
    """
    logits = scale * unit(a) @ unit(b).T + bias
    losses = jax.nn.softplus(jnp.where(jnp.eye(len(a), dtype=bool), -logits, logits))
    return jnp.sum(jnp.where((weight != 0)[None], losses, 0), axis=-1)


def regression(prediction: Float[Array, "B D"], target: Float[Array, "B D"]) -> Float[Array, " B"]:
    """Squared distance of the directions, 2 - 2 cos(p, t): 0 to 4, for each example alone.

    Source: Grill et al. 2020, https://arxiv.org/abs/2006.07733, equation 2.

    Example:
      >>> ahead, aside, behind = jnp.array([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0]])
      >>> found = regression(jnp.stack([ahead, aside, behind]), jnp.stack([ahead] * 3))
      >>> bool(jnp.allclose(found, jnp.array([0.0, 2.0, 4.0]), atol=1e-4))
      True
    """
    return 2 - 2 * jnp.sum(unit(prediction) * unit(target), axis=-1)


def dino(
    student: tuple[Float[Array, "B K"], Float[Array, "B K"]],
    teacher: tuple[Float[Array, "B K"], Float[Array, "B K"]],
    center: Float[Array, " K"],
    temperature: Number = 0.1,
    teacher_temperature: Number = 0.04,
) -> Float[Array, " B"]:
    """Cross-entropy of the student's distribution for one view under the teacher's for the other, for each example.

    Args:
      student: Logits of the student for the two views.
      teacher: Logits of the teacher for the two views; they get no gradient.
      center: Running mean of the teacher's logits, which is subtracted from them.
      temperature: Temperature of the student.
      teacher_temperature: Temperature of the teacher; lower, so that its distribution is sharper.

    Source: Caron et al. 2021, https://arxiv.org/abs/2104.14294, algorithm 1.

    Example:
      >>> flat = jnp.zeros((1, 4))
      >>> round(dino((flat, flat), (flat, flat), center=jnp.zeros(4))[0].item(), 4)  # log 4: it tells nothing apart
      1.3863
    """
    targets = [jax.nn.softmax(jax.lax.stop_gradient(t - center[None]) / teacher_temperature) for t in teacher]
    guesses = [jax.nn.log_softmax(s / temperature) for s in student]
    return -jnp.sum(targets[0] * guesses[1] + targets[1] * guesses[0], axis=-1) / 2
