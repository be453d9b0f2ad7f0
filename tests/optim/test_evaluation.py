"""Evaluation weights are those of a hand computation, wherever in an optimizer they are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from deeplab import optim
from tests import toys

PARAMS = {"body": {"w": jnp.array([1.0, -2.0, 3.0])}, "head": {"w": jnp.array([0.5, 4.0])}}


def loss(params):
    return sum(jnp.sum((x - 1) ** 2) for x in jax.tree.leaves(params))


def trajectory(tx, steps=6, bad=()):
    """The parameters and the optimizer's state before each step and after the last; gradients in `bad` are NaN."""
    params, state = PARAMS, tx.init(PARAMS)
    yield params, state
    for step in range(steps):
        value, grad = jax.value_and_grad(loss)(params)
        grad = jax.tree.map(lambda g, i=step: g * jnp.where(i in bad, jnp.nan, 1.0), grad)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        params = optax.apply_updates(params, updates)
        yield params, state


def average(points, decay):
    expected = points[0]
    for t, point in enumerate(points[1:], 1):
        d = min(decay, t / (t + 9))
        expected = jax.tree.map(lambda a, w, d=d: d * a + (1 - d) * w, expected, point)
    return expected


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


EMA = optim.with_ema(optax.adam(0.1), decay=0.5)
WITHIN = {  # the optimizer, the steps that update, and the steps with NaN gradients
    "alone": (EMA, range(6), ()),
    "the last of a chain": (optax.chain(optim.clip(1.0), EMA), range(6), ()),
    "the last of a named chain": (optax.named_chain(("z", optim.clip(1.0)), ("a", EMA)), range(6), ()),
    "a group of all": (optim.groups({".*": EMA}), range(6), ()),
    "hyperparameters": (optax.inject_hyperparams(lambda d: optim.with_ema(optax.adam(0.1), d))(d=0.5), range(6), ()),
    "every second step": (optim.every(2, EMA), (1, 3, 5), ()),
    "accumulation": (optax.MultiSteps(EMA, 3).gradient_transformation(), (2, 5), ()),
    "finite gradients": (optax.apply_if_finite(EMA, 3), (0, 1, 3, 5), (2, 4)),
}


@pytest.mark.parametrize("name", WITHIN)
def test_the_average_is_that_of_the_parameters_after_each_update(name):
    tx, updated, bad = WITHIN[name]
    points = list(trajectory(tx, bad=bad))
    expected = average([PARAMS, *(points[i + 1][0] for i in updated)], 0.5)
    params, state = points[-1]
    close(optim.eval_params(state, params), expected)
    assert not np.allclose(params["head"]["w"], expected["head"]["w"])


def test_the_average_leaves_the_inner_optimizer_alone():
    for (a, _), (b, _) in zip(trajectory(EMA), trajectory(optax.with_extra_args_support(optax.adam(0.1))), strict=True):
        assert toys.same(a, b)


def test_groups_are_merged_leaf_by_leaf():
    tx = optim.groups({"^head/": optim.with_ema(optax.sgd(0.1), 0.3), ".*": optim.with_ema(optax.adam(0.1), 0.9)})
    points = list(trajectory(tx))
    params, state = points[-1]
    evaluated = optim.eval_params(state, params)
    for name, decay in (("head", 0.3), ("body", 0.9)):
        close(evaluated[name], average([p[name] for p, _ in points], decay))

    tx = optim.groups({"^head/": optim.with_ema(optax.sgd(0.1), 0.3), ".*": optax.adam(0.1)})
    *_, (params, state) = trajectory(tx)
    evaluated = optim.eval_params(state, params)
    assert toys.same(evaluated["body"], params["body"])
    assert not np.allclose(evaluated["head"]["w"], params["head"]["w"])


def test_schedule_free_evaluates_the_sequence_x():
    def tx():
        return optax.contrib.schedule_free_sgd(0.1, b1=0.8)

    *_, (params, state) = trajectory(tx())
    expected = optax.contrib.schedule_free_eval_params(state, params)
    assert toys.same(optim.eval_params(state, params), expected)
    assert not np.allclose(params["head"]["w"], expected["head"]["w"])
    grouped = optim.groups({"^head/": optax.chain(optim.clip(9.0), tx()), ".*": optax.sgd(0.1)})
    *_, (params, state) = trajectory(grouped)
    evaluated = optim.eval_params(state, params)
    close(evaluated["head"], expected["head"])
    assert toys.same(evaluated["body"], params["body"])


@pytest.mark.parametrize("reset_state", [False, True])
def test_lookahead_is_that_of_optax(reset_state):
    theirs = optax.lookahead(optax.adam(0.1), 3, 0.5, reset_state)
    pair = optax.LookaheadParams.init_synced(PARAMS)
    state = theirs.init(pair)
    ours = list(trajectory(optim.lookahead(optax.adam(0.1), 3, 0.5, reset_state), 7))
    for params, opt_state in ours[1:]:
        updates, state = theirs.update(jax.grad(loss)(pair.fast), state, pair)
        pair = optax.apply_updates(pair, updates)
        assert toys.same(params, pair.fast)
        assert toys.same(optim.eval_params(opt_state, params), pair.slow)


def test_lookahead_passes_the_loss_to_its_fast_optimizer():
    fast, slow = optim.lookahead(optax.polyak_sgd(), 9, 0.5), optax.polyak_sgd()
    for (a, _), (b, _) in zip(trajectory(fast, 4), trajectory(slow, 4), strict=True):
        assert toys.same(a, b)


def test_sharpness_aware_minimization_evaluates_the_unperturbed_parameters():
    sam = optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.05))
    tx = optax.with_extra_args_support(optax.GradientTransformation(sam.init, sam.update))
    points = list(trajectory(tx))
    for i, (params, state) in enumerate(points):
        assert toys.same(optim.eval_params(state, params), points[i - i % 2][0])


def test_no_evaluation_weights():
    *_, (params, state) = trajectory(optax.with_extra_args_support(optax.adam(0.1)))
    assert optim.eval_params(state, params) is params


def test_old_names_name_the_new_ones():
    with pytest.raises(AttributeError, match="'averaged'; it is now called 'with_ema'"):
        _ = optim.averaged
