"""What an example of weight 0 holds has no part in a step or an evaluation, be it NaN."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.runtime import Runtime
from deeplab.train.step import make_eval, make_step, only_counted
from tests import toys

WEIGHT = np.array([1, 0, 0.5, 0, 2, 1, 0, 1], np.float32)


def batch(held, other=0):
    """Eight points; those of weight 0 hold this value, and this label."""
    x = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    x[WEIGHT == 0] = held
    label = np.where(WEIGHT == 0, other, np.arange(8) % 4).astype(np.int32)
    return {"image": x, "label": label, "weight": WEIGHT, "id": np.arange(8, dtype=np.int32)}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("held", "other"), [(np.nan, 0), (np.inf, 3), (1e38, -7), (-1e30, 99)])
def test_a_step_does_not_depend_on_examples_without_weight(held, other, accumulate):
    made = toys.experiment(norm=False, jitter=0.0)
    step, evaluate = jax.jit(make_step(made, Runtime(accumulate=accumulate))), jax.jit(make_eval(made))
    state = dl.init(made, jax.random.key(0))
    expected, seen = step(state, batch(0.5)), step(state, batch(held, other))
    assert toys.same(expected[0], seen[0])
    assert toys.same(expected[1], seen[1])
    assert toys.same(evaluate(state, batch(0.5)), evaluate(state, batch(held, other)))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(seen[1]))


@pytest.mark.slow
def test_the_gradient_is_that_of_the_others():
    made = toys.experiment(norm=False, jitter=0.0, dropout=0.0)
    made = dataclasses.replace(made, optimizer=optax.sgd(1.0))
    state = dl.init(made, jax.random.key(0))
    whole = batch(np.nan)
    few = {name: x[WEIGHT != 0] for name, x in whole.items()}
    ours, others = (make_step(made)(state, b)[0].params for b in (whole, few))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(others), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_weights_may_be_set_by_prepare():
    """An example is left out because it is broken: the NaN comes with weight 0 from `prepare` itself."""
    x = np.ones((8, 2), np.float32)
    x[3] = -1

    def roots(example, key):
        return example | {"x": jnp.sqrt(example["x"]), "weight": jnp.where(example["x"][0] < 0, 0.0, 1.0)}

    arrays = {"x": x, "label": np.arange(8) % 2}
    data = dl.data.Examples({"train": arrays, "test": arrays}, batch_size=8, num_steps=1, prepare=roots)
    made = dl.Experiment(data, dl.models.MLP(2, (4,)), dl.tasks.Classification(fields=("x",)), optax.sgd(0.1))
    state, metrics = make_step(made)(dl.init(made, jax.random.key(0)), next(data.batches("train")))
    assert np.isfinite(metrics["grad_norm"].compute())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_in_which_nothing_counts_has_gradient_0(accumulate):
    made = toys.experiment(norm=False)
    made = dataclasses.replace(made, optimizer=optax.sgd(1.0))
    state = dl.init(made, jax.random.key(0))
    none = batch(1.0) | {"weight": np.zeros(8, np.float32)}
    after, metrics = make_step(made, Runtime(accumulate=accumulate))(state, none)
    assert toys.same(state.params, after.params)
    assert (metrics["loss"].count, metrics["grad_norm"].compute()) == (0, 0)


def test_mixing_is_with_examples_that_count():
    data = toys.Given({name: jnp.asarray(x) for name, x in batch(0.5).items()})

    class Mixed(toys.Given):
        def transform(self, given, key=None):
            return given if key is None else given | {"image": given["image"] + jnp.roll(given["image"], 1, axis=0)}

    made = dataclasses.replace(toys.experiment(norm=False), data=Mixed(data.batch))
    state = dl.init(made, jax.random.key(0))
    _, metrics = make_step(made)(state, batch(np.nan))
    assert np.isfinite(metrics["loss"].compute())
    assert np.isfinite(metrics["grad_norm"].compute())


def test_every_dtype_is_replaced_and_weights_and_ids_stay():
    given = {
        "x": jnp.array([jnp.nan, 1.0, 2.0]), "flag": jnp.array([True, False, True]),
        "small": jnp.array([200, 7, 255], jnp.uint8), "pair": jnp.arange(6).reshape(3, 2),
        "weight": jnp.array([0.0, 0.5, 0.0]), "id": jnp.array([4, 5, 6]),
    }  # fmt: skip
    made = only_counted(given)
    assert {name: (x.tolist(), x.dtype) for name, x in made.items()} == {
        "x": ([1.0, 1.0, 2.0], np.float32), "flag": ([False, False, True], bool), "small": ([7, 7, 255], np.uint8),
        "pair": ([[2, 3], [2, 3], [4, 5]], np.int32), "weight": ([0.0, 0.5, 0.0], np.float32),
        "id": ([4, 5, 6], np.int32),
    }  # fmt: skip


class Norm(nn.Module):
    """A batch norm alone."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(4)(nn.BatchNorm(use_running_average=not train, momentum=0.0)(x))


def test_batch_statistics_hold_copies_of_the_first_example_in_place_of_broken_ones():
    made = dataclasses.replace(toys.experiment(jitter=0.0), model=Norm())
    state = dl.init(made, jax.random.key(0))
    given = batch(np.nan)
    after, _ = make_step(made)(state, given)
    counted = np.where((WEIGHT != 0)[:, None], given["image"], given["image"][:1])
    np.testing.assert_allclose(after.variables["batch_stats"]["BatchNorm_0"]["mean"], counted.mean(axis=0), rtol=1e-5)
