"""Attention equals its definition written out, whatever the mask; the cached layer equals the whole one."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.nn.attention.dot_product import (
    CausalSelfAttention,
    SelfAttention,
    attend,
    causal_mask,
    join_heads,
    split_heads,
)


def _by_hand(q, k, v, mask):
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h, t in np.ndindex(q.shape[:-1]):
        weights = np.array(
            [np.exp(q[b, h, t] @ k[b, h, s] / np.sqrt(q.shape[-1])) * mask[t, s] for s in range(k.shape[2])]
        )
        out[b, h, t] = (weights / weights.sum()) @ v[b, h]
    return out


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=6, deadline=None)
def test_attend_is_its_definition(num_queries, num_keys, seed):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(2, 2, num_queries, 3))
    k, v = rng.normal(size=(2, 2, 2, num_keys, 3))
    mask = rng.random((num_queries, num_keys)) < 0.6
    mask[:, 0] = True
    out = jax.jit(attend)(*(jnp.asarray(a, jnp.float32) for a in (q, k, v)), jnp.asarray(mask))
    np.testing.assert_allclose(out, _by_hand(q, k, v, mask), atol=1e-5)


def test_attend_is_the_library_function():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 4, 7, 8))  # B H T D
    library = jax.jit(functools.partial(jax.nn.dot_product_attention, is_causal=True))
    theirs = library(*(a.transpose(0, 2, 1, 3) for a in (q, k, v)))
    np.testing.assert_allclose(attend(q, k, v, causal_mask(7, 7)), theirs.transpose(0, 2, 1, 3), atol=1e-5)


def test_a_mask_of_each_example_is_each_example_s_mask():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 4, 3, 8))  # B H T D
    masks = jnp.array([[True, True, False], [True, False, False]])
    both = attend(q, k, v, masks[:, None, None])
    for b in range(2):
        alone = attend(q[b : b + 1], k[b : b + 1], v[b : b + 1], jnp.broadcast_to(masks[b][None], (3, 3)))
        np.testing.assert_allclose(both[b : b + 1], alone, atol=1e-6)


def test_encoders_see_what_the_mask_shows():
    layer, x = SelfAttention(num_heads=2), jax.random.normal(jax.random.key(1), (2, 5, 16))
    variables = layer.init(jax.random.key(0), x)
    mask = jnp.array([[True] * 3 + [False] * 2, [True] * 5])
    masked = layer.apply(variables, x, mask=mask)
    np.testing.assert_allclose(masked[0, :3], layer.apply(variables, x[:, :3])[0], atol=1e-5)
    np.testing.assert_allclose(masked[1], layer.apply(variables, x)[1], atol=1e-5)


def test_heads_are_joined_as_they_were_split():
    x = jax.random.normal(jax.random.key(0), (2, 3, 8))
    np.testing.assert_array_equal(join_heads(split_heads(x, 4, 1)[0]), x)


def test_large_scores_do_not_overflow():
    q = jnp.full((1, 1, 2, 4), 1e4)
    assert jnp.isfinite(attend(q, q, q, causal_mask(2, 2))).all()


@pytest.fixture(scope="module")
def layer():
    layer = CausalSelfAttention(num_heads=2, context=8, out_init=jax.nn.initializers.normal(1.0))
    x = jax.random.normal(jax.random.key(1), (3, 8, 16))
    return layer, jax.jit(layer.init)(jax.random.key(0), x), x


def test_output_depends_on_the_past_only(layer):
    layer, variables, x = layer
    jacobian = jax.jit(jax.jacobian(lambda x: layer.apply(variables, x[None])[0].sum(-1)))(x[0])  # [T, T, D]
    influence = jnp.abs(jacobian).max(-1)
    assert (influence[~causal_mask(8, 8)] == 0).all()
    assert (influence[causal_mask(8, 8)] > 0).all()


@pytest.mark.parametrize("pieces", [(8,), (1,) * 8, (3, 1, 4)])
def test_cache_gives_what_the_whole_sequence_gives(layer, pieces):
    layer, variables, x = layer
    decode = jax.jit(functools.partial(layer.apply, mutable=["cache"]))
    cache, outs, position = {}, [], 0
    for size in pieces:
        part = x[:, position : position + size]
        out, cache = decode({**variables, **cache}, part, given=position)
        outs.append(out)
        position += size
    np.testing.assert_allclose(jnp.concatenate(outs, axis=1), jax.jit(layer.apply)(variables, x), atol=1e-5)


def test_a_slice_of_the_fused_kernel_is_a_head(layer):
    layer, variables, x = layer
    kernel = variables["params"]["qkv"]["kernel"].at[:, 24:].set(0.0)  # the second head's 3 x 8 columns
    silent = {"params": variables["params"] | {"qkv": variables["params"]["qkv"] | {"kernel": kernel}}}
    out_kernel = variables["params"]["out"]["kernel"].at[8:].set(0.0)
    without = {"params": variables["params"] | {"out": variables["params"]["out"] | {"kernel": out_kernel}}}
    apply = jax.jit(layer.apply)
    np.testing.assert_allclose(apply(silent, x), apply(without, x), atol=1e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 16 is not a multiple of num_heads 3"):
        CausalSelfAttention(num_heads=3, context=8).init(jax.random.key(0), jnp.ones((1, 8, 16)))
