"""Fingerprints see every changed bit, and no change of layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from deeplab.runs.fingerprint import fingerprint, fingerprints, leaves_by_path

DTYPES = ["float32", "bfloat16", "float16", "int32", "uint8", "int8", "bool", "complex64", "float8_e4m3fn", "int4"]
SHAPE = (4, 6)  # one shape, so that each program is compiled once
one = jax.jit(fingerprint)


def array(dtype: str, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=SHAPE) * 3).astype(jnp.dtype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), data=st.data())
def test_any_flipped_bit_changes_it(dtype, seed, data):
    x = array(dtype, seed)
    flipped = x.copy().reshape(-1).view(np.uint8)
    position = data.draw(st.integers(0, flipped.size * 8 - 1))
    flipped[position // 8] ^= 1 << position % 8
    assert one(x) != one(flipped.view(x.dtype).reshape(SHAPE))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), i=st.integers(0, 23), j=st.integers(0, 23))
def test_swapped_elements_change_it(seed, i, j):
    x = array("float32", seed)
    y = x.reshape(-1).copy()
    y[[i, j]] = y[[j, i]]
    assert (one(x) == one(y.reshape(SHAPE))) == (i == j)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_changed_element_changes_it_in_every_dtype(dtype):
    x = jnp.asarray(array(dtype))
    y = x.at[1, 2].set(jnp.where(x[1, 2] == 0, 1, 0).astype(x.dtype))
    assert one(x) != one(y)


def test_bits_rather_than_values():
    assert one(jnp.float32(0.0)) != one(jnp.float32(-0.0))
    assert one(jnp.float32(jnp.nan)) == one(jnp.float32(jnp.nan))
    assert one(jnp.float32(1.0)) != one(jnp.nextafter(jnp.float32(1.0), jnp.float32(2.0)))


@pytest.fixture
def with_64_bits():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_both_words_of_64_bits_count(dtype, with_64_bits):
    x = jnp.arange(6, dtype=dtype).reshape(2, 3)
    bits = np.asarray(x).view(np.uint64)
    numbers = {int(fingerprint(jnp.asarray((bits ^ np.uint64(1 << k)).view(dtype)))) for k in (0, 31, 32, 63)}
    assert len(numbers | {int(fingerprint(x))}) == 5


def test_keys_scalars_and_empty_arrays():
    tree = {"key": jax.random.key(1), "scalar": jnp.float32(2), "empty": jnp.zeros((0, 3)), "none": None, "tuple": ()}
    numbers = fingerprints(tree)
    assert set(numbers) == {"key", "scalar", "empty"}
    assert numbers["key"] != fingerprints({"key": jax.random.key(2)})["key"]
    assert numbers["empty"] == 0
    assert fingerprints({}) == {}


SPECS = [P(), P("a"), P(None, "b"), P("a", "b"), P("b", "a"), P(("a", "b"))]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool"])
def test_equal_under_every_sharding(dtype):
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    x = np.random.default_rng(0).normal(size=(16, 8)).astype(jnp.dtype(dtype))
    expected = fingerprints({"x": jnp.asarray(x)})
    for spec in SPECS:
        assert fingerprints({"x": jax.device_put(x, NamedSharding(mesh, spec))}) == expected


def test_allowed_where_transfers_are_not():
    x = jnp.ones(3)
    with jax.transfer_guard("disallow"):
        fingerprints({"x": x})


def test_two_leaves_of_one_path_are_refused():
    with pytest.raises(ValueError, match="one path"):
        leaves_by_path({"a/b": 1, "a": {"b": 2}})
