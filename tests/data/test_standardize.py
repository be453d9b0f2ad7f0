"""The seam: a task's batch holds images in [0, 1], and normalization is a value that comes after."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.data import Images, Standardize, augment
from deeplab.data.augment import mix

STANDARDIZE = Standardize(mean=(0.3,), std=(0.7,))


def digits(**changes) -> dl.data.Examples:
    return Images("digits", batch_size=100, epochs=1, **changes)


def test_normalization_is_one_formula_on_either_side_of_the_seam():
    """(x / 255 - mean) / std in float32: the same bits inside a step, in one go or in two."""
    data = digits()
    batch = next(data.batches())
    mean, std = np.float32(0.3058), np.float32(0.3761)
    expected = jax.jit(lambda x: (x.astype(jnp.float32) / 255 - mean) / std)(batch["image"])
    ready = jax.jit(lambda batch: data.normalize(data.transform(batch)["image"]))(batch)
    np.testing.assert_array_equal(ready, expected)


@pytest.mark.parametrize("recipe", [{}, {"augment": augment.rotate(20.0), "mix": mix.mixup(0.4, 10)}])
def test_a_batch_holds_images_in_the_unit_interval(recipe):
    data = digits(**recipe)
    image = jax.jit(data.transform)(next(data.batches()), jax.random.key(0))["image"]
    assert 0 <= float(image.min()) < 0.01
    assert 0.9 < float(image.max()) <= 1


def test_the_set_declares_its_normalization_and_a_user_overrides_it():
    assert digits().normalize == dl.data.sets.SETS["digits"].normalize
    assert digits(normalize=STANDARDIZE).normalize == STANDARDIZE
    assert digits(normalize=None).normalize is None
    assert digits(normalize=STANDARDIZE).synthetic().normalize == STANDARDIZE
    assert dl.data.Examples("digits", epochs=1).normalize is None  # raw examples are not scaled


def test_channels_are_standardized_one_by_one():
    x = np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3)
    mean, std = (1.0, 2.0, 3.0), (0.5, 1.0, 2.0)
    np.testing.assert_array_equal(Standardize(mean, std)(x), (x - np.float32(mean)) / np.float32(std))


def test_the_model_reads_what_is_normalized():
    """Normalized at the seam or inside `prepare`: the same metrics, of training and of an evaluation."""

    def prepare(example, key):
        return example | {"image": STANDARDIZE(example["image"].astype(jnp.float32) / 255)}

    def experiment(data):
        model, task = dl.models.MLP(num_classes=10, features=(8,)), dl.tasks.Classification()
        return dl.Experiment(data, model, task, optax.sgd(0.1))

    inside = dl.data.Examples("digits", batch_size=100, epochs=1, prepare=prepare)
    measured = []
    for data in (digits(normalize=STANDARDIZE), inside):
        exp = experiment(data)
        state, batch = dl.init(exp, jax.random.key(0)), next(data.batches())
        _, metrics = jax.jit(dl.make_step(exp))(state, batch)
        measured.append({**metrics, "eval_loss": jax.jit(dl.make_eval(exp))(state, batch)["loss"]})
    for name in measured[0]:
        assert measured[0][name].compute() == pytest.approx(measured[1][name].compute(), rel=1e-6), name
    without = experiment(dataclasses.replace(inside, prepare=digits().prepare, num_steps=None))
    loss = jax.jit(dl.make_eval(without))(dl.init(without, jax.random.key(0)), next(inside.batches()))["loss"]
    assert abs(loss.compute() - measured[0]["eval_loss"].compute()) > 1e-3
