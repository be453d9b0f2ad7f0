"""Chunks: the sum of many rows is the same however many are evaluated at a time, and takes no more memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.core.errors import UserError
from deeplab.explain import chunks


@pytest.mark.parametrize("chunk", [1, 3, 7, 64, None])
def test_chunked_is_whole(chunk):
    rows = {"a": jnp.linspace(0, 1, 17), "key": jax.random.split(jax.random.key(0), 17)}
    f = lambda row: (row["a"] ** 2, jax.random.normal(row["key"], (3,)))  # noqa: E731
    found = chunks.total(f, rows, chunk)
    expected = [jnp.sum(jnp.stack(column), axis=0) for column in zip(*map(f, _rows(rows, 17)), strict=True)]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def _rows(rows, count):
    return [jax.tree.map(lambda x, i=i: x[i], rows) for i in range(count)]


def test_a_mean_has_its_standard_error():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(400, 5)) + 1e4
    mean, error = chunks.averaged(lambda x: x, jnp.asarray(draws, jnp.float32), chunk=32)
    np.testing.assert_allclose(mean, draws.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(error, draws.std(axis=0, ddof=1) / 20, rtol=1e-2)


def test_memory_does_not_grow_with_the_rows():
    x, matrix = jnp.ones((8, 256)), jnp.ones((256, 256)) / 256
    slope = jax.grad(lambda x, t: jnp.sum(jnp.tanh(jnp.sin(x * t) @ matrix) @ x.T))

    def size(count):
        f = jax.jit(lambda x: chunks.total(lambda t: slope(x, t), jnp.arange(8.0 * count), 8))
        return f.lower(x).compile().memory_analysis().temp_size_in_bytes

    assert max(map(size, (3, 16, 17, 256))) <= 1.2 * size(1)


@pytest.mark.parametrize(("chunk", "told"), [(4, "for 4 evaluations .* give chunk=2"), (1, "give fewer examples")])
def test_too_little_memory_is_told(chunk, told):
    with pytest.raises(UserError, match=told):
        chunks.mapped(lambda t: jnp.full(1 << 50, t), jnp.arange(4.0), chunk)


def test_what_fits_follows_from_the_program():
    rows = jnp.arange(4.0)
    small = chunks.fitting(lambda t: jnp.ones(1 << 10) * t, rows)
    large = chunks.fitting(lambda t: jnp.ones(1 << 20) * t, rows)
    assert small == 1024 * large > large
