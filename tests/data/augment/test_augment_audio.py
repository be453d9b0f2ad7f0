"""Augmentations of sound: strengths of zero, traced strengths, and what each should do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deeplab.data.augment import audio as augment

SIZE, LENGTH = 400, 300
KEYS = jax.random.split(jax.random.key(0), 24)
SOUND = jnp.where(jnp.arange(SIZE) < LENGTH, jnp.sin(jnp.arange(SIZE) / 7) + 0.1, 0)
FEATURES = jnp.where(jnp.arange(60)[:, None] < 50, jax.random.normal(jax.random.key(1), (60, 12)), 0)
WITH_STRENGTH = {"gain": augment.gain, "shift": augment.shift, "speed": augment.speed}


def many(function, x=SOUND, length=LENGTH):
    return jax.jit(jax.vmap(function, in_axes=(0, None, None)))(KEYS, x, jnp.int32(length))


@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_strength_zero_changes_nothing(name):
    x, length = many(WITH_STRENGTH[name](0.0))
    np.testing.assert_allclose(x, np.broadcast_to(SOUND, x.shape), atol=1e-6)
    assert (length == LENGTH).all()


@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_a_traced_strength_is_the_number(name):
    make = WITH_STRENGTH[name]
    traced = jax.jit(jax.vmap(lambda s: many(make(s))))(jnp.array([0.2, 0.4]))
    for i, number in enumerate([0.2, 0.4]):
        for got, expected in zip(traced, many(make(number)), strict=True):
            np.testing.assert_allclose(got[i], expected, atol=1e-5)


@pytest.mark.parametrize("function", [*(f(0.5) for f in WITH_STRENGTH.values()), augment.noise(0.0, 20.0)])
def test_nothing_sounds_behind_the_end(function):
    x, length = many(function)
    assert x.shape == (len(KEYS), SIZE)
    assert len({row.tobytes() for row in np.asarray(x)}) > 1
    behind = np.arange(SIZE)[None] >= np.asarray(length)[:, None]
    assert (np.abs(x) * behind < 1e-6).all()


def test_gain_is_in_decibels():
    x, _ = many(augment.gain(6.0))
    ratio = 20 * np.log10(np.linalg.norm(x, axis=1) / np.linalg.norm(SOUND))
    assert (np.abs(ratio) <= 6.001).all()
    assert ratio.std() > 1


def test_shift_keeps_every_sample():
    x, length = many(augment.shift(1.0))
    for row, end in zip(np.asarray(x), np.asarray(length), strict=True):
        np.testing.assert_allclose(row[end - LENGTH : end], SOUND[:LENGTH], atol=1e-6)
    assert length.max() <= SIZE
    assert len(set(length.tolist())) > 5


def test_speed_resamples():
    x, length = many(augment.speed(0.3))
    factor = LENGTH / np.asarray(length)
    assert 0.7 < factor.min() < 0.9 < 1.1 < factor.max() < 1.4
    for row, f in zip(np.asarray(x), factor, strict=True):
        expected = np.sin(np.arange(200) * f / 7) + 0.1
        np.testing.assert_allclose(row[:200], expected, atol=0.2)  # the factor is known to a sample in 300


def test_noise_has_its_ratio():
    x, _ = many(augment.noise(10.0, 10.0))
    power = np.mean((x - SOUND[None])[:, :LENGTH] ** 2, axis=1)
    ratio = 10 * np.log10(np.mean(SOUND[:LENGTH] ** 2) / power)
    np.testing.assert_allclose(ratio, 10, atol=1)


def test_chained_augmentations_have_keys_of_their_own():
    x, _ = many(augment.chain(augment.noise(10.0, 10.0), augment.noise(10.0, 10.0)))
    power = np.mean((x - SOUND[None])[:, :LENGTH] ** 2, axis=1)
    np.testing.assert_allclose(power / (2 * np.mean(SOUND[:LENGTH] ** 2) / 10), 1, atol=0.3)  # and not 4 / 10


def test_spec_augment_masks_whole_bands_and_frames():
    masked = augment.spec_augment(3.0, 5.0, num_bands=1, num_times=1, share=1.0)
    out = np.asarray(jax.vmap(masked, in_axes=(0, None, None))(KEYS, FEATURES, jnp.int32(50)))
    gone = (out == 0) & (np.asarray(FEATURES) != 0)[None]
    bands, frames = gone[:, :50].all(axis=1), gone.all(axis=2)
    widths = bands.sum(axis=1), frames.sum(axis=1)
    assert (gone[:, :50] == (bands[:, None] | frames[:, :50, None])).all()
    assert set(widths[0]) == {0, 1, 2, 3}
    assert widths[1].max() == 5
    assert (out == np.asarray(FEATURES))[~gone].all()


def test_spec_augment_leaves_a_share_of_a_short_example():
    masked = augment.spec_augment(0.0, 50.0, num_bands=0, num_times=1, share=0.2)
    out = jax.vmap(masked, in_axes=(0, None, None))(KEYS, FEATURES, jnp.int32(50))
    assert ((out == 0).all(axis=2)[:, :50].sum(axis=1) <= 10).all()


def test_warping_by_nothing_and_by_something():
    warp = jax.jit(jax.vmap(augment.warp_time, in_axes=(0, None, None, None)))
    ramp = jnp.broadcast_to(jnp.arange(60.0)[:, None], (60, 2))
    kept, moved = warp(KEYS, ramp, jnp.int32(50), 0.0), warp(KEYS, ramp, jnp.int32(50), 8.0)
    np.testing.assert_allclose(kept[:, :50, 0], np.broadcast_to(np.arange(50.0), (len(KEYS), 50)), atol=1e-3)
    steps = np.diff(moved[:, :50, 0])
    assert (steps > 0).all()  # time never runs backwards
    np.testing.assert_allclose(moved[:, [0, 49], 0], np.broadcast_to([0.0, 49.0], (len(KEYS), 2)), atol=1e-3)
    assert 4 < np.abs(moved - kept)[:, :50].max() <= 8.001
    assert not moved[:, 50:].any()
