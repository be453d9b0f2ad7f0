"""Linear probes: what a linear classifier reads from features, beside what it reads where there is nothing to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.representation.knn import deviations, rows_of

Examples = tuple[Float[ndarray, "N ..."], Int[ndarray, " N"]]
"""Features and their classes."""


class Linear(NamedTuple):
    """A linear classifier, x W + b.

    Attributes:
      kernel: W, a column for each class.
      bias: b.

    Example:
      >>> Linear(np.eye(2), np.array([0.0, 1.0]))(np.array([[2.0, 3.0]])).tolist()
      [[2.0, 4.0]]
    """

    kernel: Float[ndarray, "D K"]
    bias: Float[ndarray, " K"]

    def __call__(self, x: Float[ndarray, "N D"]) -> Float[ndarray, "N K"]:
        """The score of each class."""
        return x @ self.kernel + self.bias


Fit = Callable[[Float[ndarray, "N D"], Float[ndarray, "N K"]], Linear]
"""`(standardized features, one-hot classes) -> classifier`, such as `ridge()` and `softmax()`."""


class Probed(NamedTuple):
    """What a linear probe found.

    Attributes:
      accuracy: Share of the test examples that are classified rightly.
      control: The same with shuffled labels, which features cannot tell: what the probe reaches by its size alone.
      chance: Share of the most frequent class of the test examples.

    Example:
      >>> found = Probed(accuracy=0.9, control=0.3, chance=0.1)
      >>> round(found.accuracy - found.control, 2)
      0.6
    """

    accuracy: float
    control: float
    chance: float


def ridge(penalties: Sequence[float] = (1e-3, 1e-1, 1e1, 1e3, 1e5)) -> Fit:
    """Least squares to the one-hot classes, |x W + b - y|^2 + penalty |W|^2, in closed form.

    The penalty is the one of the least error of each training example by the others, which is exact and costs no second
    fit (Allen 1974, https://doi.org/10.1080/00401706.1974.10489157).

    Args:
      penalties: Penalties to choose from.

    Example:
      >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.eye(2)[[0, 0, 1, 1]]
      >>> ridge()(x, y)(x).argmax(axis=1).tolist()
      [0, 0, 1, 1]
    """

    def fit(x: Float[ndarray, "N D"], y: Float[ndarray, "N K"]) -> Linear:
        center, mean = x.mean(axis=0), y.mean(axis=0)
        values, axes = np.linalg.eigh((x - center).T @ (x - center))
        values = np.maximum(values, 0)
        turned, fitted = (x - center) @ axes, None
        projected, squares = turned.T @ (y - mean), np.square(turned)
        for penalty in penalties:
            shrunk = 1 / (values + penalty)
            kernel = axes @ (shrunk[:, None] * projected)
            leverage = 1 / len(x) + squares @ shrunk
            left = (y - mean - (x - center) @ kernel) / np.maximum(1 - leverage, 1e-9)[:, None]
            if fitted is None or np.sum(left**2) < fitted[0]:
                fitted = np.sum(left**2), Linear(kernel, mean - center @ kernel)
        assert fitted is not None
        return fitted[1]

    return fit


@ranges.checked(penalty=ranges.NATURAL, steps=ranges.COUNT)
def softmax(penalty: float = 1e-4, steps: int = 200) -> Fit:
    """Cross-entropy, and penalty |W|^2 / 2, from zeros by L-BFGS over all examples.

    Args:
      penalty: Weight of |W|^2 / 2 beside the mean cross-entropy.
      steps: Number of steps.

    Example:
      >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.eye(2)[[0, 0, 1, 1]]
      >>> softmax(steps=20)(x, y)(x).argmax(axis=1).tolist()
      [0, 0, 1, 1]
    """

    def fit(x: Float[ndarray, "N D"], y: Float[ndarray, "N K"]) -> Linear:
        given = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
        kernel, bias = _minimized(*given, jnp.float32(penalty), steps)
        return Linear(np.asarray(kernel, np.float64), np.asarray(bias, np.float64))

    return fit


def _descend(x: jax.Array, y: jax.Array, penalty: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
    def loss(params: tuple[jax.Array, jax.Array]) -> jax.Array:
        logits = x @ params[0] + params[1][None]
        return jnp.mean(optax.softmax_cross_entropy(logits, y)) + penalty * jnp.sum(jnp.square(params[0])) / 2

    optimizer = optax.lbfgs()
    start = jnp.zeros((x.shape[1], y.shape[1])), jnp.zeros(y.shape[1])

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        params, state = carry
        value, grad = optax.value_and_grad_from_state(loss)(params, state=state)
        updates, state = optimizer.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[0][0]


_minimized = jax.jit(_descend, static_argnames="steps")


def linear_probe(train: Examples, test: Examples, fit: Fit | None = None, seed: int = 0) -> Probed:
    """Trains a linear classifier on frozen features, and on the same features with shuffled labels.

    Features are standardized by the mean and deviation of the training examples.

    Args:
      train: Features [N, ...] and classes [N] to learn from.
      test: Features and classes to classify.
      fit: Way to fit the classifier; `ridge()` when None.
      seed: Seed of the shuffled labels.

    Raises:
      UserError: There is not one label for each example, a feature is NaN or infinite, or their sizes differ.

    Example:
      >>> x, y = np.random.default_rng(0).normal(size=(400, 3)), np.arange(400) % 2
      >>> x[:, 0] += 4 * y
      >>> found = linear_probe((x[:200], y[:200]), (x[200:], y[200:]))
      >>> found.accuracy > 0.95, abs(found.control - 0.5) < 0.15, found.chance
      (True, True, 0.5)

    Source: Alain and Bengio 2016, https://arxiv.org/abs/1610.01644; the control: Hewitt and Liang 2019,
      https://arxiv.org/abs/1909.03368.
    """
    (x, y), (x_test, y_test) = ((rows_of(a, b), np.asarray(b)) for a, b in (train, test))
    if x.shape[1] != x_test.shape[1]:
        raise UserError(f"features {list(x.shape)} and {list(x_test.shape)} differ in size; expected rows of one size")
    mean, deviation = x.mean(axis=0), deviations(x)
    scale = np.where(deviation > 0, deviation, 1)
    x, x_test = (x - mean) / scale, (x_test - mean) / scale
    classes, codes = np.unique(np.concatenate([y, y_test]), return_inverse=True)
    codes, codes_test = codes[: len(y)], codes[len(y) :]
    one_hot, rng = np.eye(len(classes)), np.random.default_rng(seed)

    def accuracy(labels: ndarray, labels_test: ndarray) -> float:
        scores = (fit or ridge())(x, one_hot[labels])(x_test)
        return float(np.mean(scores.argmax(axis=1) == labels_test))

    shuffled = accuracy(rng.permutation(codes), rng.permutation(codes_test))
    return Probed(accuracy(codes, codes_test), shuffled, float(np.bincount(codes_test).max() / len(y_test)))
