"""Laws of one step."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deeplab.experiment import traced_arguments
from deeplab.train.dropout import by_example
from deeplab.train.initialize import init
from deeplab.train.step import guard, make_eval, make_guarded_step, make_step
from tests import toys


def _batch(exp, ids=None):
    source = exp.data.open("train")
    return exp.data.fetch(source, exp.data.train_ids(0, 0)[0] if ids is None else ids)


def test_init_is_the_same_under_jit_and_abstractly():
    exp = toys.experiment()
    state = init(exp, jax.random.key(3))
    assert toys.same(state, jax.jit(lambda key: init(exp, key))(jax.random.key(3)))
    shapes = jax.eval_shape(lambda key: init(exp, key), jax.random.key(3))
    assert jax.tree.map(lambda s: s.shape, shapes) == jax.tree.map(jnp.shape, state)


@pytest.mark.slow
def test_the_first_state_can_be_donated_where_the_optimizer_keeps_the_parameters():
    """The state of L-BFGS begins as the very parameters."""
    exp = dataclasses.replace(toys.experiment(), optimizer=optax.lbfgs())
    state, batch = init(exp, jax.random.key(0)), next(exp.data.batches("train"))
    leaves = [leaf for leaf in jax.tree.leaves(state) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)
    assert int(jax.jit(make_step(exp), donate_argnums=0)(state, batch)[0].step) == 1


def test_padding_changes_nothing():
    """A batch padded with examples of weight 0 gives the loss and the gradient of the batch without them."""
    exp = toys.experiment(norm=False)
    state, batch = init(exp, jax.random.key(0)), _batch(exp)
    half = {name: x[:8] for name, x in batch.items()}
    garbage = {name: np.full_like(x[8:], 3) for name, x in batch.items()} | {"weight": np.zeros(8, np.float32)}
    padded = {name: np.concatenate([half[name], garbage[name]]) for name in batch}
    a, b = (jax.jit(make_step(exp))(state, x)[1] for x in (half, padded))
    for name in a:
        np.testing.assert_allclose(a[name].compute(), b[name].compute(), rtol=1e-5)


def test_loss_falls():
    exp = toys.experiment()
    state, step = init(exp, jax.random.key(0)), jax.jit(make_step(exp))
    losses = []
    for batch in dataclasses.replace(exp.data, steps=150).batches("train"):
        state, metrics = step(state, batch)
        losses.append(metrics["loss"].compute())
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])


def test_randomness_follows_the_example_not_its_place():
    """Dropout and augmentation: rows permuted in, rows permuted out."""
    exp = toys.experiment(norm=False, label_smoothing=0.0)
    state, ids = init(exp, jax.random.key(0)), np.arange(16, dtype=np.int32)
    order = np.random.default_rng(0).permutation(16)

    def logits(ids):
        batch = exp.data.transform(_batch(exp, ids), jax.random.key(7))
        with by_example(batch["id"]):
            return exp.model.apply({"params": state.params}, batch["image"], train=True, rngs={"dropout": state.key})

    np.testing.assert_allclose(logits(ids)[order], logits(ids[order]), rtol=1e-6)
    np.testing.assert_allclose(logits(ids)[:4], logits(ids[:4]), rtol=1e-6)


def test_dropout_keeps_the_mean_and_drops_at_its_rate():
    layer, x, ids = nn.Dropout(0.3, deterministic=False), jnp.ones((64, 100)), jnp.arange(64)
    with by_example(ids):
        out = layer.apply({}, x, rngs={"dropout": jax.random.key(0)})
    assert abs(float((out == 0).mean()) - 0.3) < 0.02
    assert abs(float(out.mean()) - 1) < 0.03
    assert not jnp.array_equal(out[0], out[1])


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_dropout_at_its_ends(rate):
    def total(x, rate):
        with by_example(jnp.arange(4)):
            return nn.Dropout(rate, deterministic=False).apply({}, x, rngs={"dropout": jax.random.key(0)}).sum()

    value, grad = jax.value_and_grad(total)(jnp.ones((4, 5)), jnp.float32(rate))
    assert float(value) == (20.0 if rate == 0 else 0.0)
    assert bool(jnp.isfinite(grad).all())


@pytest.mark.slow
def test_step_vmapped_over_all_floats_is_the_solo_steps():
    """The law of experiments, on the toy; tests/test_experiments.py holds it for every experiment."""
    floats = traced_arguments(toys.experiment)
    assert set(floats) == {"learning_rate", "weight_decay", "dropout", "label_smoothing", "jitter"}
    members = {name: jnp.array([0.5, 1.0, 1.5]) * value for name, value in floats.items()}
    batch = _batch(toys.experiment())

    def losses(floats):
        exp = toys.experiment(**floats)
        state, out = init(exp, jax.random.key(0)), []
        for _ in range(3):
            state, metrics = make_step(exp)(state, batch)
            out.append(metrics["loss"].total)
        return jnp.stack(out)

    together = jax.jit(jax.vmap(losses))(members)
    solo = [jax.jit(losses)({name: float(v[i]) for name, v in members.items()}) for i in range(3)]
    np.testing.assert_allclose(together, jnp.stack(solo), rtol=1e-5)


def test_evaluation_does_not_touch_the_state():
    exp = toys.experiment()
    state, batch = init(exp, jax.random.key(0)), _batch(exp)
    first, second = (make_eval(exp)(state, batch) for _ in range(2))
    assert toys.same(first, second)


def test_any_optax_transformation_will_do():
    exp = dataclasses.replace(
        toys.experiment(), optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.lion(1e-3))
    )
    state, metrics = jax.jit(make_step(exp))(init(exp, jax.random.key(0)), _batch(exp))
    assert int(state.step) == 1
    assert np.isfinite(metrics["loss"].compute())


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("poison", [1.0, math.nan])
def test_an_update_under_a_condition_is_the_one_that_is_chosen(allowed, poison):
    """Both forms of the guard: the same state, and the old one bit by bit where the step is refused."""
    exp = toys.experiment()
    batch = _batch(exp)
    batch["image"] = batch["image"] * np.float32(poison)
    start = init(exp, jax.random.key(0))
    chosen, made = (jax.jit(form)(start, batch, allowed) for form in (guard(make_step(exp)), make_guarded_step(exp)))
    refused = not allowed or math.isnan(poison)
    assert bool(made[2]) == bool(chosen[2]) == (not math.isnan(poison))
    assert toys.same(made[0], start) == toys.same(chosen[0], start) == refused
    assert int(made[0].step) == int(chosen[0].step) == (0 if refused else 1)
    for a, b in zip(jax.tree.leaves(chosen[0].params), jax.tree.leaves(made[0].params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
