"""Attention equals its definition written out, whatever the mask and the kernel; the cached layer equals the whole."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.nn.attention.cache import KVCache, read_positions
from deeplab.nn.attention.dot_product import attend
from deeplab.nn.attention.kernels import kernel_of
from deeplab.nn.attention.masking import causal_mask, same_segment_mask
from deeplab.nn.attention.scores import Scores
from deeplab.nn.attention.self_attention import SelfAttention, join_heads, split_heads


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


@pytest.fixture(scope="module")
def heads():
    """Queries, keys and values of 4 heads at 6 positions of two examples."""
    return jax.random.normal(jax.random.key(0), (3, 2, 4, 6, 8))


SEGMENTS = jnp.array([[1, 1, 1, 2, 2, 0], [1, 1, 2, 2, 2, 2]])
BANDED = causal_mask(6, 6) & ~causal_mask(6, 6, start=-3)
CONSTRAINTS = {
    "causal": ({"causal": True}, causal_mask(6, 6)),
    "window": ({"causal": True, "window": 3}, BANDED),
    "segments": ({"segment_ids": SEGMENTS}, same_segment_mask(SEGMENTS, SEGMENTS)),
    "all": (
        {"causal": True, "segment_ids": SEGMENTS, "mask": BANDED},
        same_segment_mask(SEGMENTS, SEGMENTS) & causal_mask(6, 6)[None, None] & BANDED[None, None],
    ),
}


@pytest.mark.parametrize("block", [None, 2, 6])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_are_the_masks_that_they_describe(heads, name, block):
    constraints, mask = CONSTRAINTS[name]
    out = attend(*heads, **constraints, block=block)
    np.testing.assert_allclose(out, attend(*heads, mask), atol=1e-6)


@pytest.mark.parametrize("offset", [2, [0, 4]])
def test_queries_stand_at_their_offset(heads, offset):
    query, key, value = heads
    out = attend(query[:, :, :2], key, value, causal=True, offset=jnp.asarray(offset) if offset != 2 else 2)
    for row, at in enumerate(np.broadcast_to(offset, 2)):
        alone = attend(*(x[row : row + 1] for x in (query[:, :, :2], key, value)), causal_mask(2, 6, start=at))
        np.testing.assert_allclose(out[row : row + 1], alone, atol=1e-6)


@pytest.mark.parametrize("block", [None, 3])
def test_grouped_heads_are_repeated_ones(heads, block):
    query, key, value = heads
    out = attend(query, key[:, :2], value[:, :2], causal=True, block=block)
    repeated = (jnp.repeat(x[:, :2], 2, axis=1) for x in (key, value))
    np.testing.assert_allclose(out, attend(query, *repeated, causal=True), atol=1e-6)


def test_what_attend_refuses(heads):
    query, key, value = heads
    with pytest.raises(ValueError, match="num_heads 4 is not a multiple of num_kv_heads 3"):
        attend(query, key[:, :3], value[:, :3])
    with pytest.raises(ValueError, match="got 2 queries and 6 keys"):
        attend(query[:, :, :2], key, value, segment_ids=SEGMENTS)
    with pytest.raises(ValueError, match="cuDNN does not compute"):
        attend(query, key, value, causal_mask(6, 6), kernel="cudnn")


HALF = jax.ShapeDtypeStruct((2, 8, 128, 64), jnp.bfloat16)
SINGLE = jax.ShapeDtypeStruct((2, 8, 128, 64), jnp.float32)
WIDE = jax.ShapeDtypeStruct((2, 8, 128, 256), jnp.bfloat16)
LONGER = jax.ShapeDtypeStruct((2, 8, 256, 64), jnp.bfloat16)
ODD = jax.ShapeDtypeStruct((2, 8, 197, 64), jnp.bfloat16)


@pytest.mark.parametrize(
    ("query", "key", "arguments", "kernel"),
    [
        (HALF, HALF, {"causal": True}, "cudnn"),
        (HALF, HALF, {}, "cudnn"),
        (HALF, LONGER, {}, "cudnn"),
        (HALF, HALF, {"causal": True, "window": 16}, "cudnn"),
        (HALF, HALF, {"causal": True, "block": 32}, "cudnn"),
        (HALF, HALF, {"dropout": nn.Dropout(0.1, deterministic=True)}, "cudnn"),
        (HALF, HALF, {"dropout": nn.Dropout(0.0, deterministic=False)}, "cudnn"),
        (HALF, HALF, {"dropout": nn.Dropout(0.1, deterministic=False)}, "product"),
        (HALF, HALF, {"causal": True, "platform": "cpu"}, "product"),
        (HALF, HALF, {"causal": True, "platform": "cpu", "block": 32}, "blocks"),
        (SINGLE, SINGLE, {"causal": True}, "product"),
        (ODD, ODD, {}, "product"),
        (HALF, ODD, {"block": 32}, "blocks"),
        (WIDE, WIDE, {"causal": True}, "product"),
        (HALF, LONGER, {"causal": True}, "product"),
        (HALF, HALF, {"causal": True, "offset": jnp.int32(3)}, "product"),
        (HALF, HALF, {"segment_ids": jnp.ones((2, 128), int), "block": 32}, "blocks"),
        (HALF, HALF, {"mask": causal_mask(128, 128)}, "product"),
        (HALF, HALF, {"window": 16}, "product"),
    ],
)
def test_the_kernel_is_the_one_that_holds_the_arguments(query, key, arguments, kernel):
    assert kernel_of(query, key, **{"platform": "cuda", **arguments}) == kernel


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs an NVIDIA GPU")
@pytest.mark.parametrize("constraints", [{}, {"causal": True}, {"causal": True, "window": 16}])
@pytest.mark.parametrize("kv_heads", [2, 4])
def test_cudnn_is_the_product(constraints, kv_heads):
    """Values and gradients, to the precision of bfloat16."""
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 4, 64, 32), jnp.bfloat16)

    def squares(kernel, q, k, v):
        return jnp.mean(attend(q, k, v, **constraints, kernel=kernel).astype(jnp.float32) ** 2)

    ours, theirs = (
        jax.jit(jax.value_and_grad(functools.partial(squares, kernel), (0, 1, 2)))(q, k[:, :kv_heads], v[:, :kv_heads])
        for kernel in ("product", "cudnn")
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-2, atol=1e-3), ours, theirs)


def test_encoders_do_not_attend_to_padding():
    layer, x = SelfAttention(num_heads=2), jax.random.normal(jax.random.key(1), (2, 5, 16))
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    mask = jnp.array([[True] * 3 + [False] * 2, [True] * 5])
    masked = layer.apply(variables, x, segment_ids=mask)
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
    layer = SelfAttention(num_heads=2, causal=True, out_init=jax.nn.initializers.normal(1.0))
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
    decode = jax.jit(layer.apply)
    cache, outs, index = KVCache.empty(batch_size=3, num_heads=2, length=8, head_dim=8), [], 0
    for size in pieces:
        out, cache = decode(variables, x[:, index : index + size], cache=cache, cache_index=index)
        outs.append(out)
        index += size
    np.testing.assert_allclose(jnp.concatenate(outs, axis=1), jax.jit(layer.apply)(variables, x), atol=1e-5)


def test_a_cache_may_stand_at_another_position_for_each_example(layer):
    """Row b has read b tokens fewer; what stands beyond its own is overwritten and not attended to."""
    layer, variables, x = layer
    expected = layer.apply(variables, x)
    empty = KVCache.empty(batch_size=3, num_heads=2, length=8, head_dim=8)
    _, cache = layer.apply(variables, x[:, :5], cache=empty, cache_index=0)
    index = jnp.array([5, 4, 3])
    part = jnp.take_along_axis(x, read_positions(index, 2)[..., None], axis=1)
    out, _ = layer.apply(variables, part, cache=cache, cache_index=index)
    for row, at in enumerate(index):
        np.testing.assert_allclose(out[row], expected[row, at : at + 2], atol=1e-5)


def test_a_cache_keeps_its_dtype():
    cache = KVCache.empty(1, 2, 4, 8, dtype=jnp.bfloat16, layers=(3,))
    assert cache.key.shape == (1, 3, 2, 4, 8)
    layer = jax.tree.map(lambda x: x[:, 0], cache)
    new = jnp.ones((1, 2, 1, 8), jnp.float32)
    assert layer.update(new, new, 0).value.dtype == jnp.bfloat16


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
        SelfAttention(num_heads=3, causal=True).init(jax.random.key(0), jnp.ones((1, 8, 16)))


@pytest.mark.parametrize("block", [2, 8])
def test_changed_scores_are_the_same_in_blocks(block):
    """A soft cap, slopes by distance, sinks and a bias, with shared keys; values narrower than keys."""
    q, k, v = (
        jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(2, 4, 8, 6), (2, 2, 8, 6), (2, 2, 8, 3)])
    )
    bias = jax.random.normal(jax.random.key(3), (1, 4, 8, 8))
    changes = Scores(2.0, jnp.arange(4.0) / 9, jnp.arange(4.0) - 1, bias)
    whole = attend(q, k, v, causal=True, window=5, scores=changes)
    np.testing.assert_allclose(attend(q, k, v, causal=True, window=5, scores=changes, block=block), whole, atol=1e-5)
    key, value = (jnp.repeat(x, 2, axis=1) for x in (k, v))
    for head in range(4):
        raw = 2 * np.tanh(np.asarray(q[:, head] @ key[:, head].mT) / 6**0.5 / 2) + np.asarray(bias[:, head])
        distance = np.arange(8)[:, None] - np.arange(8)[None]
        raw = np.where((distance >= 0) & (distance < 5), raw - head / 9 * distance, -np.inf)
        # The sink has no position: its score is relative to those with slope times position.
        part = np.exp(raw + head / 9 * np.arange(8)[:, None])
        weights = part / (part.sum(axis=-1, keepdims=True) + np.exp(head - 1.0))
        np.testing.assert_allclose(whole[:, head], weights @ np.asarray(value[:, head]), atol=1e-5)
