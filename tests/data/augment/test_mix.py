"""Mixing: neutral strengths, the mass of labels, and what is mixed with what."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplab.core.errors import UserError
from deeplab.data import Images
from deeplab.data.augment import mix

K, B = 5, 6
KINDS = {
    "mixup": mix.mixup,
    "cutmix": mix.cutmix,
    "either": lambda alpha, K: mix.either(mix.mixup(alpha, K), mix.cutmix(alpha, K)),
}
# Each image is constant: what comes from where can be read off.
BATCH = {
    "image": jnp.broadcast_to(jnp.arange(1.0, B + 1)[:, None, None, None], (B, 8, 10, 3)),
    "label": jnp.array([0, 1, 2, 3, 4, 0]),
    "id": jnp.array([10, 11, 12, 13, 14, 15]),
    "weight": jnp.ones(B),
}


@jax.jit
def run(name_index: int, alpha: jax.Array, seed: jax.Array, batch: dict[str, jax.Array]):
    key = jax.random.key(seed)
    return jax.lax.switch(name_index, [lambda k=k: k(alpha, K)(key, batch) for k in KINDS.values()])


def mixed(name: str, alpha: float, seed: int = 0, batch: dict[str, jax.Array] = BATCH):
    return jax.device_get(run(list(KINDS).index(name), jnp.float32(alpha), seed, batch))


def share_of(image: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How much of a mixed image is its own: the images are constant, so that the mean tells."""
    other = np.roll(own, 1)
    return (image.mean(axis=(1, 2, 3)) - other) / (own - other)


@pytest.mark.parametrize("name", KINDS)
def test_strength_zero_changes_nothing(name):
    out = mixed(name, 0.0)
    np.testing.assert_array_equal(out["image"], BATCH["image"])
    np.testing.assert_array_equal(out["label"], np.eye(K)[np.asarray(BATCH["label"])])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(KINDS)), st.floats(0.0, 4.0), st.integers(0, 1000))
def test_labels_are_mixed_as_the_images_are(name, alpha, seed):
    out = mixed(name, alpha, seed)
    np.testing.assert_allclose(out["label"].sum(axis=1), 1, rtol=1e-5)
    assert out["label"].min() >= 0
    share = share_of(out["image"], np.arange(1, B + 1))
    assert share.min() > -1e-5
    assert share.max() < 1 + 1e-5
    label = np.eye(K)[np.asarray(BATCH["label"])]
    np.testing.assert_allclose(
        out["label"], share[:, None] * label + (1 - share[:, None]) * np.roll(label, 1, 0), atol=1e-5
    )
    for name in ("id", "weight"):
        np.testing.assert_array_equal(out[name], BATCH[name])


def test_cutmix_takes_a_rectangle():
    for seed in range(5):
        for image, own in zip(mixed("cutmix", 1.0, seed)["image"], range(1, B + 1), strict=True):
            foreign = (image != own).all(-1)
            rows, columns = foreign.any(1), foreign.any(0)
            np.testing.assert_array_equal(foreign, rows[:, None] & columns[None, :])
            assert (np.diff(np.flatnonzero(rows)) == 1).all()


def test_the_proportion_belongs_to_the_example():
    order = np.array([3, 0, 5, 1, 4, 2])
    other = mixed("mixup", 1.0, batch={name: array[order] for name, array in BATCH.items()})
    one = share_of(mixed("mixup", 1.0)["image"], np.arange(1, B + 1))
    np.testing.assert_allclose(share_of(other["image"], order + 1)[np.argsort(order)], one, atol=1e-5)
    assert len(np.unique(one.round(4))) == B


def test_either_uses_both_and_one_at_the_ends():
    many = {"image": jnp.zeros((64, 1, 1, 1)), "label": jnp.zeros((64, K)), "id": jnp.arange(64)}
    first, second = (lambda key, batch, x=x: batch | {"image": jnp.full_like(batch["image"], x)} for x in (0.0, 1.0))
    chosen = [float(mix.either(first, second, p)(jax.random.key(1), many)["image"].mean()) for p in (0.0, 0.5, 1.0)]
    assert chosen[0] == 1
    assert 0.25 < chosen[1] < 0.75
    assert chosen[2] == 0


@pytest.mark.slow
def test_mixed_labels_can_be_mixed_again():
    twice = mixed("mixup", 1.0, 5, jax.tree.map(jnp.asarray, mixed("mixup", 1.0)))
    np.testing.assert_allclose(twice["label"].sum(axis=1), 1, rtol=1e-5)


def test_a_probability_may_be_an_integer():
    """`jax.random.bernoulli` takes none."""
    one, other = (mix.either(mix.mixup(1.0, K), mix.cutmix(1.0, K), p)(jax.random.key(0), BATCH) for p in (1, 1.0))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    np.testing.assert_array_equal(
        one["label"], mix.mixup(1.0, K)(jax.random.fold_in(jax.random.key(0), 0), BATCH)["label"]
    )


def test_fewer_classes_than_those_of_the_set_are_refused():
    """Rows of labels did not sum to 1, in silence."""

    def made(num_classes):
        digits = Images("digits", batch_size=20, epochs=1, mix=mix.mixup(0.2, num_classes))
        return digits.transform(next(digits.batches()), jax.random.key(0))["label"]

    with pytest.raises(UserError, match="mix= makes labels of 3 classes, and the set has 10: give num_classes=10"):
        made(3)
    np.testing.assert_allclose(made(10).sum(axis=1), 1, atol=1e-6)
    assert made(12).shape == (20, 12)


def test_the_modules_of_mixing_and_of_audio_are_there_in_a_fresh_process():
    code = "import deeplab as dl; print(dl.data.augment.mix.mixup, dl.data.augment.audio.gain)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
