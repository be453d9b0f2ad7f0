"""Recurrences: in parallel as step by step, in parts as whole, continued as at once, packed as alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.models.text.recurrent import mamba
from deeplab.nn.attention.cache import Reading
from deeplab.nn.state_space import gated, mixers
from deeplab.nn.state_space.scans import causal_convolution, dual_scan, linear_scan, selective_scan

B, T, H, P, N = 2, 11, 3, 4, 5
PARTS = (1, 3, 4, 64)
MIXERS = {
    "mamba": mixers.Mamba(inner=12, state=3, rank=2),
    "mamba2": mixers.Mamba2(num_heads=4, head_dim=3, state=5, groups=2, part=4),
    "griffin": gated.Griffin(inner=12, num_heads=3),
    "min_gru": gated.MinGRU(inner=12),
    "lru": gated.LRU(inner=12),
}
each = pytest.mark.parametrize("name", MIXERS)


def inputs():
    """Everything that the scans read, with sequences that begin within a row."""
    rng = np.random.default_rng(0)
    kept = np.ones((B, T))
    kept[0, 4] = kept[1, 7] = kept[1, 0] = 0
    return {
        "x": rng.normal(size=(B, T, H, P)), "rate": rng.uniform(0, 1, (B, T, H)), "decay": -rng.uniform(0.1, 1, H),
        "write": rng.normal(size=(B, T, H, N)), "read": rng.normal(size=(B, T, H, N)),
        "initial": rng.normal(size=(B, H, P, N)), "kept": kept,
    }  # fmt: skip


def stepwise(x, rate, decay, write, read, initial, kept):
    """As the definition says: one position after another."""
    h, out = initial, []
    for t in range(T):
        h = h * (np.exp(rate[:, t] * decay)[..., None, None] * kept[:, t, None, None, None])
        h = h + (rate[:, t, :, None] * x[:, t])[..., None] * write[:, t, :, None]
        out.append(np.einsum("bhpn,bhn->bhp", h, read[:, t]))
    return np.stack(out, axis=1), h


@pytest.mark.parametrize("part", PARTS)
def test_dual_scan_is_the_recurrence(part):
    given = inputs()
    for found, expected in zip(dual_scan(**narrow(given), part=part), stepwise(**given), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("part", PARTS)
def test_selective_scan_is_the_recurrence(part):
    """A channel of its own rate is a head of one channel; what is written and read is the same for all."""
    given = inputs()
    given |= {"write": given["write"][:, :, :1].repeat(H, 2), "read": given["read"][:, :, :1].repeat(H, 2)}
    y, last = stepwise(**{**given, "x": given["x"][..., :1], "initial": given["initial"][:, :, :1]})
    found = selective_scan(
        **narrow({
            **given, "x": given["x"][..., 0], "decay": np.tile(given["decay"][:, None], (1, N)),
            "write": given["write"][:, :, 0], "read": given["read"][:, :, 0], "initial": given["initial"][:, :, 0],
        }), part=part,
    )  # fmt: skip
    np.testing.assert_allclose(found[0], y[..., 0], atol=1e-5)
    np.testing.assert_allclose(found[1], last[:, :, 0], atol=1e-5)


@pytest.mark.parametrize("part", PARTS)
def test_linear_scan_of_complex_numbers(part):
    rng = np.random.default_rng(1)
    decay, x = (rng.normal(size=(B, T, H)) + 1j * rng.normal(size=(B, T, H)) for _ in range(2))
    h, states = np.ones((B, H), complex), []
    for t in range(T):
        h = decay[:, t] * h + x[:, t]
        states.append(h)
    found, last = linear_scan(
        jnp.asarray(decay, jnp.complex64), jnp.asarray(x, jnp.complex64), jnp.ones((B, H), jnp.complex64), part
    )
    np.testing.assert_allclose(found, np.stack(states, axis=1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(last, h, rtol=1e-4, atol=1e-4)


def narrow(given):
    return {name: jnp.asarray(value, jnp.float32) for name, value in given.items()}


def test_the_convolution_is_that_of_numpy():
    rng = np.random.default_rng(2)
    x, kernel = rng.normal(size=(1, T, 1)).astype(np.float32), rng.normal(size=(4, 1)).astype(np.float32)
    y, last = causal_convolution(jnp.asarray(x), jnp.asarray(kernel), jnp.zeros((1, 3, 1)))
    np.testing.assert_allclose(y[0, :, 0], np.convolve(x[0, :, 0], kernel[::-1, 0])[:T], atol=1e-6)
    np.testing.assert_array_equal(last, x[:, -3:])


@each
def test_continued_token_by_token_is_at_once(name):
    mixer, x = MIXERS[name], jax.random.normal(jax.random.key(0), (B, T, 8))
    whole, variables = jax.jit(mixer.init_with_output)(jax.random.key(1), x, Reading(jnp.arange(T)))
    step = jax.jit(mixer.apply)
    cache = jax.tree.map(lambda leaf: leaf[:, 0], mixer.empty_cache(B, 0, 8, 1, jnp.float32))
    outs = []
    for begin, end in ((0, 4), *((t, t + 1) for t in range(4, T))):
        y, cache = step(variables, x[:, begin:end], Reading(jnp.arange(begin, end), begin), cache)
        outs.append(y)
    np.testing.assert_allclose(jnp.concatenate(outs, axis=1), whole, atol=1e-5)


@each
def test_sequences_that_share_a_row_are_read_as_if_alone(name):
    mixer, x = MIXERS[name], jax.random.normal(jax.random.key(0), (1, T, 8))
    variables = jax.jit(mixer.init)(jax.random.key(1), x, Reading(jnp.arange(T)))
    segments = jnp.array([[1] * 4 + [2] * (T - 4)])
    positions = jnp.concatenate([jnp.arange(4), jnp.arange(T - 4)])[None]
    apply = jax.jit(mixer.apply)
    packed = apply(variables, x, Reading(positions, 0, segments))
    alone = [apply(variables, part, Reading(jnp.arange(part.shape[1]))) for part in (x[:, :4], x[:, 4:])]
    np.testing.assert_allclose(packed, jnp.concatenate(alone, axis=1), atol=1e-5)


def test_a_decoder_of_any_mixer():
    """The twenty lines of somebody with an idea: another mixer in the same decoder."""
    model = mamba.decoder(lambda out_init: gated.MinGRU(16, out_init), vocab_size=7, num_layers=2, width=8)
    tokens = jnp.array([[1, 2, 3, 4]])
    logits, variables = jax.jit(model.init_with_output)(jax.random.key(0), tokens)
    changed = model.apply(variables, tokens.at[0, 3].set(5))
    np.testing.assert_array_equal(logits[0, :3], changed[0, :3])
    assert np.abs(logits[0, 3] - changed[0, 3]).max() > 1e-3
