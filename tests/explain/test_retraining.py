"""A member of a retraining population equals a training that never saw the examples which it leaves out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deeplab as dl
from deeplab.core.errors import UserError
from deeplab.explain.examples import retraining
from deeplab.explain.examples.retraining import all_but, random_subset
from deeplab.search.sweep import Setup, sweep
from deeplab.train.losses import losses_by_example, make_losses

N, T = 24, 5
X = np.random.default_rng(0).normal(size=(N + T, 6)).astype(np.float32)
Y = (X @ np.random.default_rng(1).normal(size=(6, 3))).argmax(axis=1).astype(np.int32)
TEST = {"x": X[N:], "label": Y[N:]}


def experiment(kept, batch_size, weights=None, steps=6):
    """Trains on the examples `kept`, or on all with these weights."""
    sets = {"train": {"x": X[:N][kept], "label": Y[:N][kept]}, "test": TEST}
    data = dl.data.Examples(sets, batch_size=batch_size, num_steps=steps)
    data = data if weights is None else dl.data.weighted(data, weights)
    task = dl.tasks.Classification(fields=("x",))
    return dl.Experiment(data, dl.models.MLP(3, (4,)), task, optax.adam(0.1), eval_every=steps)


def on_subset(subset: float = -1.0, leave_one: bool = False, batch_size: int = N):
    mask = (all_but if leave_one else random_subset)(subset, N)
    return experiment(slice(None), batch_size, mask)


def outputs(**arguments):
    """Losses of the test examples after training of each member, in one program."""
    rows = sweep(on_subset, arguments, setup=Setup(probe=losses_by_example, execution="vmap"))
    assert {row["execution"] for row in rows} == {f"{len(rows)} at a time, as one vmap (asked for)"}
    return np.array([row["last"]["losses"] for row in rows])


def after(state, exp):
    losses = jax.jit(make_losses(exp, state))
    return losses(state.params, {name: jnp.asarray(x) for name, x in TEST.items()})


@pytest.mark.parametrize("leave_one", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_member_is_a_training_without_its_examples(leave_one):
    """In batches of all examples, so that one data set has no other order than the other."""
    numbers = [-1.0, 3.0]
    found = outputs(subset=numbers, leave_one=leave_one)
    for number, member in zip(numbers, found, strict=True):
        mask = np.asarray((all_but if leave_one else random_subset)(number, N))
        assert mask.sum() == (N if number < 0 else N - 1 if leave_one else N // 2)
        solo = experiment(np.flatnonzero(mask), int(mask.sum()))
        state, step = dl.init(solo, jax.random.key(0)), jax.jit(dl.make_step(solo))
        for batch in solo.data.batches("train"):
            state, _ = step(state, batch)
        np.testing.assert_allclose(member, after(state, solo), rtol=2e-4, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-2


@pytest.mark.slow
def test_a_member_takes_the_same_batches_without_its_examples():
    numbers = [0.0, 5.0]
    for number, member in zip(numbers, outputs(subset=numbers, batch_size=8), strict=True):
        mask, solo = np.asarray(random_subset(number, N)), experiment(slice(None), 8)
        state = dl.init(solo, jax.random.key(0))
        params, moments = state.params, solo.optimizer.init(state.params)
        mean = jax.jit(jax.grad(lambda p, batch: jnp.mean(make_losses(solo, state)(p, batch))))  # noqa: B023
        for batch in solo.data.batches("train"):
            held = mask[batch["id"]]
            gradient = mean(params, {name: x[held] for name, x in batch.items()})
            updates, moments = solo.optimizer.update(gradient, moments, params)
            params = optax.apply_updates(params, updates)
        expected = make_losses(solo, state)(params, {name: jnp.asarray(x) for name, x in TEST.items()})
        np.testing.assert_allclose(member, expected, rtol=2e-4, atol=1e-5)


def test_subsets_are_halves_that_a_tracer_may_choose():
    masks = jax.jit(jax.vmap(lambda s: random_subset(s, 25)))(jnp.arange(-1.0, 400.0))
    assert masks[0].all()
    assert set(np.asarray(masks[1:].sum(axis=1)).tolist()) == {12}
    assert abs(np.corrcoef(masks[1:].T) - np.eye(25)).max() < 0.25
    np.testing.assert_array_equal(masks[8], random_subset(7, 25))


def test_data_that_mix_examples_have_no_weights():
    mixed = dl.data.Examples({"train": {"x": X}, "test": {"x": X}}, epochs=1, mix=lambda key, batch: batch)
    with pytest.raises(UserError, match="mix examples"):
        dl.data.weighted(mixed, jnp.ones(len(X)))


def test_there_is_a_weight_for_each_training_example():
    """JAX takes the last weight for an example beyond them. With half of the examples, numbers are those of all."""
    data = dl.data.Examples({"train": {"x": X}, "test": {"x": X}}, epochs=1, train_fraction=0.5)
    for few in (jnp.ones(len(X) // 2), [1.0] * (len(X) + 1), 1.0):
        with pytest.raises(UserError, match=rf"weights have shape \[.*\], expected \[{len(X)}\]"):
            dl.data.weighted(data, few)
    with pytest.raises(UserError, match=r"weights have shape \[3\]"):
        jax.jit(lambda weights: dl.data.weighted(data, weights) and weights)(jnp.ones(3))
    twice = dl.data.weighted(dl.data.weighted(data, [2.0] * len(X)), jnp.arange(1.0 * len(X)))
    batch = next(twice.batches("train"))
    made = twice.transform(batch, jax.random.key(0))
    np.testing.assert_array_equal(made["weight"], batch["weight"] * 2 * batch["id"])


@pytest.mark.parametrize("subsets", [3, 4, 7])
def test_a_resample_of_one_subset_counts_nowhere(subsets):
    """One in 64 of four: its correlation, of 0 by 0, made the interval NaN."""
    rng = np.random.default_rng(0)
    scores, masks = rng.normal(size=(5, 12)), rng.random((subsets, 12)) < 0.5
    outputs = masks @ scores.T + rng.normal(size=(subsets, 5))
    found = retraining.lds(scores, masks, outputs, key=jax.random.key(0), resamples=2000)
    assert -1 <= found.low <= found.mean <= found.high <= 1 + 1e-6
    constant = retraining.lds(scores, masks, outputs * [1, 1, 1, 1, 0], key=jax.random.key(0), resamples=50)
    assert np.isnan([constant.each[4], constant.mean, constant.low, constant.high]).all()
