"""Metrics merge exactly: over any split, with any padding."""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.metrics import Mean, Perplexity

# Quarters add without rounding in float32: sums are exact in any order.
VALUES = st.lists(st.integers(-400, 400).map(lambda n: n / 4), min_size=1, max_size=20)


def _padded(values: list[float], junk: float) -> Mean:
    """The mean of values followed by two rows of padding that hold anything."""
    weight = jnp.array([1.0] * len(values) + [0.0, 0.0])
    return Mean.of(jnp.array([*values, junk, junk]), weight)


@given(VALUES, st.lists(st.integers(0, 20), max_size=4), st.sampled_from([0.0, np.inf, -np.inf, np.nan, 1e30]))
@settings(max_examples=20, deadline=None)
def test_mean_is_exact_over_any_split(values, cuts, junk):
    pieces = np.split(np.array(values), sorted(cuts))
    merged = functools.reduce(operator.add, [_padded(piece.tolist(), junk) for piece in pieces])
    assert float(merged.count) == len(values)
    assert float(merged.total) == sum(values)
    assert merged.compute() == pytest.approx(sum(values) / len(values), rel=1e-6, abs=1e-6)


@given(VALUES, st.lists(st.integers(0, 4), min_size=20, max_size=20))
@settings(max_examples=20, deadline=None)
def test_mean_is_weighted(values, weights):
    weights = weights[: len(values)]
    mean = Mean.of(jnp.array(values), jnp.array(weights, jnp.float32)).compute()
    if sum(weights):
        assert mean == pytest.approx(np.average(values, weights=weights), rel=1e-5, abs=1e-5)
    else:
        assert np.isnan(mean)


def test_mean_is_a_pytree_that_sums_over_an_axis():
    values = jnp.arange(12.0).reshape(4, 3)
    parts = jax.vmap(Mean.of)(values)
    assert jax.tree.map(lambda leaf: leaf.sum(0), parts).compute() == float(values.mean())


def test_perplexity_is_the_exponential_of_the_merged_mean():
    merged = Perplexity(jnp.float32(6.0), jnp.float32(2.0)) + Perplexity(jnp.float32(0.0), jnp.float32(1.0))
    assert merged.compute() == pytest.approx(np.exp(2.0), rel=1e-6)
    assert Perplexity(1e9, 1.0).compute() == float("inf")
