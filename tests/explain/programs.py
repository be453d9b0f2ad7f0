"""Random programs of six numbers: what every method is tried on."""

import jax
import jax.numpy as jnp
import numpy as np

SMOOTH = (jnp.tanh, jnp.sin, jax.nn.softplus, jax.nn.gelu, lambda x: x**2 / 2, lambda x: x / (1 + x**2))
D = 6


def program(seed, depth=2, used=D):
    """A smooth score of the first `used` numbers of an example: layers, products and sums."""
    rng = np.random.default_rng(seed)
    steps, width = [], used
    for _ in range(depth):
        kind, wide = rng.integers(4), int(rng.integers(2, 5))
        steps.append((kind, SMOOTH[rng.integers(len(SMOOTH))], 0.7 * rng.normal(size=(width, wide)) / width**0.5))
        width = wide
    last = rng.normal(size=width)

    def f(x):
        x = x[:, :used]
        for kind, act, weights in steps:
            y = x @ jnp.asarray(weights, x.dtype)
            if kind == 0:
                y = act(y) * jnp.tanh(y[:, ::-1])
            elif kind == 1:
                y = jax.nn.softmax(y, axis=1) * y + act(y)
            else:
                y = act(y)
            x = y
        return x @ jnp.asarray(last, x.dtype)

    return f


def data(seed, examples=3, dtype=jnp.float32):
    draw = np.random.default_rng(seed).normal(size=(2, examples, D))
    return jnp.asarray(draw[0], dtype), jnp.asarray(draw[1] / 4, dtype)
